/**
 * `npm run record-histories`: plays every scenario of the workflows of tasks and rollouts against a dev server of its own and writes the
 * histories that the replay test replays. Record again only when a change is meant to be incompatible with open
 * workflows; otherwise add scenarios (`-- name …` records only those named).
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { loadConfig } from '../../config.ts';
import { createLogger } from '../../log.ts';
import { startTemporal } from '../../stack/temporal.ts';
import { type RolloutWorker, startRolloutWorker } from '../workflows/rollout-plays.ts';
import { rolloutScenarios } from '../workflows/rollout-scenarios.ts';
import { scenarios } from '../workflows/scenarios.ts';
import {
  type ScheduleWorker,
  scheduleScenarios,
  startScheduleWorker,
} from '../workflows/schedule-scenarios.ts';
import { startScriptedWorker } from '../workflows/scripted-worker.ts';
import {
  startUrlAgentWorker,
  type UrlAgentWorker,
  urlAgentScenarios,
} from '../workflows/url-agent-scenarios.ts';
import { startWebhookWorker, type WebhookWorker } from '../workflows/webhook-plays.ts';
import { webhookScenarios } from '../workflows/webhook-scenarios.ts';
import { cleanHistory, historiesFolder } from './histories.ts';

const names = process.argv.slice(2);
const config = loadConfig('cli');
const log = createLogger({ name: 'record', format: 'pretty', level: 'info' });
const temporal = await startTemporal({
  log,
  ephemeral: true,
  address: config.temporalAddress,
  cliPath: config.temporalCliPath,
  cacheDir: config.steelthreadCache,
});
const connection = await Connection.connect({
  address: temporal.address,
  channelArgs: { 'grpc.max_receive_message_length': -1 }, // one scenario makes a history too long on purpose
});
const client = new Client({ connection });
const worker = await startScriptedWorker({
  client,
  address: temporal.address,
  taskQueue: 'record-histories',
});
let rollouts: RolloutWorker | undefined;
let webhooks: WebhookWorker | undefined;
let schedules: ScheduleWorker | undefined;
let urlAgents: UrlAgentWorker | undefined;
try {
  mkdirSync(historiesFolder, { recursive: true });
  for (const scenario of scenarios) {
    if (names.length > 0 && !names.includes(scenario.name)) continue;
    const { options, drive } = scenario.prepare();
    const play = await worker.play(options);
    await record(scenario.name, play.handle, () => drive(play));
  }
  rollouts = await startRolloutWorker({ client, address: temporal.address, taskQueue: 'record-rollouts' });
  for (const scenario of rolloutScenarios) {
    if (names.length > 0 && !names.includes(scenario.name)) continue;
    const { script, drive } = scenario.prepare();
    const play = await rollouts.play(script);
    await record(scenario.name, play.handle, () => drive(play));
  }
  webhooks = await startWebhookWorker({ client, address: temporal.address, taskQueue: 'record-webhooks' });
  for (const scenario of webhookScenarios) {
    if (names.length > 0 && !names.includes(scenario.name)) continue;
    const { script, drive } = scenario.prepare();
    const play = await webhooks.play(script);
    await record(scenario.name, play.handle, () => drive(play));
  }
  schedules = await startScheduleWorker({ client, address: temporal.address, taskQueue: 'record-schedules' });
  for (const scenario of scheduleScenarios) {
    if (names.length > 0 && !names.includes(scenario.name)) continue;
    const { handle } = await schedules.play(scenario.script);
    await record(scenario.name, handle, async () => void (await handle.result()));
  }
  urlAgents = await startUrlAgentWorker({
    client,
    address: temporal.address,
    taskQueue: 'record-url-agents',
  });
  for (const scenario of urlAgentScenarios) {
    if (names.length > 0 && !names.includes(scenario.name)) continue;
    const { handle } = await urlAgents.play(scenario);
    await record(scenario.name, handle, async () => void (await handle.result()));
  }
} finally {
  await urlAgents?.close();
  await schedules?.close();
  await webhooks?.close();
  await rollouts?.close();
  await worker.close();
  await connection.close();
  await temporal.stop();
}

/** Drive a workflow to its end and write its history, or both of them when it continued as new. */
async function record(name: string, handle: WorkflowHandle, drive: () => Promise<void>): Promise<void> {
  const { runId } = await handle.describe();
  await drive();
  for (const [part, id] of [
    ['', runId],
    ['-2', (await handle.describe()).runId],
  ] as const) {
    if (part !== '' && id === runId) continue; // only a continued workflow has a second history
    const history = await client.workflow.getHandle(handle.workflowId, id).fetchHistory();
    const path = join(historiesFolder, `${name}${part}.json`);
    writeFileSync(path, `${JSON.stringify(cleanHistory(historyToJSON(history)), null, 1)}\n`);
    log.info({ event: 'history_recorded', name: `${name}${part}` });
  }
}
