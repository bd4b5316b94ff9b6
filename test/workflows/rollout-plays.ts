/** A worker that runs the real rollout workflow with scripted activities; as scripted-worker.ts for tasks. */
import { randomUUID } from 'node:crypto';
import { activityInfo } from '@temporalio/activity';
import type { Client, WorkflowHandle } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { loadConfig } from '../../config.ts';
import type { RolloutActivities, RolloutOutcome } from '../../contracts/rollout-workflow.ts';
import { rolloutWorkflowId, type WorkflowSignal } from '../../contracts/workflow-io.ts';
import { findWorkflowBundle } from '../../worker/bundle.ts';
import { until } from './scripted-worker.ts';

/** Answers of `advanceRollout` by the number of the call, from 1; the last one is for all later calls. */
export type RolloutScript = readonly (() => RolloutOutcome | Promise<RolloutOutcome>)[];

export interface RolloutPlay {
  handle: WorkflowHandle;
  /** Names of the activities asked for so far, in order. */
  asked: (keyof RolloutActivities)[];
  signal(signal: WorkflowSignal): Promise<void>;
  /** Wait until `advanceRollout` was asked for `times` times. */
  untilAdvanced(times: number): Promise<void>;
  untilCanceled(): Promise<void>;
  /** Wait until the current details are these. */
  untilDetails(details: string): Promise<void>;
  /** Wait until the workflow has taken note of everything that was sent to it. */
  untilHeard(): Promise<void>;
}

export interface RolloutWorker {
  play(script: RolloutScript): Promise<RolloutPlay>;
  close(): Promise<void>;
}

export async function startRolloutWorker(options: {
  client: Client;
  address: string;
  taskQueue: string;
}): Promise<RolloutWorker> {
  const { client, taskQueue } = options;
  const plays = new Map<string, { script: RolloutScript; asked: (keyof RolloutActivities)[] }>();
  const { codePath } = await findWorkflowBundle({
    cacheDir: loadConfig('cli').steelthreadCache,
    log: { info: () => undefined },
  });
  const connection = await NativeConnection.connect({ address: options.address });
  const playOf = () => {
    const play = plays.get(activityInfo().workflowExecution?.workflowId ?? '');
    if (play === undefined) throw new Error('a workflow without a script');
    return play;
  };
  const activities: RolloutActivities = {
    async advanceRollout() {
      const { script, asked } = playOf();
      asked.push('advanceRollout');
      const calls = asked.filter((name) => name === 'advanceRollout').length;
      const answer = script[calls - 1] ?? script.at(-1);
      if (answer === undefined) throw new Error('an empty script');
      return answer();
    },
    async cancelRollout() {
      playOf().asked.push('cancelRollout');
    },
  };
  const worker = await Worker.create({
    connection,
    namespace: client.options.namespace,
    taskQueue,
    workflowBundle: { codePath },
    activities,
  });
  const running = worker.run();

  return {
    async play(script) {
      const rolloutId = randomUUID();
      const workflowId = rolloutWorkflowId(rolloutId);
      const asked: (keyof RolloutActivities)[] = [];
      plays.set(workflowId, { script, asked });
      await client.workflow.start('rollout', { workflowId, taskQueue, args: [{ rolloutId }] });
      const handle = client.workflow.getHandle(workflowId);
      const count = (name: keyof RolloutActivities): number => asked.filter((one) => one === name).length;
      return {
        handle,
        asked,
        signal: (signal) => handle.signal(signal.name, signal.arg),
        untilAdvanced: (times) =>
          until(`advanced ${times} times`, async () => count('advanceRollout') >= times),
        untilCanceled: () => until('asked to cancel', async () => count('cancelRollout') > 0),
        untilDetails: (details) =>
          until(details, async () => {
            const metadata = await handle.query<{ currentDetails?: string }>('__temporal_workflow_metadata');
            return metadata.currentDetails === details;
          }),
        untilHeard: () =>
          until(
            'no workflow task is under way',
            async () => (await handle.describe()).raw.pendingWorkflowTask == null,
          ),
      };
    },
    async close() {
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}
