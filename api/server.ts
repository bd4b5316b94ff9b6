/**
 * The API put together: database, hub, bridge, Temporal client, routes, listeners. Long-lived things are made here and
 * closed here, in order: stop accepting → tell the agents → store what they said → close Temporal → close the pool.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ServiceConfig } from '../config.ts';
import { channels } from '../contracts/events.ts';
import { readSealLag } from '../db/audit-seals.ts';
import { createDatabase, type Db } from '../db/database.ts';
import type { EventRow } from '../db/events.ts';
import { createListener } from '../db/listen.ts';
import { readMigrationStatus } from '../db/migrate.ts';
import { createNotifier } from '../db/notify.ts';
import { readOutboxLag } from '../db/outbox.ts';
import { createOutboxStore } from '../db/outbox-store.ts';
import type { DomainDeps, Log } from '../domain/deps.ts';
import { type EnsuredAdmin, ensureAdmin } from '../domain/identity/admin.ts';
import { DEFAULT_ACCESS_TOKEN_TTL_MS, type IdentityDeps } from '../domain/identity/deps.ts';
import { createPasswordHasher, type PasswordHasher } from '../domain/identity/passwords.ts';
import { can } from '../domain/policy.ts';
import { setTaskNamespace } from '../domain/tasks/lost.ts';
import { createTemporalClient, type TemporalClient } from '../temporal/connection.ts';
import { createOutboxDispatcher } from '../temporal/dispatcher.ts';
import { readTemporalOptions } from '../temporal/options.ts';
import { createApiAnnouncer } from './announcer.ts';
import { type AppOptions, createApp } from './app.ts';
import { createAuthenticate } from './authenticate.ts';
import { type Bridge, createBridge } from './bridge/bridge.ts';
import { createRegistry, type Registry } from './bridge/registry.ts';
import { createDenialRecorder } from './denials.ts';
import { createHub, type Hub } from './events/hub.ts';
import { type ListenerAddress, listen } from './listen.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createOpenStreams } from './open-streams.ts';
import type { Checks } from './readiness.ts';
import { createRoutes } from './routes/index.ts';
import { eventUpgradeRoute } from './routes/v1/events.ts';
import { createUpgradeRouter } from './upgrade.ts';

export interface ApiServer {
  addresses: readonly ListenerAddress[];
  /** What became of the first administrator; a generated password is to be shown once. */
  admin: EnsuredAdmin;
  /** The parts, for benchmarks and diagnostics in the same process. */
  parts: { domain: DomainDeps; hub: Hub; bridge: Bridge; db: Db; temporal: TemporalClient };
  /** Idempotent. */
  close(): Promise<void>;
}

export interface ApiOptions {
  /** Default: bcrypt at its production cost. */
  passwords?: PasswordHasher;
  /** Parse every reply with its schema (see RouteFrame). */
  checkReplies?: boolean;
}

