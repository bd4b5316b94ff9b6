/**
 * The system as it runs in production: API, worker and agents, each a process of its own, on a database of its own.
 * Every part can be killed with SIGKILL and started again with the same home, port and environment.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inject } from 'vitest';
import { wholeEnvironment } from '../../config.ts';
import { createDatabase, type Db } from '../../db/database.ts';
import { findFreePort } from '../../stack/ports.ts';
import { type RunningProcess, startProcess, waitUntilReady } from '../../stack/processes.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { uniqueTaskQueue } from './temporal.ts';

const ADMIN_PASSWORD = 'Correct-Horse-7';
const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;
/** How long a request is repeated while the API is away. */
const REQUEST_DEADLINE_MS = 60_000;
const RETRY_PAUSE_MS = 100;
const KEPT_LINES = 400;
const SHOWN_LINES = 25;
const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

export type PartKind = 'api' | 'worker' | 'agent' | 'program';

/** One program of the installation, running or not. */
export interface Part {
  kind: PartKind;
  name: string;
  pid(): number;
  isRunning(): boolean;
  /** The newest output lines of all its lives. */
  lines: readonly string[];
  /** SIGKILL to this process alone; resolves when it is gone. */
  kill(): Promise<void>;
  /** Polite end. */
  stop(): Promise<void>;
  /** Start (again); resolves when it is ready. */
  start(): Promise<void>;
}

export interface AgentPart extends Part {
  agentId: string;
  agentToken: string;
  home: string;
}

export interface ApiPart extends Part {
  port: number;
  url: string;
}

export interface InstallationOptions {
  /** Default: a clone of the migrated template, dropped at the end. */
  databaseUrl?: string | undefined;
  /** Default: the server of the run. */
  temporalAddress?: string | undefined;
  /** Environment of the API and the worker besides the usual. */
  env?: Record<string, string>;
  apiEnv?: Record<string, string>;
  workerEnv?: Record<string, string>;
}

export interface Installation {
  databaseUrl: string;
  /** For reading what is true; four connections. */
  db: Db;
  home: string;
  taskQueue: string;
  temporalAddress: string;
  /** Port the first API has, or will have. */
  port: number;
  parts: readonly Part[];
  startApi(): Promise<ApiPart>;
  startWorker(): Promise<Part>;
  /** Enrol through the API and start. `url`: where the agent connects; default the first API. */
  startAgent(options?: {
    agentId?: string;
    url?: string;
    env?: Record<string, string>;
    start?: boolean;
  }): Promise<AgentPart>;
  /** Another program of the test's own, ready when it prints a line that fits. */
  startProgram(given: {
    name: string;
    file: string;
    env: Record<string, string>;
    ready: RegExp;
  }): Promise<Part>;
  /**
   * JSON request as the admin, repeated with the same Idempotency-Key while no API answers.
   * @throws with status and body when the answer is not 2xx
   */
  call<T = unknown>(method: string, path: string, body?: unknown): Promise<T>;
  /** Poll until `isEnough`. @throws with the last value and the logs */
  until<T>(
    read: () => Promise<T>,
    isEnough: (value: T) => boolean,
    what: string,
    timeoutMs?: number,
  ): Promise<T>;
  /** The newest lines of every part, for failures. */
  describe(): string;
  close(): Promise<void>;
}

