import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createHub, type Hub, type HubEvent } from '../../api/events/hub.ts';
import { waitFor } from '../../api/events/wait.ts';
import { createDatabase, type Db, type Trx } from '../../db/database.ts';
import { type EventRow, readEventHorizon, readEvents } from '../../db/events.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { insertEvents } from '../support/rows.ts';

let database: TestDatabase;
let db: Db;
beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 12, applicationName: 'test-hub' });
});
afterAll(async () => {
  await db.destroy();
  await database.drop();
});

const opened: { close(): Promise<unknown> }[] = [];
beforeEach(() => db('events').delete());
afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.close()));
});

const write = async (trx: Db | Trx, n: number): Promise<EventRow> => {
  const [row] = await insertEvents(trx, [{ type: 'agent.updated', agentId: 'a', data: { n } }]);
  if (row === undefined) throw new Error('not written');
  return row;
};
/** A transaction that has written and is still open. */
async function holdOpen(n: number): Promise<{ row: EventRow; commit(): Promise<unknown> }> {
  const trx = await db.transaction();
  opened.push({ close: async () => trx.isCompleted() || trx.rollback() });
  return { row: await write(trx, n), commit: () => trx.commit() };
}

/** The database as the hub uses it, with something around each of its queries. */
function withRaw(around: (run: () => Promise<{ rows: unknown[] }>, sql: string) => Promise<unknown>): Db {
  const connections = new Map<unknown, pg.ClientBase>();
  const client = {
    async acquireConnection() {
      const real: pg.ClientBase = await db.client.acquireConnection();
      const wrapped = {
        query: (statement: { text: string }) => around(() => real.query(statement), statement.text),
      };
      connections.set(wrapped, real);
      return wrapped;
    },
    releaseConnection: (wrapped: unknown) => db.client.releaseConnection(connections.get(wrapped)),
  };
  return { client, isTransaction: false } as unknown as Db;
}

interface Listening {
  hub: Hub;
  got: HubEvent[];
  errors: unknown[];
}
async function listen(options: Partial<Parameters<typeof createHub>[0]> = {}): Promise<Listening> {
  const got: HubEvent[] = [];
  const errors: unknown[] = [];
  const hub = createHub({ db, onError: (error) => errors.push(error), ...options });
  opened.push(hub);
  await hub.ready;
  hub.subscribe((event) => got.push(event));
  return { hub, got, errors };
}
const numbers = ({ got }: Listening) => got.map(({ row }) => row.data.n);

describe('readEvents', () => {
  it('has rows and horizon of one snapshot, also without rows', async () => {
    const held = await holdOpen(1);
    const empty = await readEvents(db, { xid: await readEventHorizon(db) });
    expect(empty.rows).toEqual([]);
    expect(BigInt(empty.xmin)).toBeLessThanOrEqual(BigInt(held.row.xid));
    await held.commit();
    expect((await readEvents(db, { xid: empty.xmin })).rows).toEqual([held.row]);
  });

  it('shows why only the first page’s horizon may be remembered', async () => {
    const from = await readEventHorizon(db);
    const held = await holdOpen(0);
    for (let n = 1; n <= 3; n++) await write(db, n);
    const first = await readEvents(db, { xid: from }, 2);
    const last = first.rows[1];
    await held.commit();
    const second = await readEvents(db, { xid: from, after: last && { xid: last.xid, id: last.id } }, 2);
    expect([...first.rows, ...second.rows].map(({ data }) => data.n)).toEqual([1, 2, 3]);
    expect(BigInt(first.xmin)).toBeLessThanOrEqual(BigInt(held.row.xid));
    expect(BigInt(second.xmin)).toBeGreaterThanOrEqual(BigInt(first.xmin));
  });
});

