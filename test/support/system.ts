/**
 * The whole system in one test process: API with its bridge, worker with its duties, agents. Real Postgres, real
 * Temporal, real sockets and processes; the model is the mock planner or the stub that speaks its protocol.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';
import { type Agent, type AgentOptions, createAgent } from '../../agent/agent.ts';
import { type ApiServer, startApi } from '../../api/server.ts';
import { parseConfig } from '../../config.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { createPasswordHasher } from '../../domain/identity/passwords.ts';
import { startWorkerService, type WorkerService } from '../../worker/service.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { uniqueTaskQueue } from './temporal.ts';

const ADMIN_PASSWORD = 'Correct-Horse-7';
/** The lowest cost bcrypt knows. */
const TEST_HASH_COST = 4;

export interface SystemOptions {
  /** Default true. */
  worker?: boolean;
  /** Extra environment, e.g. ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY of the stub. */
  env?: Record<string, string>;
}

export interface LogLine {
  level: string;
  event: string;
  [field: string]: unknown;
}

export interface System {
  database: TestDatabase;
  api: ApiServer;
  worker: WorkerService | undefined;
  url: string;
  env: Record<string, string>;
  /** Access token of the admin. */
  token(): string;
  /** What API and worker logged, oldest first. */
  lines: LogLine[];
  /** Authenticated JSON request as the admin (or with another token). */
  request<T = unknown>(
    method: string,
    path: string,
    body?: unknown,
    options?: RequestOptions,
  ): Promise<Reply<T>>;
  /** As `request`, but the status must be 2xx. */
  call<T = unknown>(method: string, path: string, body?: unknown, options?: RequestOptions): Promise<T>;
  /** Enrol and start an agent in this process. */
  startAgent(options?: Partial<AgentOptions>): Promise<TestAgent>;
  /** Enrol an agent without starting it. */
  enrol(agentId?: string): Promise<{ agentId: string; agentToken: string }>;
  /** Poll a read until it satisfies, with a deadline and the last value in the failure. */
  until<T>(
    read: () => Promise<T>,
    isEnough: (value: T) => boolean,
    what?: string,
    timeoutMs?: number,
  ): Promise<T>;
  untilTask(id: string, isEnough: (task: TaskView) => boolean, timeoutMs?: number): Promise<TaskView>;
  startWorker(): Promise<WorkerService>;
  /** One more API process's worth of API on the same database, closed with the system. */
  openApi(): Promise<ApiServer & { url: string }>;
  /** On the same ports, so that agents find it again. */
  restartApi(): Promise<void>;
  close(): Promise<void>;
}

export interface RequestOptions {
  token?: string;
  headers?: Record<string, string>;
}

export interface Reply<T> {
  status: number;
  body: T;
  headers: Headers;
}

export interface TestAgent {
  agentId: string;
  agentToken: string;
  home: string;
  agent: Agent;
  close(): Promise<void>;
}