/** Nothing runs yet when this resolves: start the parts. */
export async function createInstallation(options: InstallationOptions = {}): Promise<Installation> {
  const clone: TestDatabase | undefined =
    options.databaseUrl === undefined ? await createTestDatabase() : undefined;
  const databaseUrl = options.databaseUrl ?? clone?.url ?? '';
  const home = await mkdtemp(join(tmpdir(), 'steelthread-installation-'));
  const taskQueue = uniqueTaskQueue();
  const temporalAddress = options.temporalAddress ?? inject('temporalAddress');
  const firstPort = await findFreePort();
  const db = createDatabase({ url: databaseUrl, poolMax: 4, applicationName: 'test' });
  const parts: Part[] = [];
  const apis: ApiPart[] = [];
  let token = '';
  let nextApi = 0;
  const env: Record<string, string> = {
    ...wholeEnvironment(),
    NODE_ENV: 'test',
    DATABASE_URL: databaseUrl,
    TEMPORAL_ADDRESS: temporalAddress,
    TEMPORAL_TASK_QUEUE: taskQueue,
    RATE_LIMIT: 'off',
    ADMIN_PASSWORD,
    STEELTHREAD_HOME: home,
    SECRET_KEY: 'k'.repeat(48),
    LOG_LEVEL: 'info',
    LOG_FORMAT: 'json',
    ANTHROPIC_API_KEY: '',
    ANTHROPIC_MODEL: 'claude-opus-4-5',
    ...options.env,
  };

  function createPart(
    kind: PartKind,
    name: string,
    file: string,
    partEnv: Record<string, string>,
    ready: RegExp,
  ): Part {
    const lines: string[] = [];
    let child: RunningProcess | undefined;
    let isReady = false;
    const part: Part = {
      kind,
      name,
      lines,
      pid: () => child?.pid ?? 0,
      isRunning: () => child !== undefined,
      async start() {
        if (child !== undefined) return;
        isReady = false;
        const started = await startProcess({
          name,
          command: process.execPath,
          args: ['--import', 'tsx', join(root, file)],
          cwd: root,
          env: partEnv,
          stopTimeoutMs: STOP_TIMEOUT_MS,
          output: {
            onLine(line) {
              if (!isNoise(line)) lines.push(line);
              if (lines.length > KEPT_LINES) lines.shift();
              if (ready.test(line)) isReady = true;
            },
          },
        });
        child = started;
        void started.done.then(() => {
          if (child === started) child = undefined;
        });
        await waitUntilReady(started, async () => isReady, { timeoutMs: READY_TIMEOUT_MS });
      },
      async kill() {
        const victim = child;
        if (victim === undefined) return;
        process.kill(victim.pid, 'SIGKILL');
        await victim.done;
        lines.push(`--- ${name} was killed`);
      },
      async stop() {
        await child?.stop();
      },
    };
    parts.push(part);
    return part;
  }

  async function request(method: string, url: string, body: unknown, key: string): Promise<Response> {
    return fetch(url, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        ...(method === 'GET' ? {} : { 'idempotency-key': key }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }

  const installation: Installation = {
    databaseUrl,
    db,
    home,
    taskQueue,
    temporalAddress,
    port: firstPort,
    parts,
    async startApi() {
      const port = apis.length === 0 ? firstPort : await findFreePort();
      const part = createPart(
        'api',
        `api-${apis.length + 1}`,
        'api/main.ts',
        { ...env, ...options.apiEnv, LISTEN: `127.0.0.1:${port}:steel` },
        /"event":"api_ready"/,
      );
      const api: ApiPart = Object.assign(part, { port, url: `http://127.0.0.1:${port}` });
      apis.push(api);
      await api.start();
      if (token === '') {
        const login = await installation.call<{ accessToken: string }>('POST', '/v1/auth/login', {
          username: 'admin',
          password: ADMIN_PASSWORD,
        });
        token = login.accessToken;
      }
      return api;
    },
    async startWorker() {
      const count = parts.filter((part) => part.kind === 'worker').length;
      const part = createPart(
        'worker',
        `worker-${count + 1}`,
        'worker/main.ts',
        { ...env, ...options.workerEnv },
        /"event":"worker_ready"/,
      );
      await part.start();
      return part;
    },
    async startAgent(given = {}) {
      const { enrolmentToken } = await installation.call<{ enrolmentToken: string }>(
        'POST',
        '/v1/agents/enrolments',
        {},
      );
      const name = given.agentId ?? `agent-${parts.filter((part) => part.kind === 'agent').length + 1}`;
      const identity = await installation.call<{ agentId: string; agentToken: string }>(
        'POST',
        '/v1/agents/enrol',
        { enrolmentToken, hostname: name, agentId: name },
      );
      const agentHome = join(home, `home-${name}`);
      const agentEnv = {
        ...wholeEnvironment(),
        STEELTHREAD_URL: given.url ?? `http://127.0.0.1:${firstPort}`,
        STEELTHREAD_AGENT_HOME: agentHome,
        STEELTHREAD_AGENT_ID: identity.agentId,
        STEELTHREAD_AGENT_TOKEN: identity.agentToken,
        ...given.env,
      };
      const part = createPart('agent', name, 'agent/main.ts', agentEnv, /"event":"connected"/);
      const agent: AgentPart = Object.assign(part, { ...identity, home: agentHome });
      if (given.start !== false) await agent.start();
      return agent;
    },
    async startProgram({ name, file, env: own, ready }) {
      const part = createPart('program', name, file, { ...wholeEnvironment(), ...own }, ready);
      await part.start();
      return part;
    },
    async call<T>(method: string, path: string, body?: unknown): Promise<T> {
      const key = randomUUID();
      const deadline = Date.now() + REQUEST_DEADLINE_MS;
      for (let attempt = 0; ; attempt++) {
        nextApi = attempt === 0 ? 0 : nextApi + 1;
        const api = apis[nextApi % Math.max(apis.length, 1)];
        if (api === undefined) throw new Error('no API was started');
        try {
          const response = await request(method, `${api.url}${path}`, body, key);
          const text = await response.text();
          if (response.status === 503 && Date.now() < deadline) throw new Error(`503 ${text}`);
          if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as T;
          throw new AnswerError(`${method} ${path} answered ${response.status}: ${text}`);
        } catch (error) {
          if (error instanceof AnswerError || Date.now() > deadline) throw error;
          await pause();
        }
      }
    },
    async until(read, isEnough, what, timeoutMs = 60_000) {
      const deadline = Date.now() + timeoutMs;
      for (;;) {
        let seen: string;
        try {
          const value = await read();
          if (isEnough(value)) return value;
          seen = JSON.stringify(value);
        } catch (error) {
          if (error instanceof AnswerError) throw error;
          seen = String(error);
        }
        if (Date.now() > deadline) {
          throw new Error(
            `${what} did not come true in ${timeoutMs} ms; last seen: ${seen}\n${installation.describe()}`,
          );
        }
        await pause();
      }
    },
    describe: () =>
      parts
        .map((part) => {
          const state = part.isRunning() ? `pid ${part.pid()}` : 'not running';
          return `=== ${part.name} (${state})\n${part.lines.slice(-SHOWN_LINES).join('\n')}`;
        })
        .join('\n'),
    async close() {
      // Agents first: what they still run must not outlive the test.
      for (const kind of ['program', 'agent', 'worker', 'api'] as const)
        await Promise.all(parts.filter((part) => part.kind === kind).map((part) => part.stop()));
      await db.destroy();
      await clone?.drop();
      await rm(home, { recursive: true, force: true });
    },
  };
  return installation;
}

/** Requests that went well say nothing about a failure. */
const isNoise = (line: string): boolean =>
  line.includes('"event":"http_request"') && line.includes('"level":"info"');

/** The API answered, and not what was wanted. */
class AnswerError extends Error {}

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE_MS));
