import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../config.ts';
import { createLogger } from '../../log.ts';
import type { StackLog } from '../../stack/log-port.ts';
import { startTemporal } from '../../stack/temporal.ts';
import { createTestDatabase, withDatabase } from '../support/database.ts';
import { uniqueTaskQueue, withTemporal } from '../support/temporal.ts';

const silent: StackLog = { info() {}, warn() {} };
const homeDir = mkdtempSync(join(tmpdir(), 'steelthread-support-'));
afterAll(() => rmSync(homeDir, { recursive: true, force: true }));

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

describe('test support', () => {
  it('clones migrated databases at the same time, each for itself', async () => {
    const databases = await Promise.all(Array.from({ length: 4 }, () => createTestDatabase()));
    try {
      expect(new Set(databases.map(({ url }) => url)).size).toBe(4);
      await Promise.all(databases.map(({ url }) => query(url, 'create table only_mine (n int)')));
      const sql = `select count(*)::int as tables from information_schema.tables where table_name = 'tasks'`;
      for (const { url } of databases) expect(await query(url, sql)).toEqual([{ tables: 1 }]);
    } finally {
      await Promise.all(databases.map((database) => database.drop()));
    }
  });

  it('removes the database although a connection was forgotten', async () => {
    const client = await withDatabase(async ({ url }) => {
      const forgotten = new pg.Client({ connectionString: url });
      forgotten.on('error', () => {});
      await forgotten.connect();
      return forgotten;
    });
    await client.end().catch(() => {});
  });

  it('reaches the Temporal server of the run', async () => {
    await withTemporal(async (client) => {
      const { namespaceInfo } = await client.workflowService.describeNamespace({ namespace: 'default' });
      expect(namespaceInfo?.name).toBe('default');
    });
    expect(uniqueTaskQueue()).toMatch(/^stack-support-[0-9a-f]{12}$/);
  });
});

describe('Temporal of the stack', () => {
  it('uses TEMPORAL_ADDRESS and starts nothing', async () => {
    const temporal = await startTemporal({ log: silent, address: 'temporal:7233', cacheDir: homeDir });
    expect(temporal).toMatchObject({ address: 'temporal:7233', source: 'TEMPORAL_ADDRESS', uiUrl: null });
    await temporal.stop();
  });

  it('serves the UI and keeps its workflows over a stop', async () => {
    const config = loadConfig('cli');
    const options = {
      log: silent,
      homeDir,
      cacheDir: config.steelthreadCache,
      cliPath: config.temporalCliPath,
    };
    const { Client, Connection } = await import('@temporalio/client');
    for (const round of ['first', 'second']) {
      const temporal = await startTemporal(options);
      try {
        await expect(startTemporal(options)).rejects.toThrow('Another Steelthread');
        expect((await fetch(`${temporal.uiUrl}/`)).status).toBe(200);
        const connection = await Connection.connect({ address: temporal.address });
        const client = new Client({ connection });
        if (round === 'first') {
          await client.workflow.start('none', { taskQueue: 'none', workflowId: 'kept' });
        }
        expect((await client.workflow.getHandle('kept').describe()).status.name).toBe('RUNNING');
        await connection.close();
      } finally {
        await temporal.stop();
      }
    }
  });
});

describe('log', () => {
  it('writes one event a line and no secrets', () => {
    const lines: string[] = [];
    const log = createLogger({ name: 'api', stream: { write: (line) => lines.push(line) } });
    log.info({
      event: 'request',
      durationMs: 12,
      headers: { authorization: 'Bearer abc.def', 'x-api-key': 'abc' },
      body: { password: 'pw', nested: [{ refresh_token: 'rt' }], tokens: 7 },
      url: '/ws?token=abc&x=1',
      database: 'postgres://u:hunter2@db/x',
    });
    log
      .child({ token: 'abc', taskId: 't1' })
      .warn({ event: 'failed', err: new Error('at postgres://u:hunter2@db/x') });
    const [first, second] = lines.map((line) => JSON.parse(line));
    expect(first).toMatchObject({
      level: 'info',
      name: 'api',
      event: 'request',
      durationMs: 12,
      body: { nested: [{}], tokens: 7 },
    });
    expect(second).toMatchObject({ level: 'warn', taskId: 't1', err: { type: 'Error' } });
    expect(lines.join('')).not.toMatch(/abc|hunter2|"pw"|"rt"/);
    expect(first.url).toBe('/ws?token=[redacted]&x=1');
  });

  it('writes short lines for people', () => {
    const lines: string[] = [];
    const log = createLogger({
      name: 'api',
      format: 'pretty',
      stream: { write: (line) => lines.push(line) },
    });
    log.info({ event: 'task_created', taskId: 't1', title: 'two words' }, 'hello');
    log.error({ event: 'broken', err: new Error('why') });
    expect(lines[0]).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} info {2}api task_created taskId=t1 title="two words" — hello\n$/,
    );
    expect(lines[1]).toMatch(/ERROR api broken\n {4}Error: why\n {8}at /);
  });
});
