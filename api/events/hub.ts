/**
 * The hub: committed events to in-process subscribers (SSE, WebSocket clients, waiting answers).
 *
 *  A. Events reach a subscriber as they commit: by the hand of this process, by NOTIFY, at the latest by the poll.
 *  B. No gaps: every read starts at `xmin`, the horizon of an earlier read's first snapshot. All rows of transactions
 *     below it were published. What a read or a late offer repeats is dropped here, by id or by lying below `xmin`.
 *  C. A subscriber is called synchronously; slowness is its own matter (it buffers or drops itself). What it throws is
 *     reported and keeps nothing from the others.
 *  D. A cursor names the `xmin` at publication: whoever was subscribed since then, or replayed up to then, has all
 *     below it, and resumes there with repeats and without gaps.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Db } from '../../db/database.ts';
import { EVENT_READ_LIMIT, type EventRow, readEventHorizon, readEvents } from '../../db/events.ts';
import type { FinishedBatch } from '../../domain/deps.ts';

/** The backstop of a lost NOTIFY, milliseconds. */
const POLL_INTERVAL_MS = 2_000;
/** Events of a read that are published in one turn: what is said to a client leaves between turns, not within them. */
const PUBLISH_EVENTS = 25;

export interface HubEvent {
  row: EventRow;
  /** `<xmin at publication>.<id>`: where a client resumes. */
  cursor: string;
}

export interface Hub {
  /** Resolves when the starting position is known. */
  ready: Promise<void>;
  /** Everything of transactions below this was published; text of an xid8. */
  position(): string;
  subscribe(onEvent: (event: HubEvent) => void): () => void;
  /** Called when output of these commands was stored; `*` stands for any. */
  subscribeOutput(onOutput: (commandIds: ReadonlySet<string> | '*') => void): () => void;
  /** Called with batches that ended here, before their events are published; not with every batch. */
  subscribeBatches(onFinished: (finished: FinishedBatch) => void): () => void;
  /** Events this process has just committed. */
  offer(rows: readonly EventRow[]): void;
  offerOutput(commandIds: readonly string[] | '*'): void;
  offerBatches(finished: readonly FinishedBatch[]): void;
  /** Read now: a NOTIFY came, or LISTEN was renewed. */
  poke(): void;
  close(): Promise<void>;
}

export interface HubDeps {
  db: Db;
  onError(error: unknown): void;
  /** Rows of one page of a read. Default EVENT_READ_LIMIT. */
  readLimit?: number;
  /** Default POLL_INTERVAL_MS. */
  pollIntervalMs?: number;
}

export function createHub(deps: HubDeps): Hub {
  const { db, onError, readLimit = EVENT_READ_LIMIT, pollIntervalMs = POLL_INTERVAL_MS } = deps;
  const subscribers = new Set<(event: HubEvent) => void>();
  const outputSubscribers = new Set<(commandIds: ReadonlySet<string> | '*') => void>();
  const batchSubscribers = new Set<(finished: FinishedBatch) => void>();
  /** Xids of the published rows that are not below `xmin`, by id: the next read repeats them. */
  let seen = new Map<number, bigint>();
  let xmin = 0n;
  let reading: Promise<void> | undefined;
  let again = false;
  let closed = false;

  /** False where it was published before. */
  const publish = (row: EventRow): boolean => {
    const xid = BigInt(row.xid);
    // An offer may come after a read that found its rows and moved on (B).
    if (xid < xmin || seen.has(row.id)) return false;
    seen.set(row.id, xid);
    tell(subscribers, { row, cursor: `${xmin}.${row.id}` });
    return true;
  };

  function tell<T>(listeners: ReadonlySet<(what: T) => void>, what: T): void {
    for (const listener of [...listeners]) {
      try {
        listener(what);
      } catch (error) {
        onError(error);
      }
    }
  }

  const readOnce = async (): Promise<void> => {
    await ready;
    const from = xmin.toString();
    let horizon: bigint | undefined;
    let after: { xid: string; id: number } | undefined;
    let published = 0;
    while (!closed) {
      const read = await readEvents(db, { xid: from, after }, readLimit);
      // Not that of the last page: see EventRead.
      horizon ??= BigInt(read.xmin);
      for (const row of read.rows) {
        if (publish(row) && ++published % PUBLISH_EVENTS === 0) await nextTurn();
      }
      const last = read.rows.at(-1);
      if (read.rows.length < readLimit || last === undefined) return advance(horizon);
      after = { xid: last.xid, id: last.id };
    }
  };

  /** Everything below the new xmin was published: forget its ids. */
  const advance = (next: bigint): void => {
    if (next <= xmin) return;
    xmin = next;
    seen = new Map([...seen].filter(([, xid]) => xid >= next));
  };

  const poke = (): void => {
    if (closed) return;
    again = true;
    reading ??= (async () => {
      while (again && !closed) {
        again = false;
        await readOnce().catch(onError);
      }
      reading = undefined;
    })();
  };

  const ready = readEventHorizon(db).then((horizon) => advance(BigInt(horizon)));
  ready.catch(() => undefined); // Told to whoever awaits it, and by every read.
  const timer = setInterval(poke, pollIntervalMs);

  return {
    ready,
    position: () => xmin.toString(),
    subscribe: (onEvent) => listen(subscribers, onEvent),
    subscribeOutput: (onOutput) => listen(outputSubscribers, onOutput),
    subscribeBatches: (onFinished) => listen(batchSubscribers, onFinished),
    offer: (rows) => rows.forEach((row) => void publish(row)),
    offerBatches: (finished) => finished.forEach((batch) => void tell(batchSubscribers, batch)),
    offerOutput: (commandIds) =>
      tell(outputSubscribers, commandIds === '*' ? commandIds : new Set(commandIds)),
    poke,
    async close() {
      closed = true;
      clearInterval(timer);
      subscribers.clear();
      outputSubscribers.clear();
      batchSubscribers.clear();
      await ready.catch(() => undefined);
      await reading;
    },
  };
}

function listen<T>(listeners: Set<T>, listener: T): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}
