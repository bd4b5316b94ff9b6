/** Readers that resume while eight writers commit out of order miss nothing; a reader by id would. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type EventSink, feedEvents } from '../../api/events/feed.ts';
import { createHub, type Hub } from '../../api/events/hub.ts';
import type { Principal } from '../../contracts/principal.ts';
import { createDatabase, type Db } from '../../db/database.ts';
import type { EventRow } from '../../db/events.ts';
import { openPosition } from '../../domain/events/read.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { insertEvents } from '../support/rows.ts';

const WRITERS = 8;
const TRANSACTIONS_PER_WRITER = 40;
const EVERYTHING = { taskId: undefined, types: undefined };
const principal: Principal = { kind: 'user', id: 'a', name: 'a', roles: ['admin'], sessionId: null };

let database: TestDatabase;
let db: Db;
const hubs: Hub[] = [];
beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 20, applicationName: 'test-hub-resume' });
});
afterAll(async () => {
  await Promise.all(hubs.map((hub) => hub.close()));
  await db.destroy();
  await database.drop();
});

/** A hub as of one process. `pollIntervalMs` stands for how soon it hears of others. */
async function startHub(pollIntervalMs: number, readLimit: number): Promise<Hub> {
  const hub = createHub({ db, pollIntervalMs, readLimit, onError: (error) => expect.fail(String(error)) });
  hubs.push(hub);
  await hub.ready;
  return hub;
}

/** All writers write and stay open; then one of them, by lot, commits and goes on. */
function createGate(): { pass(): Promise<void>; leave(): void } {
  const held: (() => void)[] = [];
  let writing = WRITERS;
  const open = (): void => {
    if (held.length === 0 || held.length < writing) return;
    const [release] = held.splice(Math.floor(Math.random() * held.length), 1);
    release?.();
  };
  return {
    pass: () =>
      new Promise((resolve) => {
        held.push(resolve);
        open();
      }),
    leave() {
      writing--;
      open();
    },
  };
}

/** Reads some events, closes, resumes at its last cursor, until it was told to stop and has them all. */
async function resumeAgainAndAgain(hub: Hub, stop: { ids: Set<number> | undefined }) {
  const seen = new Set<number>();
  let cursor: string | undefined;
  let connections = 0;
  let repeats = 0;
  while (stop.ids === undefined || [...stop.ids].some((id) => !seen.has(id))) {
    connections++;
    const closing = new AbortController();
    let left = 1 + Math.floor(Math.random() * 12);
    const sink: EventSink = {
      ready(start) {
        cursor ??= start;
      },
      send(event) {
        if (closing.signal.aborted) return;
        cursor = event.id;
        const id = Number(event.id.split('.')[1]);
        if (seen.has(id)) repeats++;
        seen.add(id);
        if (--left <= 0) closing.abort();
      },
      drained: () => new Promise((resolve) => setImmediate(resolve)),
      close: () => expect.fail('too far behind'),
      closed: closing.signal,
    };
    const resumeAt = cursor === undefined ? null : await openPosition({ db }, cursor);
    const feeding = feedEvents({ db, hub }, { viewer: { principal }, filter: EVERYTHING, resumeAt }, sink);
    // When all is written nothing more may come: look again from time to time.
    const nudge = setInterval(() => stop.ids !== undefined && closing.abort(), 100);
    await feeding.finally(() => clearInterval(nudge));
  }
  return { seen, connections, repeats };
}

it('eight writers commit out of order', async () => {
  const near = await startHub(5, 2_000);
  const far = await startHub(15, 7);
  const committed: EventRow[] = [];
  const naive = { last: 0, seen: new Set<number>() };
  const stop: { ids: Set<number> | undefined } = { ids: undefined };
  const subscribed: Record<'near' | 'far', number[]> = { near: [], far: [] };
  near.subscribe(({ row }) => subscribed.near.push(row.id));
  far.subscribe(({ row }) => subscribed.far.push(row.id));
  const readers = [near, near, far, far].map((hub) => resumeAgainAndAgain(hub, stop));
  const gate = createGate();

  async function readNaively(): Promise<void> {
    const rows: { id: number }[] = await db('events').select('id').where('id', '>', naive.last).orderBy('id');
    for (const { id } of rows) naive.seen.add(id);
    naive.last = rows.at(-1)?.id ?? naive.last;
  }

  async function writeOften(writer: number): Promise<void> {
    for (let n = 0; n < TRANSACTIONS_PER_WRITER; n++) {
      const rows = await db.transaction(async (trx) => {
        const entries = [{ type: 'agent.updated', agentId: `w${writer}`, data: { n } } as const];
        const written = await insertEvents(trx, n % 3 === 0 ? [...entries, ...entries] : entries);
        if (n < TRANSACTIONS_PER_WRITER - 1) await gate.pass();
        else gate.leave();
        return written;
      });
      committed.push(...rows);
      await readNaively();
      // Half of the writers are of the near process, which offers what it has committed.
      if (writer % 2 === 0) near.offer(rows);
    }
  }

  await Promise.all(Array.from({ length: WRITERS }, (_, writer) => writeOften(writer)));
  const ids = committed.map(({ id }) => id);
  stop.ids = new Set(ids);
  const results = await Promise.all(readers);

  // The scenario is what it claims to be.
  const inversions = ids.filter((id, index) => index > 0 && id < (ids[index - 1] ?? 0));
  expect(inversions.length).toBeGreaterThan(WRITERS);
  expect(ids.filter((id) => !naive.seen.has(id)).length).toBeGreaterThan(0);

  for (const { seen, connections } of results) {
    expect(ids.filter((id) => !seen.has(id))).toEqual([]);
    expect(connections).toBeGreaterThan(10);
  }
  // Whoever stays gets each event once.
  await expect.poll(() => subscribed.far.length).toBe(ids.length);
  for (const got of Object.values(subscribed)) {
    expect(got.toSorted((a, b) => a - b)).toEqual(ids.toSorted((a, b) => a - b));
  }
});
