/**
 * A worker that runs the real workflows with scripted activities: every workflow has a script of its own, found by its
 * id, that answers the activities and remembers what was asked.
 */
import { randomUUID } from 'node:crypto';
import { activityInfo } from '@temporalio/activity';
import type { Client, WorkflowHandle } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { loadConfig } from '../../config.ts';
import type { TaskMode } from '../../contracts/tasks.ts';
import {
  type ProposeOutcome,
  type TaskActivities,
  type TaskWorkflowInput,
  taskWorkflowId,
  type WorkflowSignal,
} from '../../contracts/workflow-io.ts';
import { findWorkflowBundle } from '../../worker/bundle.ts';

/** A test waits this long for something to happen before it gives up, milliseconds. */
const PATIENCE_MS = 15_000;
const POLL_MS = 10;

export interface Call {
  activity: keyof TaskActivities;
  arg: unknown;
}

export interface Script extends Partial<TaskActivities> {
  propose(ref: { step: number }): Promise<ProposeOutcome>;
}

/** One task workflow under test. */
export interface Play {
  taskId: string;
  handle: WorkflowHandle;
  calls: Call[];
  /** Names of the activities asked for so far, in order. */
  asked(): string[];
  signal(signal: WorkflowSignal): Promise<void>;
  /** Wait until the activity was asked for `times` times. */
  untilAsked(activity: Call['activity'], times?: number): Promise<void>;
  /** Wait until the current details name this phase. */
  untilPhase(phase: string): Promise<void>;
  /** Wait until the workflow has taken note of everything that was sent to it. */
  untilHeard(): Promise<void>;
}

export interface PlayOptions {
  mode?: TaskMode;
  maxSteps?: number;
  deadlineInMs?: number;
  script: Script;
  /** Sent together with the start. */
  first?: WorkflowSignal;
}

export interface ScriptedWorker {
  taskQueue: string;
  play(options: PlayOptions): Promise<Play>;
  close(): Promise<void>;
}

export async function startScriptedWorker(options: {
  client: Client;
  address: string;
  taskQueue: string;
}): Promise<ScriptedWorker> {
  const { client, taskQueue } = options;
  const plays = new Map<string, { script: Script; calls: Call[] }>();
  const { codePath } = await findWorkflowBundle({
    cacheDir: loadConfig('cli').steelthreadCache,
    log: { info: () => undefined },
  });
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] }); // failing activities are on purpose
  const connection = await NativeConnection.connect({ address: options.address });
  const worker = await Worker.create({
    connection,
    namespace: client.options.namespace,
    taskQueue,
    workflowBundle: { codePath },
    activities: scriptedActivities(plays),
  });
  const running = worker.run();

  return {
    taskQueue,
    async play({ mode = 'supervised', maxSteps = 25, deadlineInMs = 3_600_000, script, first }) {
      const taskId = randomUUID();
      const workflowId = taskWorkflowId(taskId, 1);
      const calls: Call[] = [];
      plays.set(workflowId, { script, calls });
      const input: TaskWorkflowInput = {
        taskId,
        runNo: 1,
        mode,
        maxSteps,
        deadlineAtMs: Date.now() + deadlineInMs,
        approvalTimeoutMs: 60_000,
      };
      const start = { workflowId, taskQueue, args: [input], staticSummary: 'a task under test' };
      const handle =
        first === undefined
          ? await client.workflow.start('task', start)
          : await client.workflow.signalWithStart('task', {
              ...start,
              signal: first.name,
              signalArgs: [first.arg],
            });
      return createPlay(client.workflow.getHandle(handle.workflowId), taskId, calls);
    },
    async close() {
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}

function scriptedActivities(plays: Map<string, { script: Script; calls: Call[] }>): TaskActivities {
  const answer = <Name extends keyof TaskActivities>(name: Name) =>
    (async (arg: never) => {
      const play = plays.get(activityInfo().workflowExecution?.workflowId ?? '');
      if (play === undefined) throw new Error('a workflow without a script');
      play.calls.push({ activity: name, arg });
      const scripted = play.script[name] as ((arg: never) => Promise<unknown>) | undefined;
      if (scripted === undefined) throw new Error(`the script has no ${name}`);
      return scripted(arg);
    }) as TaskActivities[Name];
  return {
    propose: answer('propose'),
    expireApproval: answer('expireApproval'),
    readBatch: answer('readBatch'),
    endTask: answer('endTask'),
    judgeStep: answer('judgeStep'),
  };
}

function createPlay(handle: WorkflowHandle, taskId: string, calls: Call[]): Play {
  return {
    taskId,
    handle,
    calls,
    asked: () => calls.map(({ activity }) => activity),
    signal: (signal) => handle.signal(signal.name, signal.arg),
    untilAsked: (activity, times = 1) =>
      until(
        `${activity} asked for ${times} times`,
        async () => calls.filter((call) => call.activity === activity).length >= times,
      ),
    untilHeard: () =>
      until(
        'no workflow task is under way',
        async () => (await handle.describe()).raw.pendingWorkflowTask == null,
      ),
    untilPhase: (phase) =>
      until(`phase ${phase}`, async () => (await readDetails(handle)).endsWith(`: ${phase}`)),
  };
}

/** What the Temporal UI shows as current details. */
export async function readDetails(handle: WorkflowHandle): Promise<string> {
  const metadata = await handle.query<{ currentDetails?: string }>('__temporal_workflow_metadata');
  return metadata.currentDetails ?? '';
}

/** @throws when the condition does not hold within the patience of a test */
export async function until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await isTrue())) {
    if (Date.now() > deadline) throw new Error(`did not happen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
