/**
 * One PostgreSQL cluster in one folder: makes it, clears what an unclean end left behind, runs it.
 *
 * A. A data folder is complete or absent: `initdb` works aside and the result is renamed.
 * B. Whoever calls holds the lock of the folder, so a server found alive here has lost its parent and is on its way out.
 */
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { isProcessAlive } from './lock.ts';
import type { PostgresBinaries } from './postgres-binaries.ts';
import { makeServerFolder, nameDataFolder, type ServerUser } from './postgres-user.ts';
import {
  describeEnd,
  type RunningProcess,
  runCommand,
  startProcess,
  waitForEnd,
  waitUntilReady,
} from './processes.ts';

export const POSTGRES_USER = 'steelthread';
export const POSTGRES_DATABASE = 'steelthread';

const MAX_CONNECTIONS = 300;
const INITDB_TIMEOUT_MS = 120_000;
const READY_TIMEOUT_MS = 60_000;
const CONNECT_TIMEOUT_MS = 2_000;
const STOP_TIMEOUT_MS = 30_000;
const ORPHAN_TIMEOUT_MS = 30_000;
const POLL_INTERVAL_MS = 100;

/** UTF-8 with plain code point order where the system has it; `C` is everywhere. */
const LOCALES = ['C.UTF-8', 'C'];

export interface Cluster {
  binaries: PostgresBinaries;
  dataDir: string;
  password: string;
  user: ServerUser | undefined;
  env: Record<string, string>;
  /** Data that need not survive the machine: nothing is forced to disk. */
  ephemeral: boolean;
}

/** Major version of the data in a folder; null when there is none yet. */
export function findDataVersion(dataDir: string): number | null {
  const file = join(dataDir, 'PG_VERSION');
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : null;
}

/** Makes the data folder. @throws with the output of initdb; the reason of `signal`, which ends initdb */
export async function initialiseCluster(cluster: Cluster, signal?: AbortSignal): Promise<void> {
  const { binaries, dataDir, user, env } = cluster;
  // Inside the temporary folder where there is one, so that one guard removes all.
  const passwordFolder = mkdtempSync(
    join(cluster.ephemeral ? dirname(dataDir) : tmpdir(), 'steelthread-initdb-'),
  );
  const passwordFile = join(passwordFolder, 'password');
  const failures: string[] = [];
  try {
    makeServerFolder(passwordFolder, user);
    writeFileSync(passwordFile, `${cluster.password}\n`, { mode: user === undefined ? 0o600 : 0o644 });
    for (const locale of LOCALES) {
      signal?.throwIfAborted();
      const aside = `${dataDir}.new`;
      rmSync(aside, { recursive: true, force: true });
      makeServerFolder(aside, user);
      const place = nameDataFolder(aside, user);
      const args = [
        `--pgdata=${place.argument}`,
        `--username=${POSTGRES_USER}`,
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        `--locale=${locale}`,
        ...(cluster.ephemeral ? ['--no-sync'] : []),
      ];
      const initdb = await startProcess({
        name: 'initdb',
        command: binaries.initdb,
        args,
        env,
        user,
        cwd: '/',
        passFolder: place.passFolder,
        output: { onLine: () => {} },
        temporaryFolder: cluster.ephemeral ? dirname(dataDir) : passwordFolder,
      });
      const end = await waitForEnd(initdb, { timeoutMs: INITDB_TIMEOUT_MS, signal });
      if (end.code === 0) {
        renameSync(aside, dataDir); // A
        return;
      }
      rmSync(aside, { recursive: true, force: true });
      failures.push(`initdb with locale ${locale} ${describeEnd(end)}: ${initdb.tail()}`);
    }
  } finally {
    rmSync(passwordFolder, { recursive: true, force: true });
  }
  signal?.throwIfAborted();
  throw new Error(`The database folder ${dataDir} could not be made.\n${failures.join('\n')}`);
}

/**
 * Starts the server and waits until it takes connections.
 * @throws with the last lines of its log; the reason of `signal`; the server is stopped then
 */
