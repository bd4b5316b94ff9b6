/**
 * A whole installation on one machine: PostgreSQL, Temporal, API, worker and one local agent, each its own process.
 *
 *   PostgreSQL ─► migrations ─► Temporal ─► api ─► worker ─► agent        stopped in the reverse order
 *
 * A. Either everything runs when `startDevelopment` resolves, or nothing is left running when it rejects.
 * B. When one of them ends by itself, all are ended; `done` says which it was.
 * C. Once it is being stopped (`signal`, or B during the start), nothing more is started: what waits gives up, what runs
 *    is ended at once, what comes up in that moment is ended as well.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { createApiClient } from '../client/api-client.ts';
import { type Config, generateKey, inheritedEnvironment, keepSecret, wholeEnvironment } from '../config.ts';
import { migrateUp } from '../db/migrate.ts';
import { readTemporalOptions } from '../temporal/options.ts';
import { assertDatabase, assertTemporal } from './given-servers.ts';
import { findAgentId, prepareLocalAgent } from './local-agent.ts';
import { MACHINE_VARIABLES, type StackLog } from './log-port.ts';
import { findFreePort } from './ports.ts';
import { type Postgres, startPostgres } from './postgres.ts';
import { type LogRecord, openProgramLog, type ProgramLog } from './program-log.ts';
import { type ProgramName, programCommand } from './programs.ts';
import { createSupervisor } from './supervise.ts';
import { startTemporal, type Temporal } from './temporal.ts';

/** The worker bundles the workflows at its first start. */
const READY_TIMEOUT_MS = 90_000;
/** Above the programs' own deadlines for an orderly end (25 s), so that those decide. */
const STOP_TIMEOUT_MS = 30_000;

export interface DevelopmentOptions {
  config: Config;
  /** Folder of data, secrets and logs. */
  home: string;
  /** Keep no data: temporary servers on free ports. */
  ephemeral: boolean;
  log: StackLog;
  /** Hears warnings and errors of the programs, and everything they say that is no log record. */
  onProblem: (program: ProgramName, line: string, record: LogRecord | null) => void;
  /** Hears of the administrator this start has made, with a password that nobody will show again. */
  onAdminCreated?: (admin: CreatedAdmin) => void;
  /** Where the agent runs commands that name no directory; default its own folder. */
  agentWorkDir?: string;
  /** On top of the environment of API and worker. */
  env?: Record<string, string>;
  /** Gives up the start, at once; without effect once it is over. */
  signal?: AbortSignal;
}

export interface CreatedAdmin {
  username: string;
  password: string;
}

export interface Development {
  /** Base URL of the API on this machine. */
  url: string;
  /** Null where Temporal is not ours. */
  temporalUiUrl: string | null;
  agentId: string;
  logsDir: string;
  /** The newest log lines of each program, for messages of failure. */
  tails(): string;
  /** Resolves when everything has ended; `failed` names what ended by itself. */
  readonly done: Promise<{ failed: string | null }>;
  /** Idempotent. */
  stop(): Promise<void>;
}

