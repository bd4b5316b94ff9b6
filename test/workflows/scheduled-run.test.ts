/** The workflow of a due time: it says which, and is over. */
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectTemporal, temporalAddress, uniqueTaskQueue } from '../support/temporal.ts';
import { type ScheduleWorker, scheduleScenarios, startScheduleWorker } from './schedule-scenarios.ts';

let worker: ScheduleWorker;
let temporal: Awaited<ReturnType<typeof connectTemporal>>;

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  temporal = await connectTemporal();
  worker = await startScheduleWorker({
    client: temporal.client,
    address: temporalAddress(),
    taskQueue: uniqueTaskQueue(),
  });
});
afterAll(async () => {
  await worker.close();
  await temporal.close();
});

it.each(scheduleScenarios.map((scenario) => [scenario.name, scenario] as const))(
  '%s',
  async (_name, { script }) => {
    const { handle, calls } = await worker.play(script);
    expect(await handle.result()).toHaveProperty('outcome');
    const { runId, startTime } = await handle.describe();
    for (const call of calls) {
      expect(call).toEqual({
        scheduleId: handle.workflowId.split('/')[1],
        runId,
        // Nobody has said when it was due.
        dueAtMs: startTime.getTime(),
      });
    }
  },
);

it('the due time is the one that Temporal names, not the one at which it starts', async () => {
  const dueAt = new Date('2026-01-01T00:00:00Z');
  const { handle, calls } = await worker.play(async () => ({ outcome: 'missed' }), dueAt);
  expect(await handle.result()).toEqual({ outcome: 'missed' });
  expect(calls).toMatchObject([{ dueAtMs: dueAt.getTime() }]);
});
