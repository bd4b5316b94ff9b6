/** One client of the shared log: its entries by number, and then each that is added. */

import type { Principal } from '../../contracts/principal.ts';
import type { EventStream, StreamViewer } from '../../contracts/route.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { newestPostedNumber, type PostedEntry, readPostedEvents } from '../../domain/events/posted.ts';
import type { Hub } from './hub.ts';

export interface PostedTail {
  viewer: StreamViewer<Principal>;
  /** Number of the entry to begin behind; 0 for all. */
  after: number;
  /** End where the log ends now. */
  once: boolean;
}

/**
 * Feeds the stream until it is closed, or with `once` to the present end of the log. The hub only says when to look: what
 * is sent is read by number, so a lost or late word costs time (the hub polls) and never an entry.
 */
export async function followPostedEvents(
  deps: Pick<DomainDeps, 'db'> & { hub: Pick<Hub, 'subscribe'> },
  { viewer, after, once }: PostedTail,
  stream: EventStream,
  present: (row: PostedEntry) => unknown,
): Promise<void> {
  let last = after;
  let isAdded = false;
  let wake = (): void => {};
  const ring = (): void => {
    isAdded = true;
    wake();
  };
  const unsubscribe = deps.hub.subscribe(({ row }) => {
    if (row.type === 'event.posted') ring();
  });
  stream.closed.addEventListener('abort', ring, { once: true });
  try {
    const upTo = once ? await newestPostedNumber(deps) : Number.POSITIVE_INFINITY;
    while (!stream.closed.aborted) {
      isAdded = false;
      for await (const page of readPostedEvents(deps, viewer, { after: last, upTo })) {
        for (const row of page) {
          stream.send({ data: present(row) });
          last = row.number;
          // Each of them: a page may hold more than a stream may buffer.
          await stream.drained();
        }
        if (stream.closed.aborted) return;
      }
      if (once) return;
      if (!isAdded) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    unsubscribe();
    stream.closed.removeEventListener('abort', ring);
  }
}
