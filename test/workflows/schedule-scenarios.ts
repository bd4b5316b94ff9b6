/** What the workflow of a due time goes through. Each is played by a test and recorded for the replay test. */
import { randomUUID } from 'node:crypto';
import { activityInfo } from '@temporalio/activity';
import type { Client, WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure, SearchAttributeType } from '@temporalio/common';
import { NativeConnection, Worker } from '@temporalio/worker';
import { loadConfig } from '../../config.ts';
import {
  type ScheduleActivities,
  scheduledRunType,
  scheduledWorkflowId,
} from '../../contracts/schedule-io.ts';
import { findWorkflowBundle } from '../../worker/bundle.ts';

type Begin = ScheduleActivities['beginScheduledRun'];
type DueRun = Parameters<Begin>[0];

export interface ScheduleScenario {
  name: string;
  /** Answers the n-th call, from 1. */
  script(call: number): Promise<{ outcome: string }>;
}

export const scheduleScenarios: ScheduleScenario[] = [
  { name: 'scheduled-run-begins', script: async () => ({ outcome: 'running' }) },
  {
    name: 'scheduled-run-begins-after-a-failure',
    async script(call) {
      if (call === 1) throw ApplicationFailure.retryable('internal error', 'internal_error');
      return { outcome: 'skipped' };
    },
  },
];

export interface ScheduleWorker {
  /** Start it as a due time would. `calls` fills as the workflow goes on. */
  play(
    script: ScheduleScenario['script'],
    dueAt?: Date,
  ): Promise<{ handle: WorkflowHandle; calls: DueRun[] }>;
  close(): Promise<void>;
}

export async function startScheduleWorker(options: {
  client: Client;
  address: string;
  taskQueue: string;
}): Promise<ScheduleWorker> {
  const { client, taskQueue } = options;
  const plays = new Map<string, { script: ScheduleScenario['script']; calls: DueRun[] }>();
  const cacheDir = loadConfig('cli').steelthreadCache;
  const { codePath } = await findWorkflowBundle({ cacheDir, log: { info: () => undefined } });
  const connection = await NativeConnection.connect({ address: options.address });
  const worker = await Worker.create({
    connection,
    namespace: client.options.namespace,
    taskQueue,
    workflowBundle: { codePath },
    activities: {
      async beginScheduledRun(due: DueRun) {
        const play = plays.get(activityInfo().workflowExecution?.workflowId ?? '');
        if (play === undefined) throw new Error('a workflow without a script');
        play.calls.push(due);
        return play.script(play.calls.length);
      },
    },
  });
  const running = worker.run();
  return {
    async play(script, dueAt) {
      const scheduleId = randomUUID();
      const workflowId = scheduledWorkflowId(scheduleId);
      const calls: DueRun[] = [];
      plays.set(workflowId, { script, calls });
      const key = { name: 'TemporalScheduledStartTime', type: SearchAttributeType.DATETIME } as const;
      await client.workflow.start(scheduledRunType, {
        workflowId,
        taskQueue,
        args: [{ scheduleId, revision: 1 }],
        ...(dueAt && { typedSearchAttributes: [{ key, value: dueAt }] }),
      });
      return { handle: client.workflow.getHandle(workflowId), calls };
    },
    async close() {
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}
