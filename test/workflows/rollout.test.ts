import { DefaultLogger, Runtime } from '@temporalio/worker';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { connectTemporal, temporalAddress, uniqueTaskQueue } from '../support/temporal.ts';
import { type RolloutWorker, startRolloutWorker } from './rollout-plays.ts';
import { rolloutScenarios } from './rollout-scenarios.ts';

let worker: RolloutWorker;
let closeClient: () => Promise<void>;

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  const { client, close } = await connectTemporal();
  closeClient = close;
  worker = await startRolloutWorker({ client, address: temporalAddress(), taskQueue: uniqueTaskQueue() });
});

afterAll(async () => {
  await worker?.close();
  await closeClient?.();
});

describe('the rollout workflow', () => {
  it.each(rolloutScenarios.map((scenario) => [scenario.name, scenario] as const))(
    '%s',
    async (_name, scenario) => {
      const { script, drive } = scenario.prepare();
      await drive(await worker.play(script));
    },
  );
});
