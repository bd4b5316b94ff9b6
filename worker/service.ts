/** The worker put together: workflows, activities and standing duties. Starts with Temporal away and waits for it. */
import { createActivities } from '../activities/index.ts';
import type { ServiceConfig } from '../config.ts';
import { channels } from '../contracts/events.ts';
import { createCore } from '../core/core.ts';
import { createTaskModel } from '../core/task-model.ts';
import { createLockSession } from '../db/advisory-lock.ts';
import { createListener } from '../db/listen.ts';
import { createAnnouncer } from '../domain/announcer.ts';
import type { DomainDeps, Log } from '../domain/deps.ts';
import { createAttendance } from '../domain/tasks/attendance.ts';
import { createUrlAgents } from '../domain/url-agents/propose.ts';
import { createScheduleServer } from '../temporal/schedules.ts';
import { findWorkflowBundle } from './bundle.ts';
import { startDuties } from './duties/index.ts';
import { createWorkerMetrics, serveMetrics } from './metrics.ts';
import { createNotified, workerChannels } from './notifications.ts';
import { ATTENDED_BATCHES, startTemporalWorker, type TemporalWorker } from './temporal-worker.ts';

export interface WorkerService {
  /** Resolves when the worker polls Temporal for the first time; never while Temporal is away. */
  ready: Promise<void>;
  /** Idempotent: activities finish first, then everything they write to closes. */
  close(): Promise<void>;
}

export function startWorkerService(config: ServiceConfig, log: Log): WorkerService {
  const core = createCore(config, log, {
    applicationName: 'steelthread-worker',
    urgentChannels: [channels.agents, channels.batches, channels.outbox],
  });
  const { db, running, temporal, dispatcher } = core;
  const domain: DomainDeps = {
    db,
    log,
    announce: createAnnouncer({ notifier: core.notifier, dispatcher }),
    limits: running.limits,
  };
  const locks = createLockSession({ url: config.databaseUrl, applicationName: 'steelthread-duties' });
  const metrics = createWorkerMetrics();
  const schedules = {
    scheduleServer: createScheduleServer({ temporal, taskQueue: config.temporalTaskQueue }),
    agentTokenAdmin: () => running.agentToken() !== null && config.agentTokenAdmin,
  };
  const urlAgents = { secrets: core.secrets, agentUrls: core.outbounds.agents };
  const duties = startDuties({
    urlAgents,
    domain,
    temporal,
    dispatcher,
    locks,
    metrics,
    schedules,
    terminalRetentionMs: config.terminalRetentionMs,
  });
  const metricsServer =
    config.workerMetricsListen === null ? undefined : serveMetrics(metrics, config.workerMetricsListen);
  const attendance = createAttendance({ places: ATTENDED_BATCHES });
  const listener = createListener({
    url: config.databaseUrl,
    channels: workerChannels,
    ...createNotified({ duties, attendance, takeUpSettings: () => core.takeUpSettings() }),
    onError: (error) => log.warn({ event: 'listen_failed', err: error }),
  });

  let worker: TemporalWorker | undefined;
  let isClosing = false;
  const ready = new Promise<void>((resolve, reject) => {
    metricsServer?.then(({ url }) => log.info({ event: 'worker_metrics', url }), reject);
    const bundling = findWorkflowBundle({ cacheDir: config.steelthreadCache, log });
    // Not before the stored settings are known: the model they name may be another one.
    Promise.all([bundling, running.ready]).then(([bundle]) => {
      if (isClosing) return resolve();
      worker = startTemporalWorker({
        temporal: core.temporalOptions,
        taskQueue: config.temporalTaskQueue,
        codePath: bundle.codePath,
        activities: createActivities({
          ...domain,
          attendance,
          webhookUrls: core.outbounds.webhooks,
          ...urlAgents,
          urlAgents: createUrlAgents({ ...domain, ...urlAgents }),
          llm: createTaskModel(running, { db, log }),
          agentTokenAdmin: running.agentToken() !== null && config.agentTokenAdmin,
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
        await core.close();
      })();
      return closed;
    },
  };
}
