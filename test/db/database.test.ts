/** The pool when the server is there and says nothing: no statement waits for ever, no connection is kept that is dead. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { asProblem } from '../../api/errors/describe-error.ts';
import { createDatabase, type Db, inTransaction, query } from '../../db/database.ts';
import { migrateUp } from '../../db/migrate.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startSilentServer } from '../support/silent-server.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

let database: TestDatabase;
let proxy: TcpProxy;
let db: Db;
beforeAll(async () => {
  database = await createTestDatabase();
  const url = new URL(database.url);
  proxy = await startTcpProxy(url.host);
  url.host = proxy.address;
  db = createDatabase({
    url: url.href,
    poolMax: 1,
    applicationName: 'test-silent',
    statementTimeoutMs: 1_000,
  });
});
afterAll(async () => {
  await proxy.restore();
  await db.destroy();
  await proxy.close();
  await database.drop();
});

const asks: Record<string, () => Promise<unknown>> = {
  'a statement': () => query(db, 'select 1 as n'),
  'a transaction': () => inTransaction(db, (trx) => query(trx, 'select 1 as n')),
};

it.each(Object.entries(asks))(
  'gives up %s that is not answered, and works again with the server',
  async (_, ask) => {
    expect(await ask()).toEqual([{ n: 1 }]);
    await proxy.blackhole();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const lost = ask().then(() => 'it was answered', String);
      await vi.waitFor(() => expect(db.client.pool.numUsed()).toBe(1), 10_000);
      await nextTurn(); // It has the connection, and has asked.
      vi.advanceTimersByTime(60_000);
      expect(await lost).toMatch(/Query read timeout|Connection terminated/);
    } finally {
      vi.useRealTimers();
    }
    await proxy.restore();
    await vi.waitFor(async () => expect(await ask()).toEqual([{ n: 1 }]), 10_000);
  },
);

describe('a server that lets nobody in', () => {
  const asksOf: Record<string, (url: string) => Promise<unknown>> = {
    'a statement': async (url) => {
      const silent = createDatabase({ url, poolMax: 1, applicationName: 'test-silent-connect' });
      await query(silent, 'select 1').finally(() => silent.destroy());
    },
    'a migration': migrateUp,
  };

  it.each(Object.entries(asksOf))('is given up by %s, and no connection is left behind', async (_, ask) => {
    const server = await startSilentServer();
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const lost = ask(`postgres://nobody@${server.address}/none`).then(() => 'it was answered', String);
      await vi.waitFor(() => expect(server.sockets).toHaveLength(1), 10_000);
      vi.advanceTimersByTime(60_000);
      expect(await lost).toMatch(/timeout/i);
      await vi.waitFor(() => expect(server.sockets[0]?.closed).toBe(true), 5_000);
    } finally {
      vi.useRealTimers();
      await server.close();
    }
  });
});

it('is told from other faults when it cannot be had', async () => {
  const failureOf = async (ask: () => Promise<unknown>): Promise<unknown> =>
    asProblem(await ask().catch((error: unknown) => error));
  expect(await failureOf(() => query(db, 'select nothing'))).toMatchObject({ code: 'internal_error' });
  await proxy.refuse();
  const unavailable = { code: 'database_unavailable', status: 503, retryable: true };
  for (const ask of Object.values(asks)) {
    // Not at once: of a connection that was there nobody knows what came of what it was asked.
    await vi.waitFor(async () => expect(await failureOf(ask)).toMatchObject(unavailable), 10_000);
  }
  await proxy.restore();
  await vi.waitFor(async () => expect(await query(db, 'select 1 as n')).toEqual([{ n: 1 }]), 10_000);
});
