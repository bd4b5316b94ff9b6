/** The shared log: what people and programs tell each other has happened. It starts nothing and decides nothing. */
import type { Principal } from '../../contracts/principal.ts';
import {
  appendPostedEvent,
  listPostedEvents,
  type PostedEventRow,
  readNewestPostedNumber,
  readPostedEventLog,
} from '../../db/posted-events.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { bodySha256, isRepeatedRequest, requestKeyOf } from '../idempotency.ts';
import { assertCan, can, visibleOwner } from '../policy.ts';
import { transact } from '../transact.ts';

/** Posted events are kept this long, days. */
export const POSTED_EVENT_RETENTION_DAYS = 90;
/** Entries of one page of a reader. */
const PAGE_ENTRIES = 200;

export interface PostedEvent {
  /** What happened, in the poster's own words. */
  name: string;
  /** What it happened to. */
  target: string;
  details: Record<string, unknown>;
}

/** An entry of the log. */
export type PostedEntry = PostedEventRow;

/** The log after it, as far as the actor may see it: sha256 (hex) that changes with every entry. */
export interface PostedLog {
  sha256: string;
}

/**
 * Append an event. The same `Idempotency-Key` again appends nothing.
 * @throws forbidden, idempotency_conflict
 */
export async function postEvent(
  deps: DomainDeps,
  actor: Actor & { idempotencyKey: string | null },
  event: PostedEvent,
): Promise<PostedLog> {
  const { principal } = actor;
  assertCan(principal, 'create', 'event');
  const seen = visibleOwner(principal, 'event');
  return transact(deps, async (unit) => {
    const requestKey = requestKeyOf(actor, event);
    if (await isRepeatedRequest(unit.trx, principal, requestKey, 'event.post', principal.id)) {
      return readPostedEventLog(unit.trx, seen);
    }
    const { kind: posterKind, id: posterId, name: posterName } = principal;
    const entry = { posterKind, posterId, posterName, ...event };
    const appended = await appendPostedEvent(unit.trx, entry, bodySha256(entry));
    const { number } = appended;
    const { name, target } = event;
    unit.audit(actor, {
      action: 'event.post',
      targetKind: 'event',
      targetId: String(number),
      details: { name, target },
    });
    unit.emit('event.posted', { ownerId: posterId, data: { number, name, target } });
    return { sha256: seen === undefined ? appended.wholeSha256 : appended.ownSha256 };
  });
}

/**
 * The entries above `after` up to `upTo` that there are now, oldest first, in pages. Numbers are in the order of commits:
 * whoever goes on after the last one misses nothing. Visibility is asked for every page with the rights of then.
 */
export async function* readPostedEvents(
  deps: Pick<DomainDeps, 'db'>,
  viewer: { readonly principal: Principal },
  { after, upTo = Number.POSITIVE_INFINITY }: { after: number; upTo?: number },
): AsyncGenerator<PostedEntry[]> {
  let last = after;
  while (can(viewer.principal, 'list', 'event')) {
    const posterId = visibleOwner(viewer.principal, 'event');
    const rows = await listPostedEvents(deps.db, { after: last, limit: PAGE_ENTRIES, posterId });
    yield rows.filter((row) => row.number <= upTo);
    last = rows.at(-1)?.number ?? last;
    if (rows.length < PAGE_ENTRIES || last >= upTo) return;
  }
}

/** Number of the newest entry; 0 for none. */
export const newestPostedNumber = (deps: Pick<DomainDeps, 'db'>): Promise<number> =>
  readNewestPostedNumber(deps.db);
