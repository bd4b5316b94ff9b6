/** The workflow of webhook deliveries: it only keeps time, the rounds decide. */
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectTemporal, temporalAddress, uniqueTaskQueue } from '../support/temporal.ts';
import { startWebhookWorker, type WebhookWorker } from './webhook-plays.ts';
import { webhookScenarios } from './webhook-scenarios.ts';

let worker: WebhookWorker;
let temporal: Awaited<ReturnType<typeof connectTemporal>>;

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] }); // failing rounds are on purpose
  temporal = await connectTemporal();
  worker = await startWebhookWorker({
    client: temporal.client,
    address: temporalAddress(),
    taskQueue: uniqueTaskQueue(),
  });
});
afterAll(async () => {
  await worker.close();
  await temporal.close();
});

it.each(webhookScenarios.map((scenario) => [scenario.name, scenario] as const))(
  '%s',
  async (_name, scenario) => {
    const { script, drive } = scenario.prepare();
    const play = await worker.play(script);
    await drive(play);
    expect((await play.handle.describe()).status.name).toBe('COMPLETED');
    // Every round is about the same target and run, also after it went on as a new run.
    expect(new Set(play.rounds.map((round) => JSON.stringify(round))).size).toBe(1);
  },
);

it('goes on after a round that failed', async () => {
  const play = await worker.play((round) => {
    if (round === 1) throw new Error('the database is away');
    return { kind: 'over' };
  });
  await play.handle.result();
  expect(play.rounds).toHaveLength(2);
});
