/** What the API and the worker are both made of, made and closed in one place. */
import type { ServiceConfig } from '../config.ts';
import { createDatabase, type Db } from '../db/database.ts';
import { createNotifier, type Notifier } from '../db/notify.ts';
import { createOutboxStore } from '../db/outbox-store.ts';
import type { Log } from '../domain/deps.ts';
import { createSecretBox, type SecretBox } from '../domain/secret-box.ts';
import { createTemporalClient, type TemporalClient } from '../temporal/connection.ts';
import { createOutboxDispatcher, type OutboxDispatcher } from '../temporal/dispatcher.ts';
import { readTemporalOptions, type TemporalOptions } from '../temporal/options.ts';
import { createOutbounds, type Outbounds } from './outbounds.ts';
import { createRunningConfig, type RunningConfig } from './running-config.ts';

/** Rest between two announcements to other processes, milliseconds: what a process under load adds to their latency. */
const NOTIFY_GAP_MS = 10;

export interface Core {
  db: Db;
  notifier: Notifier;
  secrets: SecretBox;
  running: RunningConfig;
  temporalOptions: TemporalOptions;
  temporal: TemporalClient;
  dispatcher: OutboxDispatcher;
  outbounds: Outbounds;
  /** Read the stored settings again; where that fails, the next poll does. */
  takeUpSettings(): void;
  /** After everything that uses it: announces what is left, then ends the connections. */
  close(): Promise<void>;
}

export interface CoreOptions {
  /** How the database knows the process. */
  applicationName: string;
  /** Channels whose listeners wait for the announcement: it does not rest (see `createNotifier`). */
  urgentChannels: readonly string[];
}

/** Starts with the database and Temporal away. */
export function createCore(
  config: ServiceConfig,
  log: Log,
  { applicationName, urgentChannels }: CoreOptions,
): Core {
  // First of all: a list that cannot be read leaves nothing to close.
  const outbounds = createOutbounds(config);
  const db = createDatabase({
    url: config.databaseUrl,
    poolMax: config.databasePoolMax,
    applicationName,
    statementTimeoutMs: config.databaseStatementTimeoutMs,
  });
  const notifier = createNotifier(db, (err) => log.warn({ event: 'notify_failed', err }), {
    gapMs: NOTIFY_GAP_MS,
    urgent: urgentChannels,
  });
  const secrets = createSecretBox(config.settingsEncryptionKeys);
  const running = createRunningConfig(config, { db, secrets, log });
  const temporalOptions = readTemporalOptions(config);
  const temporal = createTemporalClient({ ...temporalOptions, log });
  const dispatcher = createOutboxDispatcher({
    outbox: createOutboxStore(db),
    temporal,
    taskQueue: config.temporalTaskQueue,
    log,
  });
  return {
    db,
    notifier,
    secrets,
    running,
    temporalOptions,
    temporal,
    dispatcher,
    outbounds,
    takeUpSettings() {
      running.refresh().catch((err: unknown) => log.warn({ event: 'settings_read_failed', err }));
    },
    async close() {
      await running.close();
      await notifier.flush();
      await temporal.close();
      await db.destroy();
    },
  };
}