export async function startCluster(
  cluster: Cluster,
  options: { port: number; logFile: string; temporaryFolder?: string; signal?: AbortSignal },
): Promise<{ server: RunningProcess; url: string }> {
  options.signal?.throwIfAborted();
  const { dataDir, user, ephemeral } = cluster;
  const place = nameDataFolder(dataDir, user);
  const settings = {
    listen_addresses: '127.0.0.1',
    port: options.port,
    unix_socket_directories: '',
    max_connections: MAX_CONNECTIONS,
    timezone: 'UTC',
    log_timezone: 'UTC',
    lc_messages: 'C',
    jit: 'off', // Short queries only: compiling them takes longer than running them.
    fsync: ephemeral ? 'off' : 'on',
    full_page_writes: ephemeral ? 'off' : 'on',
  };
  const server = await startProcess({
    name: 'PostgreSQL',
    command: cluster.binaries.postgres,
    args: [
      '-D',
      place.argument,
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    env: cluster.env,
    cwd: '/',
    passFolder: place.passFolder,
    user,
    output: { file: options.logFile },
    stopSignal: 'SIGINT', // "Fast": ends connections, writes a checkpoint, exits.
    stopTimeoutMs: STOP_TIMEOUT_MS,
    temporaryFolder: options.temporaryFolder,
  });
  const urlOf = (database: string) =>
    clusterUrl({ password: cluster.password, port: options.port, database });
  try {
    const isReady = async () => hasTakenItsPort(dataDir) && (await acceptsConnections(urlOf('postgres')));
    await waitUntilReady(server, isReady, {
      timeoutMs: READY_TIMEOUT_MS,
      signal: options.signal,
    });
    await createDatabaseIfAbsent(urlOf('postgres'), POSTGRES_DATABASE);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return { server, url: urlOf(POSTGRES_DATABASE) };
}

export function clusterUrl(of: { password: string; port: number; database: string }): string {
  return `postgres://${POSTGRES_USER}:${encodeURIComponent(of.password)}@127.0.0.1:${of.port}/${of.database}`;
}

/**
 * True once the server says in its pid file (line 8) that it is up: before that, whoever answers at its port is a server
 * that took the port in the same moment, and would refuse our password.
 */
function hasTakenItsPort(dataDir: string): boolean {
  try {
    const lines = readFileSync(join(dataDir, 'postmaster.pid'), 'utf8').split('\n');
    return lines[7]?.trim() === 'ready';
  } catch {
    return false; // Not written yet.
  }
}

/** A server that answers with another error than "not yet" is up but not as it should be. */
async function acceptsConnections(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_TIMEOUT_MS });
  client.on('error', () => {}); // The server may end while we ask; the caller sees that.
  try {
    await client.connect();
    return true;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code.startsWith('28')) {
      throw new Error(
        'PostgreSQL refused the password kept beside its data. Was the file `password` changed?',
        { cause: error },
      );
    }
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}

async function createDatabaseIfAbsent(url: string, name: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (rowCount === 0) await client.query(`create database ${client.escapeIdentifier(name)}`);
  } finally {
    await client.end();
  }
}

/**
 * Clears the pid file of a server that did not end cleanly, first waiting for that server to end (B).
 * @throws when it does not end; by `signal`
 */
export async function clearStaleServer(
  dataDir: string,
  env: Record<string, string>,
  signal?: AbortSignal,
): Promise<void> {
  const file = join(dataDir, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number(readFileSync(file, 'utf8').split('\n')[0]);
  if (Number.isInteger(pid) && pid > 1 && (await isPostgres(pid, env))) {
    process.kill(pid, 'SIGINT');
    const deadline = Date.now() + ORPHAN_TIMEOUT_MS;
    while (isProcessAlive(pid)) {
      if (Date.now() > deadline) {
        throw new Error(
          `A PostgreSQL server (process ${pid}) still uses ${dirname(file)} and does not end. Stop it.`,
        );
      }
      await delay(POLL_INTERVAL_MS, undefined, { signal });
    }
  }
  // After a reboot the number may belong to another program, which would make the server refuse to start.
  rmSync(file, { force: true });
}

async function isPostgres(pid: number, env: Record<string, string>): Promise<boolean> {
  if (!isProcessAlive(pid)) return false;
  if (process.platform === 'linux') {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0]?.includes('postgres') ?? false;
    } catch {
      return false;
    }
  }
  const { stdout } = await runCommand('ps', ['-o', 'comm=', '-p', String(pid)], { env, timeoutMs: 5_000 });
  return stdout.includes('postgres');
}
