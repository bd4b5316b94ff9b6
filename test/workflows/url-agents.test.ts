/** The workflows that ask agents at their address: our own worker does it, and the rows say what came of it. */
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectTemporal, temporalAddress, uniqueTaskQueue } from '../support/temporal.ts';
import { startUrlAgentWorker, type UrlAgentWorker, urlAgentScenarios } from './url-agent-scenarios.ts';

let worker: UrlAgentWorker;
let temporal: Awaited<ReturnType<typeof connectTemporal>>;

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  temporal = await connectTemporal();
  worker = await startUrlAgentWorker({
    client: temporal.client,
    address: temporalAddress(),
    taskQueue: uniqueTaskQueue(),
  });
});
afterAll(async () => {
  await worker.close();
  await temporal.close();
});

it.each(urlAgentScenarios.map((scenario) => [scenario.name, scenario] as const))(
  '%s',
  async (_name, { expected, ...scenario }) => {
    const { handle, calls } = await worker.play(scenario);
    expect((await handle.result()) ?? undefined).toEqual(expected.result);
    const id = handle.workflowId.split('/')[1];
    const input = scenario.type === 'deliver' ? { commandId: id } : { taskId: id };
    expect(calls).toEqual(Array.from({ length: expected.calls }, () => input));
  },
);