/** Start the API. @throws when the database is away or a listener's address cannot be had */
export async function startApi(
  config: ServiceConfig,
  log: Log,
  options: ApiOptions = {},
): Promise<ApiServer> {
  const processId = randomUUID();
  const shutdown = new AbortController();
  const db = createDatabase({
    url: config.databaseUrl,
    poolMax: config.databasePoolMax,
    applicationName: 'steelthread-api',
    statementTimeoutMs: config.databaseStatementTimeoutMs,
  });
  const notifier = createNotifier(db, (err) => log.warn({ event: 'notify_failed', err }));
  const temporalOptions = readTemporalOptions(config);
  const temporal = createTemporalClient({ ...temporalOptions, log });
  const hub = createHub({ db, onError: (err) => log.warn({ event: 'hub_read_failed', err }) });
  const registry = createRegistry();
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
    sockets: registry,
    announce: createApiAnnouncer({
      processId,
      hub,
      notifier,
      dispatcher,
      wakeAgents: (agentIds) => bridge.wake(agentIds),
    }),
    limits: {
      defaultTimeoutMs: config.defaultTimeoutMs,
      maxTimeoutMs: config.maxTimeoutMs,
      outputCapBytes: config.outputCapBytes,
    },
  };
  const identity: IdentityDeps = {
    ...domain,
    passwords: options.passwords ?? createPasswordHasher(),
    identity: {
      secretKeys: config.secretKeys,
      accessTokenTtlMs: config.accessTokenTtlMs ?? DEFAULT_ACCESS_TOKEN_TTL_MS,
      agentToken: config.agentToken,
      agentTokenAdmin: config.agentTokenAdmin,
    },
  };
  const authenticate = createAuthenticate(identity);
  const bridge = createBridge({
    domain,
    registry,
    authenticate,
    bridgeId: processId,
    serverVersion: config.version,
    temporal: { address: config.temporalAddress, namespace: config.temporalNamespace },
    log,
  });
  const metrics = createMetrics({ ofProcess: true });
  registerGauges(metrics, db, registry);

  const listener = createListener({
    url: config.databaseUrl,
    channels: [channels.events, channels.agents, channels.output],
    onNotify(channel, payload) {
      const ids = payload === '*' ? ('*' as const) : payload.split(',');
      if (channel === channels.events && payload !== processId) hub.poke();
      else if (channel === channels.agents) bridge.wake(ids);
      else if (channel === channels.output) hub.offerOutput(ids);
    },
    onReconnect() {
      hub.poke();
      hub.offerOutput('*');
      bridge.wake('*');
    },
    onError: (err) => log.warn({ event: 'listen_failed', err }),
  });
  hub.subscribe(({ row }) => tellBridge(bridge, row));

  const closeParts = async (): Promise<void> => {
    await bridge.close();
    await listener.close();
    await hub.close();
    await notifier.flush();
    await temporal.close();
    await db.destroy();
  };

  try {
    await hub.ready;
    const admin = await ensureAdmin(identity, {
      username: config.adminUsername,
      email: config.adminEmail,
      password: config.adminPassword,
    });
    const deps = { ...identity, hub };
    const streams = createOpenStreams();
    const app = createApp({
      routes: createRoutes(deps),
      log,
      metrics,
      checks: createChecks(db, temporal),
      shutdown: shutdown.signal,
      authenticate,
      can: (principal, verb, resource) => can(principal, verb, resource),
      onDenied: createDenialRecorder(domain),
      streams,
      options: appOptions(config, options),
    });
    const upgrade = createUpgradeRouter({
      routes: [
        bridge.upgradeRoute,
        eventUpgradeRoute({ ...deps, authenticate, streams, shutdown: shutdown.signal }),
      ],
      trustProxyHops: config.trustProxyHops,
      shutdown: shutdown.signal,
      log,
    });
    const tls = readTls(config);
    const listening = await listen(
      { app, upgrade, log },
      config.listen.map((one) => ({ ...one, ...(tls === undefined ? {} : { tls }) })),
    );
    let closed: Promise<void> | undefined;
    return {
      addresses: listening.addresses,
      admin,
      parts: { domain, hub, bridge, db, temporal },
      close() {
        closed ??= (async () => {
          shutdown.abort();
          const stopped = listening.close();
          await bridge.close();
          await stopped;
          await closeParts();
        })();
        return closed;
      },
    };
  } catch (error) {
    await closeParts();
    throw error;
  }
}

/** What committed events mean for agents' sockets; each has the bridge's own scan as its backstop. */
function tellBridge(bridge: Bridge, row: EventRow): void {
  if (row.agentId === null) return;
  if (row.type === 'agent.revoked') bridge.expel(row.agentId);
  if (row.type === 'agent.updated' && row.data.tokenRotated === true) bridge.expel(row.agentId);
  if (row.type === 'agent.connected') bridge.supersede(row.agentId, Number(row.data.epoch));
  if (row.type === 'command.cancel_requested' && row.commandId !== null) {
    bridge.cancel(row.agentId, row.commandId, String(row.data.reason));
  }
}

function registerGauges(metrics: Metrics, db: Db, registry: Registry): void {
  metrics.registerGauge('steelthread_agent_sockets', 'Agents connected to this process', () =>
    registry.size(),
  );
  metrics.registerGauge('steelthread_outbox_rows', 'Messages Temporal has not heard yet', async () => {
    return (await readOutboxLag(db)).rows;
  });
  metrics.registerGauge('steelthread_outbox_oldest_seconds', 'Age of the oldest of them', async () => {
    return (await readOutboxLag(db)).oldestSeconds;
  });
  metrics.registerGauge(
    'steelthread_audit_unsealed_oldest_seconds',
    'Age of the oldest unsealed audit row',
    async () => {
      return (await readSealLag(db)).oldestSeconds;
    },
  );
}

function createChecks(db: Db, temporal: TemporalClient): Checks {
  return {
    database: async () => {
      await db.raw('select 1');
      return { ok: true };
    },
    migrations: async () => {
      const { pending } = await readMigrationStatus(db);
      return pending.length === 0 ? { ok: true } : { ok: false, detail: `${pending.length} pending` };
    },
    temporal: async () => {
      await temporal.check();
      return { ok: true };
    },
  };
}

function appOptions(config: ServiceConfig, options: ApiOptions): AppOptions {
  return {
    name: config.projectName,
    title: config.projectName,
    version: config.version,
    description: config.description,
    publicUrl: config.publicUrl ?? '/',
    corsOrigins: config.corsOrigins,
    trustProxyHops: config.trustProxyHops,
    rateLimit: config.rateLimit,
    checkReplies: options.checkReplies ?? false,
  };
}

function readTls(config: ServiceConfig): { cert: Buffer; key: Buffer } | undefined {
  if (config.tlsCert === null || config.tlsKey === null) return undefined;
  return { cert: readFileSync(config.tlsCert), key: readFileSync(config.tlsKey) };
}
