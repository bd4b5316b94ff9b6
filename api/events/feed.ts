/**
 * One client's events: subscribe, buffer, replay, de-duplicate, then live.
 *
 *  A. What commits before the replay's snapshots is replayed; what commits later is heard from the hub, because the
 *     subscription is older than the snapshots. Nothing is between the two.
 *  B. Only rows at or above the hub's position at the time of the subscription can come twice: their ids are kept.
 *  C. Visibility is asked for every event with the rights of now.
 */
import type { EventView } from '../../contracts/events.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import {
  canSeeEvent,
  type EventFilter,
  type EventPosition,
  matchesFilter,
  presentEvent,
  replayEvents,
} from '../../domain/events/read.ts';
import type { Hub, HubEvent } from './hub.ts';
import type { Viewer } from './session-watch.ts';

/** A client whose replay takes so long that more than this gathers meanwhile is cut off; it resumes. */
const MAX_WAITING_EVENTS = 10_000;
/** Events written between two looks at whether the client reads: few, since some are large. */
const FLUSH_EVENTS = 10;

/** Where events go: a stream or a socket. Sending to a closed one does nothing. */
export interface EventSink {
  ready(cursor: string): void;
  send(event: EventView): void;
  drained(): Promise<void>;
  close(): void;
  readonly closed: AbortSignal;
}

export interface Subscription {
  viewer: Pick<Viewer, 'principal'>;
  filter: EventFilter;
  /** Null: only what is new. */
  resumeAt: EventPosition | null;
}

/** Feeds the sink until it is closed. */
export async function feedEvents(
  deps: Pick<DomainDeps, 'db'> & { hub: Hub },
  { viewer, filter, resumeAt }: Subscription,
  sink: EventSink,
): Promise<void> {
  const { hub } = deps;
  await hub.ready;
  const replayed = new Set<number>();
  const waiting: HubEvent[] = [];
  let isLive = false;

  const deliver = ({ row, cursor }: HubEvent): void => {
    if (!replayed.has(row.id) && canSeeEvent(viewer.principal, row)) sink.send(presentEvent(row, cursor));
  };
  const unsubscribe = hub.subscribe((event) => {
    if (!matchesFilter(filter, event.row)) return;
    if (isLive) deliver(event);
    else if (waiting.push(event) > MAX_WAITING_EVENTS) sink.close();
  });

  try {
    const position = hub.position();
    sink.ready(resumeAt === null ? `${position}.0` : `${resumeAt.xmin}.${resumeAt.id}`);
    if (resumeAt !== null) await replay(resumeAt, BigInt(position));
    while (waiting.length > 0 && !sink.closed.aborted) {
      waiting.splice(0, FLUSH_EVENTS).forEach(deliver);
      await sink.drained();
    }
    isLive = true;
    await untilAborted(sink.closed);
  } finally {
    unsubscribe();
  }

  async function replay(from: EventPosition, hubPosition: bigint): Promise<void> {
    for await (const page of replayEvents(deps, viewer.principal, filter, from)) {
      for (let at = 0; at < page.length; at += FLUSH_EVENTS) {
        if (sink.closed.aborted) return;
        for (const event of page.slice(at, at + FLUSH_EVENTS)) {
          deliver(event);
          if (BigInt(event.row.xid) >= hubPosition) replayed.add(event.row.id); // B
        }
        await sink.drained();
      }
    }
  }
}

export function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
