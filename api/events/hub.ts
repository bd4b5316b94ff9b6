/**
 * The hub: committed events to in-process subscribers (SSE, WebSocket clients, waiting answers).
 *
 *  A. Events reach a subscriber as they commit: by the hand of this process, by NOTIFY, at the latest by the poll.
 *  B. No gaps: every read starts at the xmin of the read before. What that repeats is dropped by id here.
 *  C. A subscriber is called synchronously and must not throw; slowness is its own matter (it buffers or drops itself).
 */

import type { Db } from '../../db/database.ts';
import { EVENT_READ_LIMIT, type EventRow, readEventHorizon, readEvents } from '../../db/events.ts';

/** The backstop of a lost NOTIFY, milliseconds. */
const POLL_INTERVAL_MS = 2_000;

export interface HubEvent {
  row: EventRow;
  /** `<xmin at read>.<id>`: where a client resumes. */
  cursor: string;
}

export interface Hub {
  /** Resolves when the starting position is known. */
  ready: Promise<void>;
  subscribe(onEvent: (event: HubEvent) => void): () => void;
  /** Called when output of these commands was stored; `*` stands for any. */
  subscribeOutput(onOutput: (commandIds: ReadonlySet<string> | '*') => void): () => void;
  /** Events this process has just committed. */
  offer(rows: readonly EventRow[]): void;
  offerOutput(commandIds: readonly string[] | '*'): void;
  /** Read now: a NOTIFY came, or LISTEN was renewed. */
  poke(): void;
  close(): Promise<void>;
}

export function createHub(deps: { db: Db; onError(error: unknown): void }): Hub {
  const subscribers = new Set<(event: HubEvent) => void>();
  const outputSubscribers = new Set<(commandIds: ReadonlySet<string> | '*') => void>();
  /** Ids seen with an xid at or above `xmin`: the next read repeats them. */
  let seen = new Map<number, string>();
  let xmin = '0';
  let reading: Promise<void> | undefined;
  let again = false;
  let closed = false;

  const publish = (row: EventRow): void => {
    if (seen.has(row.id)) return;
    seen.set(row.id, row.xid);
    const event = { row, cursor: `${xmin}.${row.id}` };
    for (const subscriber of [...subscribers]) subscriber(event);
  };

  const readOnce = async (): Promise<void> => {
    let after: { xid: string; id: number } | undefined;
    for (;;) {
      const read = await readEvents(deps.db, after === undefined ? { xid: xmin } : { xid: xmin, after });
      for (const row of read.rows) publish(row);
      const last = read.rows.at(-1);
      if (read.rows.length < EVENT_READ_LIMIT || last === undefined) {
        advance(read.xmin);
        return;
      }
      after = { xid: last.xid, id: last.id };
    }
  };

  /** Everything below the new xmin was read: forget its ids. */
  const advance = (next: string): void => {
    if (BigInt(next) <= BigInt(xmin)) return;
    xmin = next;
    seen = new Map([...seen].filter(([, xid]) => BigInt(xid) >= BigInt(next)));
  };

  const poke = (): void => {
    if (closed) return;
    again = true;
    reading ??= (async () => {
      while (again && !closed) {
        again = false;
        await readOnce().catch(deps.onError);
      }
      reading = undefined;
    })();
  };

  const ready = readEventHorizon(deps.db).then((horizon) => {
    xmin = horizon;
  });
  const timer = setInterval(poke, POLL_INTERVAL_MS);

  return {
    ready,
    subscribe(onEvent) {
      subscribers.add(onEvent);
      return () => subscribers.delete(onEvent);
    },
    subscribeOutput(onOutput) {
      outputSubscribers.add(onOutput);
      return () => outputSubscribers.delete(onOutput);
    },
    offer: (rows) => rows.forEach(publish),
    offerOutput(commandIds) {
      const ids = commandIds === '*' ? commandIds : new Set(commandIds);
      for (const subscriber of [...outputSubscribers]) subscriber(ids);
    },
    poke,
    async close() {
      closed = true;
      clearInterval(timer);
      subscribers.clear();
      outputSubscribers.clear();
      await reading;
    },
  };
}