describe('the hub', () => {
  it('publishes what other processes commit, with a poke or by its poll alone', async () => {
    const poked = await listen({ pollIntervalMs: 60_000 });
    const polling = await listen({ pollIntervalMs: 20 });
    await write(db, 1);
    poked.hub.poke();
    await expect.poll(() => [numbers(poked), numbers(polling)]).toEqual([[1], [1]]);
    const { got } = poked;
    expect(got[0]?.cursor).toMatch(/^\d+\.\d+$/);
    expect(got[0]?.cursor.split('.')[1]).toBe(String(got[0]?.row.id));
  });

  it('does not lose a transaction that commits between two pages of a read', async () => {
    let commit: (() => Promise<unknown>) | undefined;
    /** The database, with something happening after the first page. */
    const interrupted = withRaw(async (run) => {
      const result = await run();
      if (result.rows.length === 2) await commit?.();
      commit = undefined;
      return result;
    });
    const listening = await listen({ db: interrupted, readLimit: 2, pollIntervalMs: 60_000 });
    const held = await holdOpen(0);
    for (let n = 1; n <= 3; n++) await write(db, n);
    commit = held.commit;
    listening.hub.poke();
    await expect.poll(() => numbers(listening)).toEqual([1, 2, 3]);
    listening.hub.poke();
    await expect.poll(() => numbers(listening)).toEqual([1, 2, 3, 0]);
  });

  it('publishes once what is offered before, during and long after the read that finds it', async () => {
    const listening = await listen({ pollIntervalMs: 60_000 });
    const { hub } = listening;
    const before = await write(db, 1);
    hub.offer([before]);
    hub.poke();
    const during = await write(db, 2);
    hub.offer([during]);
    const late = await write(db, 3);
    hub.poke();
    await expect.poll(() => numbers(listening).toSorted()).toEqual([1, 2, 3]);
    // The position moves beyond all three, so their ids are forgotten.
    await write(db, 4);
    // Other databases of the cluster may hold the position back for a while.
    const isBeyond = () => {
      hub.poke();
      return BigInt(hub.position()) > BigInt(late.xid);
    };
    await expect.poll(isBeyond, { timeout: 20_000 }).toBe(true);
    hub.offer([late, during, before]);
    hub.poke();
    await write(db, 5);
    hub.poke();
    await expect.poll(() => numbers(listening).length).toBeGreaterThanOrEqual(5);
    expect(numbers(listening).toSorted()).toEqual([1, 2, 3, 4, 5]);
  });

  it('names a cursor from which an open transaction is found later', async () => {
    const listening = await listen({ pollIntervalMs: 20 });
    const held = await holdOpen(1);
    await write(db, 2);
    await expect.poll(() => numbers(listening)).toEqual([2]);
    const [xmin = ''] = listening.got[0]?.cursor.split('.') ?? [];
    await held.commit();
    const { rows } = await readEvents(db, { xid: xmin });
    expect(rows.map(({ data }) => data.n)).toEqual([1, 2]);
  });

  it('is not stopped by a subscriber that throws, nor by a database that is away for a moment', async () => {
    let isAway = true;
    const flaky = withRaw((run, sql) =>
      isAway && sql.includes('lateral') ? Promise.reject(new Error('away')) : run(),
    );
    const listening = await listen({ db: flaky, pollIntervalMs: 20 });
    listening.hub.subscribe(() => {
      throw new Error('mine');
    });
    const after: unknown[] = [];
    listening.hub.subscribe(({ row }) => after.push(row.data.n));
    await write(db, 1);
    await expect.poll(() => listening.errors.length).toBeGreaterThan(0);
    isAway = false;
    await expect.poll(() => after).toEqual([1]);
    expect(numbers(listening)).toEqual([1]);
    expect(listening.errors.map(String)).toContain('Error: mine');
  });

  it('tells output subscribers, and nobody once closed', async () => {
    const { hub, got } = await listen();
    const told: unknown[] = [];
    hub.subscribeOutput((ids) => told.push(ids));
    hub.offerOutput(['c1']);
    hub.offerOutput('*');
    expect(told).toEqual([new Set(['c1']), '*']);
    await hub.close();
    hub.offerOutput('*');
    hub.offer([await write(db, 1)]);
    hub.poke();
    expect([told.length, got.length]).toEqual([2, 0]);
  });
});

describe('waitFor', () => {
  const silent = { subscribe: () => () => undefined };

  it('reads again when an event concerns it', async () => {
    const { hub } = await listen({ pollIntervalMs: 60_000 });
    let value: number | undefined;
    const waiting = waitFor(hub, {
      concerns: ({ row }) => row.data.n === 7,
      read: async () => value,
      timeoutMs: 20_000,
    });
    value = 42;
    hub.offer([await write(db, 6)]);
    hub.offer([await write(db, 7)]);
    expect(await waiting).toBe(42);
  });

  it('does not miss what commits while it reads', async () => {
    const { hub } = await listen({ pollIntervalMs: 60_000 });
    const row = await write(db, 1);
    let reads = 0;
    const read = async () => {
      reads++;
      if (reads === 1) hub.offer([row]);
      return reads === 2 ? 'second' : undefined;
    };
    expect(await waitFor(hub, { concerns: () => true, read, timeoutMs: 20_000 })).toBe('second');
  });

  it('reads a last time at its deadline, also when the timer is early by the clock', async () => {
    vi.spyOn(Date, 'now').mockReturnValue(0);
    let isOver = false;
    const ended = delay(30).then(() => {
      isOver = true;
    });
    const read = async () => (isOver ? 'in the last moment' : undefined);
    const waiting = waitFor(silent, { concerns: () => true, read, timeoutMs: 60 });
    await ended;
    expect(await waiting).toBe('in the last moment');
    expect(await waitFor(silent, { concerns: () => true, read: async () => undefined, timeoutMs: 5 })).toBe(
      undefined,
    );
    vi.restoreAllMocks();
  });

  it('ends at once for a caller who has gone, and after one read without time', async () => {
    const read = vi.fn(async () => undefined);
    const gone = AbortSignal.abort();
    await waitFor(silent, { concerns: () => true, read, timeoutMs: 20_000, signal: gone });
    await waitFor(silent, { concerns: () => true, read, timeoutMs: 0 });
    const going = new AbortController();
    const waiting = waitFor(silent, { concerns: () => true, read, timeoutMs: 20_000, signal: going.signal });
    going.abort();
    expect(await waiting).toBeUndefined();
    expect(read.mock.calls.length).toBeLessThanOrEqual(4);
  });
});
