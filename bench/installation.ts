/**
 * The installation under measurement: embedded Postgres and Temporal, and API, worker, agent and peers each in a
 * process of its own, as in production. Figures of two contenders are only compared within one run of it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadConfig, wholeEnvironment } from '../config.ts';
import { migrateUp } from '../db/migrate.ts';
import { createLogger } from '../log.ts';
import { startPostgres } from '../stack/postgres.ts';
import { createSupervisor } from '../stack/supervise.ts';
import { startTemporal } from '../stack/temporal.ts';

const PASSWORD = 'Bench-Correct-Horse-7';
export const RAW_TASK_QUEUE = 'bench-raw';

export interface Installation {
  url: string;
  databaseUrl: string;
  temporalAddress: string;
  agentId: string;
  token: string;
  /** For files of a measurement; removed at the end. */
  home: string;
  /** Number of a running program: api, worker, agent. */
  pidOf(name: string): number;
  call<T>(method: string, path: string, body?: unknown): Promise<T>;
  /** Start a program of bench/processes; returns the match of its ready line. */
  startPeer(name: string, env: Record<string, string>, readyLine: RegExp): Promise<RegExpMatchArray | null>;
  stop(): Promise<void>;
}

export async function startInstallation(): Promise<Installation> {
  const config = loadConfig('cli');
  const log = createLogger({ name: 'bench', level: 'warn', format: 'pretty' });
  const home = await mkdtemp(join(tmpdir(), 'steelthread-bench-'));
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  const postgres = await startPostgres({ log, homeDir: join(home, 'postgres') });
  const temporal = await startTemporal({
    log,
    ephemeral: true,
    cliPath: config.temporalCliPath,
    cacheDir: config.steelthreadCache,
  });
  await migrateUp(postgres.url);
  const env = {
    ...wholeEnvironment(),
    DATABASE_URL: postgres.url,
    TEMPORAL_ADDRESS: temporal.address,
    LISTEN: '127.0.0.1:0:steel',
    RATE_LIMIT: 'off',
    ADMIN_PASSWORD: PASSWORD,
    STEELTHREAD_HOME: home,
    LOG_LEVEL: 'info',
    LOG_FORMAT: 'json',
    ANTHROPIC_API_KEY: '',
  };
  const supervisor = createSupervisor({ log });
  const start = async (name: string, file: string, extra: Record<string, string>, line: RegExp) => {
    const match = await supervisor.start({
      name,
      command: process.execPath,
      args: ['--import', 'tsx', join(root, file)],
      cwd: root,
      env: { ...env, ...extra },
      ready: { line },
    });
    return match;
  };
  const match = await start('api', 'api/main.ts', {}, /"event":"api_ready".*?"url":"([^"]+)"/);
  const url = match?.[1];
  if (url === undefined) throw new Error('the API did not say where it listens');
  await start('worker', 'worker/main.ts', {}, /"event":"worker_ready"/);
  await start(
    'raw worker',
    'bench/processes/raw-worker.ts',
    { TEMPORAL_TASK_QUEUE: RAW_TASK_QUEUE },
    /raw_worker_ready/,
  );

  let token = '';
  const call = async <T>(method: string, path: string, body?: unknown): Promise<T> => {
    const reply = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!reply.ok) throw new Error(`${method} ${path} answered ${reply.status}: ${await reply.text()}`);
    return (await reply.json()) as T;
  };
  const login = await call<{ accessToken: string }>('POST', '/v1/auth/login', {
    username: 'admin',
    password: PASSWORD,
  });
  token = login.accessToken;
  const { enrolmentToken } = await call<{ enrolmentToken: string }>('POST', '/v1/agents/enrolments', {});
  const agent = await call<{ agentId: string; agentToken: string }>('POST', '/v1/agents/enrol', {
    enrolmentToken,
    hostname: 'bench',
  });
  const agentEnv = {
    STEELTHREAD_URL: url,
    AGENT_ID: agent.agentId,
    AGENT_TOKEN: agent.agentToken,
    AGENT_HOME: join(home, 'agent'),
  };
  await start('agent', 'bench/processes/noop-agent.ts', agentEnv, /noop_agent_ready/);

  return {
    url,
    databaseUrl: postgres.url,
    temporalAddress: temporal.address,
    agentId: agent.agentId,
    token,
    home,
    pidOf: (name) => supervisor.pids()[name] ?? 0,
    call,
    startPeer: (name, extra, line) => start(name, `bench/processes/${name}.ts`, extra, line),
    async stop() {
      await supervisor.stop();
      await temporal.stop();
      await postgres.stop();
      await rm(home, { recursive: true, force: true });
    },
  };
}
