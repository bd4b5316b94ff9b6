/** The worker put together: workflows, activities and standing duties. Starts with Temporal away and waits for it. */
import { createActivities } from '../activities/index.ts';
import type { ServiceConfig } from '../config.ts';
import { channels } from '../contracts/events.ts';
import { createLockSession } from '../db/advisory-lock.ts';
import { createDatabase } from '../db/database.ts';
import { createListener } from '../db/listen.ts';
import { createNotifier } from '../db/notify.ts';
import { createOutboxStore } from '../db/outbox-store.ts';
import { createAnnouncer } from '../domain/announcer.ts';
import type { DomainDeps, Log } from '../domain/deps.ts';
import { setTaskNamespace } from '../domain/tasks/lost.ts';
import { createTemporalClient } from '../temporal/connection.ts';
import { createOutboxDispatcher } from '../temporal/dispatcher.ts';
import { readTemporalOptions } from '../temporal/options.ts';
import { findWorkflowBundle } from './bundle.ts';
import { startDuties } from './duties/index.ts';
import { createLlm } from './llm.ts';
import { createWorkerMetrics, serveMetrics } from './metrics.ts';
import { startTemporalWorker, type TemporalWorker } from './temporal-worker.ts';

export interface WorkerService {
  /** Resolves when the worker polls Temporal for the first time; never while Temporal is away. */
  ready: Promise<void>;
  /** Idempotent: activities finish first, then everything they write to closes. */
  close(): Promise<void>;
}

export function startWorkerService(config: ServiceConfig, log: Log): WorkerService {
  const db = createDatabase({
    url: config.databaseUrl,
    poolMax: config.databasePoolMax,
    applicationName: 'steelthread-worker',
    statementTimeoutMs: config.databaseStatementTimeoutMs,
  });
  const notifier = createNotifier(db, (error) => log.warn({ event: 'notify_failed', err: error }));
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
  const metrics = createWorkerMetrics();
  const duties = startDuties({ domain, temporal, dispatcher, locks, metrics });
  const metricsServer =
    config.workerMetricsListen === null ? undefined : serveMetrics(metrics, config.workerMetricsListen);
  const listener = createListener({
    url: config.databaseUrl,
    channels: [channels.outbox],
    onNotify: () => duties.wake('outbox_drainer'),
    onReconnect: () => duties.wake('outbox_drainer'),
    onError: (error) => log.warn({ event: 'listen_failed', err: error }),
  });

  let worker: TemporalWorker | undefined;
  let isClosing = false;
  const ready = new Promise<void>((resolve, reject) => {
    metricsServer?.then(({ url }) => log.info({ event: 'worker_metrics', url }), reject);
    findWorkflowBundle({ cacheDir: config.steelthreadCache, log }).then((bundle) => {
      if (isClosing) return resolve();
      worker = startTemporalWorker({
        temporal: temporalOptions,
        taskQueue: config.temporalTaskQueue,
        codePath: bundle.codePath,
        activities: createActivities({
          ...domain,
          llm: createLlm(config, { db, log }),
          agentTokenAdmin: config.agentToken !== null && config.agentTokenAdmin,
        }),
        log,
        onPolling: () => {
          log.info({ event: 'worker_ready', taskQueue: config.temporalTaskQueue, bundle: bundle.source });
          resolve();
        },
      });
    }, reject);
  });

  let closed: Promise<void> | undefined;
  return {
    ready,
    close() {
      closed ??= (async () => {
        isClosing = true;
        await worker?.close(); // activities may still write: everything below stays open for them
        await duties.close();
        await locks.close();
        await listener.close();
        await metricsServer?.then((server) => server.close()).catch(() => undefined);
        await notifier.flush();
        await temporal.close();
        await db.destroy();
      })();
      return closed;
    },
  };
}
