/**
 * The API put together: database, hub, bridge, Temporal client, routes, listeners. Long-lived things are made here and
 * closed here, in order: stop accepting → tell the agents → store what they said → close Temporal → close the pool.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createAgentFiles } from '../agent-files.ts';
import type { Config, ServiceConfig } from '../config.ts';
import { channels } from '../contracts/events.ts';
import { createAssistant } from '../core/assistant-model.ts';
import { createChat } from '../core/chat-model.ts';
import { createCore } from '../core/core.ts';
import { createResourceReader } from '../core/resources.ts';
import type { RunningConfig } from '../core/running-config.ts';
import { createTaskModel } from '../core/task-model.ts';
import { findAgent } from '../db/agents.ts';
import { readSealLag } from '../db/audit-seals.ts';
import type { Db } from '../db/database.ts';
import type { EventRow } from '../db/events.ts';
import { createListener } from '../db/listen.ts';
import { readMigrationStatus } from '../db/migrate.ts';
import { readOutboxLag } from '../db/outbox.ts';
import type { DomainDeps, Log } from '../domain/deps.ts';
import { createHubToolPorts } from '../domain/hub-tools/hub-ports.ts';
import { createHubTools } from '../domain/hub-tools/run.ts';
import { type EnsuredAdmin, ensureAdmin } from '../domain/identity/admin.ts';
import type { IdentityDeps } from '../domain/identity/deps.ts';
import { recheckPrincipals } from '../domain/identity/live-principals.ts';
import { createPasswordHasher, type PasswordHasher } from '../domain/identity/passwords.ts';
import { can } from '../domain/policy.ts';
import { createRepoContext } from '../domain/repo-context/context.ts';
import { resealSecrets } from '../domain/reseal-secrets.ts';
import { createSharedCounts } from '../domain/shared-counts.ts';
import { readModelHealth } from '../domain/stats/model-health.ts';
import type { TerminalLimits } from '../domain/terminal/limits.ts';
import type { TemporalClient } from '../temporal/connection.ts';
import { createApiAnnouncer } from './announcer.ts';
import { type AppOptions, createApp } from './app.ts';
import { createAuthenticate } from './authenticate.ts';
import { type Bridge, createBridge } from './bridge/bridge.ts';
import { legacyUpgradeRoutes } from './bridge/legacy-routes.ts';
import { createRegistry, type Registry } from './bridge/registry.ts';
import { createDenialRecorder } from './denials.ts';
import { openDevLog } from './dev-log.ts';
import { createHub, type Hub } from './events/hub.ts';
import { createSessionWatch } from './events/session-watch.ts';
import { type ListenerAddress, listen } from './listen.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import { createOpenStreams } from './open-streams.ts';
import type { Checks } from './readiness.ts';
import type { HubChecks } from './routes/ananta/probes.ts';
import { createRoutes } from './routes/index.ts';
import { steelUpgradeRoute } from './routes/steel/socket.ts';
import { eventUpgradeRoute } from './routes/v1/events.ts';
import { createRelays, type Relays } from './terminal/relays.ts';
import { terminalUpgradeRoute } from './terminal/upgrade.ts';
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
  // First of all: what cannot be opened leaves nothing to close.
  const devLog = config.devLogs
    ? openDevLog({ folder: config.devLogsDir, orchestratorId: config.orchestratorId })
    : undefined;
  const processId = randomUUID();
  const shutdown = new AbortController();
  const core = createCore(config, log, {
    applicationName: 'steelthread-api',
    urgentChannels: [channels.agents, channels.batches],
  });
  const { db, secrets, running, temporal } = core;
  const hub = createHub({ db, onError: (err) => log.warn({ event: 'hub_read_failed', err }) });
  const registry = createRegistry();
  const domain: DomainDeps = {
    db,
    log,
    sockets: registry,
    announce: createApiAnnouncer({
      processId,
      hub,
      notifier: core.notifier,
      dispatcher: core.dispatcher,
      wakeAgents: (agentIds) => bridge.wake(agentIds),
    }),
    limits: running.limits,
  };
  const identity: IdentityDeps = {
    ...domain,
    passwords: options.passwords ?? createPasswordHasher(),
    secrets,
    settings: running.port,
    identity: {
      secretKeys: config.secretKeys,
      get accessTokenTtlMs() {
        return running.values().accessTokenTtlMs;
      },
      agentToken: running.agentToken,
      configuredAgentToken: config.agentToken,
      get registration() {
        return running.values().registration;
      },
      agentTokenAdmin: config.agentTokenAdmin,
    },
  };
  const authenticate = createAuthenticate(identity);
  const relays = createRelays({ domain, registry, bridgeId: processId, log });
  const bridge = createBridge({
    domain,
    registry,
    authenticate,
    terminals: relays,
    bridgeId: processId,
    serverVersion: config.version,
    temporal: { address: config.temporalAddress, namespace: config.temporalNamespace },
    log,
  });
  const metrics = createMetrics({ ofProcess: true });
  registerGauges(metrics, db, registry);

  const listener = createListener({
    url: config.databaseUrl,
    channels: [channels.events, channels.agents, channels.output, channels.settings],
    onNotify(channel, payload) {
      const ids = payload === '*' ? ('*' as const) : payload.split(',');
      if (channel === channels.events && payload !== processId) hub.poke();
      else if (channel === channels.agents) bridge.wake(ids);
      else if (channel === channels.output) hub.offerOutput(ids);
      else if (channel === channels.settings) core.takeUpSettings();
    },
    onReconnect() {
      hub.poke();
      hub.offerOutput('*');
      bridge.wake('*');
      core.takeUpSettings();
    },
    onError: (err) => log.warn({ event: 'listen_failed', err }),
  });
  hub.subscribe(({ row }) => {
    tellBridge(bridge, row);
    tellRelays(relays, row);
  });

  const closeParts = async (): Promise<void> => {
    await bridge.close();
    await relays.close();
    await listener.close();
    await hub.close();
    await core.close();
    devLog?.close();
  };

  try {
    await hub.ready;
    // Before anybody is let in: a replaced agent token must not work for a moment again.
    await running.refresh();
    await resealSecrets({ db, secrets, log });
    const admin = await ensureAdmin(identity, {
      username: config.adminUsername,
      email: config.adminEmail,
      password: config.adminPassword,
    });
    /** Where no PUBLIC_URL says how this server is reached: the first listener, once it listens. */
    let ownUrl = '';
    const deps = {
      ...identity,
      hub,
      chat: createChat(running, { db, log }),
      assistant: createAssistant(running, { db, log }),
      webhookUrls: core.outbounds.webhooks,
      agentUrls: core.outbounds.agents,
      presence: bridge.presence,
      isProduction: config.nodeEnv === 'production',
      serverName: config.projectName,
      serverVersion: config.version,
      readResources: createResourceReader(),
      localAgentId: config.localAgentId,
      llm: createTaskModel(running, { db, log }),
      tools: createHubTools(domain, createHubToolPorts({ ...domain, secrets })),
      repoContext: createRepoContext(domain, config.contextRoot),
      installer: {
        serverUrl: () => config.publicUrl ?? ownUrl,
        allowsPlaintext: config.allowPlaintext,
        agentFiles: createAgentFiles(),
      },
    };
    const streams = createOpenStreams();
    const sessions = createSessionWatch({
      hub,
      log,
      recheck: (principals) => recheckPrincipals(identity, principals),
    });
    const denials = createDenialRecorder(domain);
    const app = createApp({
      routes: createRoutes(deps),
      log,
      devLog: devLog?.log,
      metrics,
      checks: createChecks(db, temporal),
      hubChecks: createHubChecks(db, running, config.localAgentId),
      shutdown: shutdown.signal,
      authenticate,
      recheck: async (principal) => (await recheckPrincipals(identity, [principal]))[0] ?? null,
      can: (principal, verb, resource) => can(principal, verb, resource),
      onDenied: denials.onDenied,
      streams,
      sessions,
      countShared: createSharedCounts({ db, log }),
      options: appOptions(config, options),
    });
    const upgrade = createUpgradeRouter({
      routes: [
        bridge.upgradeRoute,
        ...legacyUpgradeRoutes({
          bridge,
          domain,
          authenticate,
          sessions,
          shutdown: shutdown.signal,
          log,
        }),
        eventUpgradeRoute({ ...deps, authenticate, streams, sessions, shutdown: shutdown.signal }),
        terminalUpgradeRoute({
          domain,
          hub,
          relays,
          limits: () => terminalLimitsOf(running.values()),
          hostAgentId: config.hostTerminal ? config.localAgentId : null,
          authenticate,
          streams,
          sessions,
          shutdown: shutdown.signal,
        }),
        steelUpgradeRoute({ hub, log, authenticate, streams, sessions, shutdown: shutdown.signal }),
      ],
      origins: pageOrigins(config),
      onRefused: denials.onSocketRefused,
      trustProxyHops: config.trustProxyHops,
      shutdown: shutdown.signal,
      log,
    });
    const tls = readTls(config);
    const listening = await listen(
      { app, upgrade, log },
      config.listen.map((one) => ({ ...one, ...(tls === undefined ? {} : { tls }) })),
    );
    ownUrl = listening.addresses[0]?.url ?? '';
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
          // What was said before its reader had to go is still to be stored.
          await streams.settled();
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
  if (row.type === 'agent.updated' && typeof row.data.drain === 'boolean')
    bridge.hold(row.agentId, row.data.drain);
  if (row.type === 'agent.refresh_requested') bridge.askPresence(row.agentId);
  if (row.type === 'agent.connected') bridge.supersede(row.agentId, Number(row.data.epoch));
  if (row.type === 'command.cancel_requested' && row.commandId !== null) {
    bridge.cancel(row.agentId, row.commandId, String(row.data.reason));
  }
}