/** @throws with the reason when a part does not start, or `signal` aborts */
export async function startDevelopment(options: DevelopmentOptions): Promise<Development> {
  const { config, home, ephemeral, log } = options;
  const stages: Stage[] = [];
  const ending = new AbortController();
  const signal = AbortSignal.any([ending.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const logs = new Map<ProgramName, ProgramLog>();
  const logsDir = join(home, 'logs');
  let failed: string | null = null;
  let stopping: Promise<void> | undefined;
  let settle: (end: { failed: string | null }) => void = () => {};
  const done = new Promise<{ failed: string | null }>((resolve) => {
    settle = resolve;
  });

  async function stopAll(): Promise<void> {
    for (let stage = stages.pop(); stage !== undefined; stage = stages.pop()) await stage.stop();
    for (const programLog of logs.values()) programLog.close();
    settle({ failed });
  }
  const stop = (): Promise<void> => {
    ending.abort(new Error(failed === null ? 'It is being stopped' : `${failed} ended by itself`)); // C
    stopping ??= stopAll();
    return stopping;
  };
  const addStage = async (stage: Stage): Promise<void> => {
    if (stopping === undefined) stages.push(stage);
    else await stage.stop(); // C
    signal.throwIfAborted();
  };
  const endedByItself = (name: string): void => {
    if (stopping !== undefined) return;
    failed ??= name;
    void stop(); // B
  };
  const addServer = async (name: string, server: Postgres | Temporal, isOurs: boolean): Promise<void> => {
    void server.done.then((end) => end.expected || endedByItself(name));
    await addStage({
      async stop() {
        await server.stop();
        if (isOurs) log.info({ event: 'server_stopped', name }, `${name} stopped`);
      },
    });
  };

  const giveUp = (): void => void stop();
  options.signal?.addEventListener('abort', giveUp);
  try {
    if (config.databaseUrl !== null) await assertDatabase({ log, signal }, config.databaseUrl);
    if (config.temporalAddress !== null) {
      const given = readTemporalOptions({ ...config, temporalAddress: config.temporalAddress });
      await assertTemporal({ log, signal }, given);
    }
    const { databaseUrl } = config;
    const postgres = await startPostgres({ log, databaseUrl, homeDir: home, ephemeral, signal });
    await addServer('PostgreSQL', postgres, databaseUrl === null);
    const applied = await migrateUp(postgres.url);
    signal.throwIfAborted();
    const migrated = applied.length === 0 ? 'nothing to migrate' : `${applied.length} migrations applied`;
    log.info({ event: 'migrated', count: applied.length }, `Database: ${migrated}`);

    const temporal = await startTemporal({
      log,
      address: config.temporalAddress,
      namespace: config.temporalNamespace,
      cliPath: config.temporalCliPath,
      cacheDir: config.steelthreadCache,
      homeDir: home,
      ephemeral,
      signal,
    });
    await addServer('Temporal', temporal, config.temporalAddress === null);

    const supervisor = createSupervisor({ log: inSentences(log) });
    await addStage({ stop: () => supervisor.stop() });
    void supervisor.done.then((end) => end.failed !== null && endedByItself(end.failed));

    const agentHome = join(home, 'agent');
    const agentToken = config.agentToken ?? keepSecret(home, 'agent-token', generateKey);
    const env = {
      ...wholeEnvironment(),
      DATABASE_URL: postgres.url,
      TEMPORAL_ADDRESS: temporal.address,
      TEMPORAL_NAMESPACE: temporal.namespace,
      STEELTHREAD_HOME: home,
      SECRET_KEY: config.secretKeys.join(','),
      SETTINGS_ENCRYPTION_KEY: config.settingsEncryptionKeys.join(','),
      AGENT_TOKEN: agentToken,
      LOCAL_AGENT_ID: findAgentId(agentHome) ?? config.localAgentId,
      LISTEN: await chooseListeners(config, { ephemeral, log }),
      LOG_FORMAT: 'json',
      ...options.env,
    };
    let addresses: z.infer<typeof addressesSchema> = [];

    const startProgram = async (
      name: ProgramName,
      readyEvent: string,
      given: { env: Record<string, string>; onRecord?: (record: LogRecord, hide: () => void) => void },
    ): Promise<void> => {
      signal.throwIfAborted();
      const programLog = openProgramLog({
        file: join(logsDir, `${name}.log`),
        onRecord: given.onRecord,
        onProblem: (line, record) => options.onProblem(name, line, record),
      });
      logs.set(name, programLog);
      try {
        await supervisor.start({
          name,
          ...programCommand(name),
          env: given.env,
          ready: { line: new RegExp(`"event":"${readyEvent}"`) },
          readyTimeoutMs: READY_TIMEOUT_MS,
          stopTimeoutMs: STOP_TIMEOUT_MS,
          onLine: programLog.onLine,
        });
      } catch (error) {
        options.signal?.throwIfAborted();
        const what = withoutTail(error instanceof Error ? error.message : String(error));
        throw new Error(`${what}. It said last (${programLog.file}):\n${programLog.tail()}`, {
          cause: error,
        });
      }
    };

    await startProgram('api', 'api_ready', {
      env,
      onRecord(record, hide) {
        if (record.event === 'api_ready') addresses = addressesSchema.parse(record.addresses);
        if (record.event !== 'admin_created') return;
        hide();
        options.onAdminCreated?.(adminSchema.parse(record));
      },
    });
    const url = localUrl(addresses);
    await startProgram('worker', 'worker_ready', { env });
    const api = createApiClient({ url, token: agentToken });
    const local = await prepareLocalAgent(api, { agentHome, agentId: config.localAgentId });
    await startProgram('agent', 'connected', {
      env: {
        ...inheritedEnvironment(MACHINE_VARIABLES),
        STEELTHREAD_URL: url,
        STEELTHREAD_AGENT_HOME: agentHome,
        ...(config.hostTerminal && {
          STEELTHREAD_AGENT_TERMINAL: '1',
          ...(config.shellPath !== null && { STEELTHREAD_AGENT_TERMINAL_SHELL: config.shellPath }),
        }),
        ...(options.agentWorkDir === undefined ? {} : { STEELTHREAD_AGENT_WORK_DIR: options.agentWorkDir }),
        ...local.env,
      },
    });
    signal.throwIfAborted();
    return {
      url,
      temporalUiUrl: temporal.uiUrl,
      agentId: local.agentId,
      logsDir,
      tails: () => renderTails(logs),
      done,
      stop,
    };
  } catch (error) {
    await stop(); // A
    throw error;
  } finally {
    options.signal?.removeEventListener('abort', giveUp);
  }
}

/** A part of the installation that runs. */
interface Stage {
  stop(): Promise<void>;
}

const addressesSchema = z.array(z.object({ url: z.url(), host: z.string(), profile: z.string() }));
const adminSchema = z.object({ username: z.string(), password: z.string() });

/** The configured listeners, with a free port wherever theirs is taken. */
async function chooseListeners(
  config: Config,
  { ephemeral, log }: { ephemeral: boolean; log: StackLog },
): Promise<string> {
  const listeners: string[] = [];
  for (const { host, port, profile } of config.listen) {
    const chosen = ephemeral || port === 0 ? 0 : await findFreePort(port);
    if (chosen !== port && !ephemeral) {
      log.warn({ event: 'port_taken', port, chosen }, `API: port ${port} is taken, using ${chosen}`);
    }
    listeners.push(`${host.includes(':') ? `[${host}]` : host}:${chosen}:${profile}`);
  }
  return listeners.join(',');
}

/** The first address, as this machine reaches it. */
function localUrl(addresses: z.infer<typeof addressesSchema>): string {
  const [first] = addresses;
  if (first === undefined) throw new Error('The API listens nowhere');
  const url = new URL(first.url);
  if (url.hostname === '0.0.0.0' || url.hostname === '[::]') url.hostname = '127.0.0.1';
  return url.origin;
}

/** The supervisor reports in fields; here they become sentences. */
function inSentences(log: StackLog): StackLog {
  return {
    info(fields, message) {
      if (fields.event === 'program_started') message ??= `${fields.program} is ready`;
      if (fields.event === 'program_stopped') message ??= `${fields.program} stopped`;
      log.info(fields, message);
    },
    // What it said last was shown as it came, or is in its log.
    warn: (fields, message) => log.warn(fields, message === undefined ? undefined : withoutTail(message)),
  };
}

/** The raw lines below the first hold JSON, and once a password. */
function withoutTail(message: string): string {
  return message.split('\n')[0] ?? '';
}

function renderTails(logs: Map<ProgramName, ProgramLog>): string {
  return [...logs]
    .map(([name, programLog]) => `--- ${name} (${programLog.file})\n${programLog.tail() || '(nothing)'}`)
    .join('\n');
}
