/**
 * A Temporal server for development, the demo and the tests: the one named by TEMPORAL_ADDRESS, else a dev server of
 * our own with the settings below.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Connection } from '@temporalio/client';
import { inheritedEnvironment } from '../config.ts';
import { MACHINE_VARIABLES, type StackLog } from './log-port.ts';
import { findFreePort } from './ports.ts';
import { lockFolder } from './postgres.ts';
import { type ProcessEnd, type RunningProcess, startProcess, waitUntilReady } from './processes.ts';
import { findTemporalCli, type TemporalCli } from './temporal-cli.ts';

export const DEFAULT_TEMPORAL_PORT = 7233;
export const DEFAULT_TEMPORAL_UI_PORT = 8233;

const READY_TIMEOUT_MS = 60_000;
const ASK_TIMEOUT_MS = 2_000;
const STOP_TIMEOUT_MS = 10_000;
const MAX_PORT_ATTEMPTS = 3;

/** Workflows that schedules may start in a second, in a namespace; the server's default is 30. */
const SCHEDULE_STARTS_PER_SECOND = 200;
/**
 * Schedules are workflows of the server's own worker. Those that are due in the same second wait in its sticky queue; with
 * the default of five seconds, what is left then goes to the normal queue at once, while every poll of the worker goes on
 * to wait at the sticky one, for a minute. After a kill of the server they do not wait for it: see docs/how-to/deploy.md.
 */
const SCHEDULE_STICKY_TIMEOUT_SECONDS = 300;

/**
 * The dev server is tuned for demonstrations: its one history shard polls 20 times a second, so every hop costs 50 ms,
 * and it limits long polls to 1200 a namespace. With these it takes 31 ms for a workflow of two activities instead of
 * 250 ms (much higher poll rates cost throughput again).
 */
const DYNAMIC_CONFIG: Record<string, number | boolean | string> = {
  'history.transferProcessorMaxPollRPS': 200,
  'history.timerProcessorMaxPollRPS': 200,
  'matching.numTaskqueueReadPartitions': 1,
  'matching.numTaskqueueWritePartitions': 1,
  'frontend.namespaceCount': 20_000,
  'frontend.rps': 100_000,
  'frontend.namespaceRPS': 100_000,
  'matching.rps': 100_000,
  'history.rps': 100_000,
  'matching.persistenceMaxQPS': 100_000,
  'worker.schedulerNamespaceStartWorkflowRPS': SCHEDULE_STARTS_PER_SECOND,
  'worker.perNamespaceWorkerOptions': JSON.stringify({
    StickyScheduleToStartTimeout: `${SCHEDULE_STICKY_TIMEOUT_SECONDS}s`,
  }),
  'system.forceSearchAttributesCacheRefreshOnRead': false,
};

const SQLITE_PRAGMAS = ['journal_mode=WAL', 'synchronous=NORMAL'];

export interface TemporalOptions {
  log: StackLog;
  /** Use this server and start none. */
  address?: string | null;
  /** Default `default`. */
  namespace?: string;
  /** Value of TEMPORAL_CLI_PATH. */
  cliPath?: string | null;
  /** Where the program is kept once it was downloaded or built. */
  cacheDir: string;
  /** Where it is downloaded from; default Temporal's own host. */
  downloadBase?: string;
  /** Workflows are kept in `<homeDir>/temporal`. Not needed when `ephemeral`. */
  homeDir?: string;
  /** Keep nothing: a temporary folder, removed at the end. */
  ephemeral?: boolean;
  /** Serve the web UI; default true unless `ephemeral`. */
  ui?: boolean;
  /** Port to prefer; default 7233, for ephemeral servers any free one. */
  port?: number;
  uiPort?: number;
  env?: Record<string, string>;
  /** Gives up the start: what runs (also a build) is stopped, nothing more is started. */
  signal?: AbortSignal;
}

export interface Temporal {
  address: string;
  namespace: string;
  /** Address of the web UI; null without one. */
  uiUrl: string | null;
  /** Where the server comes from, for people. */
  source: string;
  /** Resolves when the server has ended, and never for a server that is not ours. */
  done: Promise<ProcessEnd>;
  /** Ends the server; idempotent. Leaves a server alone that is not ours. */
  stop(): Promise<void>;
}

/**
 * @throws with everything tried and how to fix it; when another process uses the same data, with its number; the reason
 *   of `signal`
 */
export async function startTemporal(options: TemporalOptions): Promise<Temporal> {
  const { log, address, namespace = 'default' } = options;
  if (address != null) {
    log.info({ event: 'temporal_given', address }, `Temporal: using TEMPORAL_ADDRESS ${address}`);
    return {
      address,
      namespace,
      uiUrl: null,
      source: 'TEMPORAL_ADDRESS',
      done: new Promise(() => {}),
      stop: async () => {},
    };
  }
  const env = options.env ?? inheritedEnvironment(MACHINE_VARIABLES);
  const place = takePlace(options);
  try {
    const { cliPath, cacheDir, downloadBase, signal } = options;
    const cli = await findTemporalCli({ log, cliPath, cacheDir, env, downloadBase, signal });
    log.info(
      { event: 'temporal_found', version: cli.version },
      `Temporal: ${cli.path} (${cli.source}), ${cli.version}`,
    );
    return await startOnFreePorts({ ...options, namespace, env }, cli, place);
  } catch (error) {
    place.cleanUp();
    throw error;
  }
}

