/** The worker process: workflows, activities and standing duties. Starts with Temporal away and waits for it. */

import { createActivities } from '../activities/index.ts';
import { ConfigError, loadConfig, type ServiceConfig } from '../config.ts';
import { channels } from '../contracts/events.ts';
import { createLockSession } from '../db/advisory-lock.ts';
import { createDatabase } from '../db/database.ts';
import { createListener } from '../db/listen.ts';
import { createNotifier } from '../db/notify.ts';
import { createOutboxStore } from '../db/outbox-store.ts';
import type { DomainDeps } from '../domain/deps.ts';
import { setTaskNamespace } from '../domain/tasks/lost.ts';
import { createLogger } from '../log.ts';
import { createTemporalClient } from '../temporal/connection.ts';
import { createOutboxDispatcher } from '../temporal/dispatcher.ts';
import { readTemporalOptions } from '../temporal/options.ts';
import { createAnnouncer } from './announcer.ts';
import { findWorkflowBundle } from './bundle.ts';
import { startDuties } from './duties/index.ts';
import { createLlm } from './llm.ts';
import { startTemporalWorker } from './temporal-worker.ts';

/** A stop that takes longer than this ends the process. Milliseconds; above the worker's own force time. */
const STOP_DEADLINE_MS = 25_000;

await main(readConfig());

function readConfig(): ServiceConfig {
  try {
    return loadConfig('worker');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(2);
  }
}

async function main(config: ServiceConfig): Promise<void> {
  const log = createLogger({ name: 'worker', level: config.logLevel, format: config.logFormat });
  const stopping = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      log.info({ event: 'worker_stopping', signal });
      stopping.abort();
    });
  }
  for (const warning of config.warnings) log.warn({ event: 'config_warning', warning });

  const bundle = await findWorkflowBundle({ cacheDir: config.steelthreadCache, log });
  const db = createDatabase({
    url: config.databaseUrl,
    poolMax: config.databasePoolMax,
    applicationName: 'steelthread-worker',
    statementTimeoutMs: config.databaseStatementTimeoutMs,
  });
  const notifier = createNotifier(db, (error) => log.warn({ event: 'notify_failed', error }));
  const temporalOptions = readTemporalOptions(config);
  const temporal = createTemporalClient({ ...temporalOptions, log });
  const dispatcher = createOutboxDispatcher({
    outbox: createOutboxStore(db),
    temporal,
    taskQueue: config.temporalTaskQueue,
    log,
    onTaskStarted: (started) => setTaskNamespace(domain, started),
  });
  const domain: DomainDeps = {
    db,
    log,
    announce: createAnnouncer({ notifier, dispatcher }),
    limits: {
      defaultTimeoutMs: config.defaultTimeoutMs,
      maxTimeoutMs: config.maxTimeoutMs,
      outputCapBytes: config.outputCapBytes,
    },
  };
  const locks = createLockSession({ url: config.databaseUrl, applicationName: 'steelthread-duties' });
  const duties = startDuties({ domain, temporal, dispatcher, locks });
  const listener = createListener({
    url: config.databaseUrl,
    channels: [channels.outbox],
    onNotify: () => duties.wake('outbox_drainer'),
    onReconnect: () => duties.wake('outbox_drainer'),
    onError: (error) => log.warn({ event: 'listen_failed', error }),
  });
  const worker = startTemporalWorker({
    temporal: temporalOptions,
    taskQueue: config.temporalTaskQueue,
    codePath: bundle.codePath,
    activities: createActivities({ ...domain, llm: createLlm(config, { db, log }) }),
    log,
    onPolling: () =>
      log.info({ event: 'worker_ready', taskQueue: config.temporalTaskQueue, bundle: bundle.source }),
  });

  await aborted(stopping.signal);
  const deadline = setTimeout(() => {
    log.error({ event: 'worker_stop_timed_out', afterMs: STOP_DEADLINE_MS });
    process.exit(1);
  }, STOP_DEADLINE_MS);
  await worker.close(); // activities may still write: everything below stays open for them
  await duties.close();
  await locks.close();
  await listener.close();
  await notifier.flush();
  await temporal.close();
  await db.destroy();
  clearTimeout(deadline);
  log.info({ event: 'worker_stopped' });
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