/** What committed events mean for terminals. */
function tellRelays(relays: Relays, row: EventRow): void {
  const terminalId = String(row.data.terminalId ?? '');
  if (row.type === 'terminal.closed') relays.ended(terminalId);
  if (row.agentId === null) return;
  if (row.type === 'terminal.end_requested') relays.end(row.agentId, terminalId, String(row.data.reason));
  if (row.type === 'agent.connected') relays.agentConnected(row.agentId);
}

const terminalLimitsOf = (config: Config): TerminalLimits => ({
  idleMs: config.terminalIdleMs,
  detachedMs: config.terminalDetachedMs,
  maxMs: config.terminalMaxMs,
  isRecorded: config.terminalRecording,
  recordsInput: config.terminalRecordInput,
});

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

function createHubChecks(db: Db, running: RunningConfig, localAgentId: string): HubChecks {
  return {
    isShellUp: async () => (await findAgent(db, localAgentId))?.status === 'online',
    model: async () => ({
      provider: running.values().anthropicApiKey === null ? 'mock' : 'anthropic',
      health: await readModelHealth({ db }),
    }),
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

/** Pages that may open sockets: those that may call the API, and our own. */
const pageOrigins = ({ corsOrigins, publicUrl }: ServiceConfig): string[] => [
  ...corsOrigins,
  ...(publicUrl === null ? [] : [new URL(publicUrl).origin]),
];

function readTls(config: ServiceConfig): { cert: Buffer; key: Buffer } | undefined {
  if (config.tlsCert === null || config.tlsKey === null) return undefined;
  return { cert: readFileSync(config.tlsCert), key: readFileSync(config.tlsKey) };
}