interface Place {
  databaseFile: string;
  logFile: string;
  temporaryFolder?: string;
  cleanUp: () => void;
}

function takePlace(options: TemporalOptions): Place {
  if (options.ephemeral) {
    const folder = mkdtempSync(join(tmpdir(), 'steelthread-temporal-'));
    const cleanUp = () => rmSync(folder, { recursive: true, force: true });
    const databaseFile = join(folder, 'temporal.db');
    return { databaseFile, logFile: join(folder, 'temporal.log'), temporaryFolder: folder, cleanUp };
  }
  if (options.homeDir === undefined) throw new TypeError('startTemporal needs homeDir, ephemeral or address');
  const folder = join(options.homeDir, 'temporal');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = lockFolder(folder, options.homeDir);
  const logFile = join(dirname(folder), 'logs', 'temporal.log');
  return { databaseFile: join(folder, 'temporal.db'), logFile, cleanUp: () => lock.release() };
}

type StartOptions = TemporalOptions & { namespace: string; env: Record<string, string> };

async function startOnFreePorts(options: StartOptions, cli: TemporalCli, place: Place): Promise<Temporal> {
  const { log, namespace, ephemeral = false, ui = !ephemeral } = options;
  for (let attempt = 1; ; attempt += 1) {
    const preferred = attempt === 1 && !ephemeral;
    const port = await findFreePort(options.port ?? (preferred ? DEFAULT_TEMPORAL_PORT : undefined));
    const uiPort = ui
      ? await findFreePort(options.uiPort ?? (preferred ? DEFAULT_TEMPORAL_UI_PORT : undefined))
      : null;
    const address = `127.0.0.1:${port}`;
    options.signal?.throwIfAborted();
    const startedAt = Date.now();
    const server = await startProcess({
      name: 'Temporal',
      command: cli.path,
      args: listArguments({ port, uiPort, namespace, databaseFile: place.databaseFile }),
      env: options.env,
      cwd: dirname(place.databaseFile),
      output: { file: place.logFile },
      stopTimeoutMs: STOP_TIMEOUT_MS,
      temporaryFolder: place.temporaryFolder,
    });
    try {
      await waitUntilReady(server, () => isServing(address, namespace), {
        timeoutMs: READY_TIMEOUT_MS,
        intervalMs: 100,
        signal: options.signal,
      });
    } catch (error) {
      await server.stop();
      const isTaken =
        error instanceof Error && /address already in use|port.*(in use|not free)/i.test(error.message);
      if (!isTaken || attempt === MAX_PORT_ATTEMPTS) throw error;
      log.warn({ event: 'temporal_port_taken', port }, `Temporal: port ${port} was taken meanwhile`);
      continue;
    }
    const ms = Date.now() - startedAt;
    log.info({ event: 'temporal_started', address, pid: server.pid, durationMs: ms }, 'Temporal is ready');
    const uiUrl = uiPort === null ? null : `http://127.0.0.1:${uiPort}`;
    return createTemporal(server, place, { address, namespace, uiUrl, source: cli.source });
  }
}

function createTemporal(
  server: RunningProcess,
  place: Place,
  facts: Pick<Temporal, 'address' | 'namespace' | 'uiUrl' | 'source'>,
): Temporal {
  const done = server.done.then((end) => {
    place.cleanUp();
    return end;
  });
  return {
    ...facts,
    done,
    async stop() {
      await server.stop();
      await done;
    },
  };
}

function listArguments(given: {
  port: number;
  uiPort: number | null;
  namespace: string;
  databaseFile: string;
}): string[] {
  return [
    ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(given.port)],
    ...(given.uiPort === null ? ['--headless'] : ['--ui-port', String(given.uiPort)]),
    ...['--namespace', given.namespace, '--db-filename', given.databaseFile, '--log-level', 'warn'],
    ...SQLITE_PRAGMAS.flatMap((pragma) => ['--sqlite-pragma', pragma]),
    ...Object.entries(DYNAMIC_CONFIG).flatMap(([name, value]) => [
      '--dynamic-config-value',
      `${name}=${value}`,
    ]),
  ];
}

/** True when the frontend answers and knows the namespace. */
async function isServing(address: string, namespace: string): Promise<boolean> {
  // No retries inside the SDK: their timers would keep a process alive whose start was given up.
  const connection = Connection.lazy({ address, connectTimeout: ASK_TIMEOUT_MS, interceptors: [] });
  try {
    await connection.withDeadline(Date.now() + ASK_TIMEOUT_MS, () =>
      connection.workflowService.describeNamespace({ namespace }),
    );
    return true;
  } catch {
    return false;
  } finally {
    await connection.close();
  }
}