export async function startSystem(options: SystemOptions = {}): Promise<System> {
  const database = await createTestDatabase();
  const home = await mkdtemp(join(tmpdir(), 'steelthread-test-'));
  const env: Record<string, string> = {
    DATABASE_URL: database.url,
    TEMPORAL_ADDRESS: inject('temporalAddress'),
    TEMPORAL_TASK_QUEUE: uniqueTaskQueue(),
    LISTEN: '0:steel,0:dex,0:ananta',
    RATE_LIMIT: 'off',
    ADMIN_PASSWORD,
    STEELTHREAD_HOME: home,
    SECRET_KEY: 'k'.repeat(48),
    ...options.env,
  };
  const lines: LogLine[] = [];
  const log = recordingLog(lines);
  const openApi = (listen?: string) =>
    startApi(parseConfig(listen === undefined ? env : { ...env, LISTEN: listen }, { role: 'api' }), log, {
      passwords: createPasswordHasher({ cost: TEST_HASH_COST }),
      checkReplies: true,
    });
  const agents: TestAgent[] = [];
  const others: ApiServer[] = [];
  let api = await openApi();
  let worker: WorkerService | undefined;
  let token = '';

  const login = async (): Promise<void> => {
    const reply = await fetch(`${system.url}/v1/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username: 'admin', password: ADMIN_PASSWORD }),
    });
    const body = (await reply.json()) as { accessToken: string };
    token = body.accessToken;
  };

  const system: System = {
    database,
    get api() {
      return api;
    },
    get worker() {
      return worker;
    },
    get url() {
      const [address] = api.addresses;
      if (address === undefined) throw new Error('the API listens nowhere');
      return address.url;
    },
    env,
    token: () => token,
    lines,
    async request<T>(
      method: string,
      path: string,
      body?: unknown,
      given: RequestOptions = {},
    ): Promise<Reply<T>> {
      const reply = await fetch(`${system.url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${given.token ?? token}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...given.headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await reply.text();
      return {
        status: reply.status,
        headers: reply.headers,
        body: (text === '' ? undefined : JSON.parse(text)) as T,
      };
    },
    async call<T>(method: string, path: string, body?: unknown, given: RequestOptions = {}): Promise<T> {
      const reply = await system.request<T>(method, path, body, given);
      if (reply.status >= 300) {
        throw new Error(`${method} ${path} answered ${reply.status}: ${JSON.stringify(reply.body)}`);
      }
      return reply.body;
    },
    async enrol(agentId) {
      const { enrolmentToken } = await system.call<{ enrolmentToken: string }>(
        'POST',
        '/v1/agents/enrolments',
        {},
      );
      return system.call('POST', '/v1/agents/enrol', {
        enrolmentToken,
        hostname: agentId ?? 'test-host',
        ...(agentId === undefined ? {} : { agentId }),
      });
    },
    async startAgent(given = {}) {
      const identity =
        given.agentId !== undefined && given.token !== undefined
          ? { agentId: given.agentId, agentToken: given.token }
          : await system.enrol(given.agentId);
      const agentHome = given.home ?? (await mkdtemp(join(home, 'agent-')));
      const agent = createAgent({
        url: system.url,
        metrics: false,
        backoff: { baseMs: 20, capMs: 200, refusedMs: 200, supersededMs: 60_000 },
        ...given,
        home: agentHome,
        agentId: identity.agentId,
        token: identity.agentToken,
      });
      const started: TestAgent = {
        ...identity,
        home: agentHome,
        agent,
        close: () => agent.close({ drainMs: 0 }),
      };
      agents.push(started);
      await agent.ready;
      return started;
    },
    async until(read, isEnough, what = 'the condition', timeoutMs = 20_000) {
      const deadline = Date.now() + timeoutMs;
      for (;;) {
        const value = await read();
        if (isEnough(value)) return value;
        if (Date.now() > deadline)
          throw new Error(`${what} did not come true; last seen: ${JSON.stringify(value)}`);
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
    },
    untilTask: (id, isEnough, timeoutMs) =>
      system.until(() => system.call<TaskView>('GET', `/v1/tasks/${id}`), isEnough, `task ${id}`, timeoutMs),
    async startWorker() {
      worker = startWorkerService(parseConfig(env, { role: 'worker' }), log);
      await worker.ready;
      return worker;
    },
    async openApi() {
      const other = await openApi();
      others.push(other);
      const [address] = other.addresses;
      if (address === undefined) throw new Error('the API listens nowhere');
      return { ...other, url: address.url };
    },
    async restartApi() {
      const listen = api.addresses.map(({ port, profile }) => `${port}:${profile}`).join(',');
      await api.close();
      api = await openApi(listen);
    },
    async close() {
      await Promise.all(agents.map((agent) => agent.close()));
      await worker?.close();
      await Promise.all([api, ...others].map((each) => each.close()));
      await database.drop();
      await rm(home, { recursive: true, force: true });
    },
  };
  await login();
  if (options.worker !== false) await system.startWorker();
  return system;
}

function recordingLog(lines: LogLine[]) {
  const at =
    (level: string) =>
    (fields: { event: string; [field: string]: unknown }): void =>
      void lines.push({ level, ...fields });
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
