/** The log of posted events: numbers in the order of commits, a state for every entry, and retention. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createDatabase, type Db, inTransaction, type Trx } from '../../db/database.ts';
import {
  type AppendedEvent,
  appendPostedEvent,
  deleteOldPostedEvents,
  listPostedEvents,
  readNewestPostedNumber,
  readPostedEventLog,
} from '../../db/posted-events.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let db: Db;
beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 20, applicationName: 'test-posted-events' });
});
afterAll(async () => {
  await db.destroy();
  await database.drop();
});

const event = (name: string, posterId = 'ada') => ({
  posterKind: 'user',
  posterId,
  posterName: posterId,
  name,
  target: 'x',
  details: {},
});
const append = (on: Db | Trx, name: string, posterId?: string): Promise<AppendedEvent> =>
  appendPostedEvent(on, event(name, posterId), 'ab'.repeat(32));
const all = { after: 0, limit: 1_000, posterId: undefined };
const names = async (range: Parameters<typeof listPostedEvents>[1] = all) =>
  (await listPostedEvents(db, range)).map(({ name }) => name);

describe('the log of posted events', () => {
  it('begins empty, with a state', async () => {
    const empty = await readPostedEventLog(db, undefined);
    expect(empty.sha256).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    expect(await readPostedEventLog(db, 'nobody')).toEqual(empty);
    expect(await readNewestPostedNumber(db)).toBe(0);
  });

  it('numbers entries in the order of commits: who comes later waits, and takes the number of who gave up', async () => {
    const done: string[] = [];
    let second: Promise<unknown> = Promise.resolve();
    await inTransaction(db, async (trx) => {
      expect((await append(trx, 'first')).number).toBe(1);
      second = append(db, 'second', 'bob').then(() => done.push('second'));
      // The other one is waiting for us, and a reader sees neither.
      await vi.waitFor(async () => {
        const { rows } = await db.raw(
          `select 1 from pg_stat_activity where application_name = 'test-posted-events' and wait_event_type = 'Lock'`,
        );
        expect(rows).toHaveLength(1);
      }, 5_000);
      expect(done).toEqual([]);
      expect(await names()).toEqual([]);
    });
    await second;
    expect(await names()).toEqual(['first', 'second']);
    await expect(
      inTransaction(db, async (trx) => {
        expect((await append(trx, 'never')).number).toBe(3);
        throw new Error('given up');
      }),
    ).rejects.toThrow('given up');
    expect((await append(db, 'third')).number).toBe(3);
  });

  it('loses nobody who follows it by number while fifty write at once, and makes no circle of waiters', async () => {
    const from = await readNewestPostedNumber(db);
    const written = Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        inTransaction(db, async (trx) => append(trx, `n-${n}`, n % 3 === 0 ? 'ada' : `poster-${n % 7}`)),
      ),
    );
    const seen: number[] = [];
    let isOver = false;
    const over = written.then(() => {
      isOver = true;
    });
    for (;;) {
      const isLast = isOver;
      const page = await listPostedEvents(db, { after: seen.at(-1) ?? from, limit: 7, posterId: undefined });
      seen.push(...page.map(({ number }) => number));
      if (isLast && page.length === 0) break;
    }
    await over;
    expect(seen).toEqual(Array.from({ length: 50 }, (_, n) => from + 1 + n));
    expect(new Set((await written).map(({ wholeSha256 }) => wholeSha256)).size).toBe(50);
  });

  it('has a state of its own for each poster, which others do not change', async () => {
    const one = await append(db, 'mine', 'carol');
    await append(db, 'his', 'dave');
    expect(await readPostedEventLog(db, 'carol')).toEqual({ sha256: one.ownSha256 });
    const two = await append(db, 'mine', 'carol');
    expect(two.ownSha256).not.toBe(one.ownSha256);
    expect(await readPostedEventLog(db, undefined)).toEqual({ sha256: two.wholeSha256 });
    expect(await names({ ...all, posterId: 'carol' })).toEqual(['mine', 'mine']);
  });

  it('keeps numbers and state when old entries are deleted', async () => {
    const [state, newest] = [await readPostedEventLog(db, undefined), await readNewestPostedNumber(db)];
    await db('posted_events')
      .where('number', '<=', 10)
      .update({ at: new Date(0) });
    expect(await deleteOldPostedEvents(db, new Date(1), 4)).toBe(4);
    expect(await deleteOldPostedEvents(db, new Date(1), 100)).toBe(6);
    expect((await listPostedEvents(db, all))[0]?.number).toBe(11);
    expect([await readPostedEventLog(db, undefined), await readNewestPostedNumber(db)]).toEqual([
      state,
      newest,
    ]);
    expect((await append(db, 'after')).number).toBe(newest + 1);
  });
});
