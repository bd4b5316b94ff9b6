/**
 * `npm run record-histories`: plays every scenario of the task workflow against a dev server of its own and writes the
 * histories that the replay test replays. Record again only when a change is meant to be incompatible with open
 * workflows; otherwise add scenarios (`-- name …` records only those named).
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { loadConfig } from '../../config.ts';
import { createLogger } from '../../log.ts';
import { startTemporal } from '../../stack/temporal.ts';
import { scenarios } from '../workflows/scenarios.ts';
import { startScriptedWorker } from '../workflows/scripted-worker.ts';
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
try {
  mkdirSync(historiesFolder, { recursive: true });
  for (const scenario of scenarios) {
    if (names.length > 0 && !names.includes(scenario.name)) continue;
    const { options, drive } = scenario.prepare();
    const play = await worker.play(options);
    const { runId } = await play.handle.describe();
    await drive(play);
    for (const [part, id] of [
      ['', runId],
      ['-2', (await play.handle.describe()).runId],
    ] as const) {
      if (part !== '' && id === runId) continue; // only a continued workflow has a second history
      const history = await client.workflow.getHandle(play.handle.workflowId, id).fetchHistory();
      const path = join(historiesFolder, `${scenario.name}${part}.json`);
      writeFileSync(path, `${JSON.stringify(cleanHistory(historyToJSON(history)), null, 1)}\n`);
      log.info({ event: 'history_recorded', name: `${scenario.name}${part}` });
    }
  }
} finally {
  await worker.close();
  await connection.close();
  await temporal.stop();
}
