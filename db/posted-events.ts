/**
 * The log of posted events.
 *
 *  A. An entry takes its number while it holds the row of the whole log, until the commit: numbers are in the order of
 *     commits, so that a reader by `number > last` loses none.
 *  B. The hash of a log is that of its previous hash and the new entry: it says which entries there are, and also holds
 *     when old ones were deleted.
 */
import { type Queryable, query, queryOne } from './database.ts';

/** Scope of the log that holds everything; the others are ids of principals. */
const WHOLE_LOG = '*';

export interface NewPostedEvent {
  posterKind: string;
  posterId: string;
  posterName: string;
  name: string;
  target: string;
  details: Record<string, unknown>;
}

export interface PostedEventRow extends NewPostedEvent {
  /** From 1, without a gap. */
  number: number;
  at: Date;
}

export interface AppendedEvent {
  number: number;
  /** sha256 (hex) of the whole log. */
  wholeSha256: string;
  /** sha256 (hex) of what this poster wrote. */
  ownSha256: string;
}

/** Append in the caller's transaction; other appends wait for its end (A). `entryHash`: sha256 (hex) of the entry. */
export async function appendPostedEvent(
  db: Queryable,
  event: NewPostedEvent,
  entryHash: string,
): Promise<AppendedEvent> {
  const row = await queryOne<{ number: number; whole: string; own: string }>(
    db,
    // Each part reads the one before: the whole log is locked first, so nobody waits in a circle.
    `with whole as (
       update posted_event_logs set entries = entries + 1, sha256 = sha256(sha256 || decode(:entry_hash, 'hex'))
       where scope = '${WHOLE_LOG}' returning entries, sha256
     ), own as (
       insert into posted_event_logs as log (scope, entries, sha256)
       select :poster_id, 1, sha256(sha256('') || decode(:entry_hash, 'hex')) from whole
       on conflict (scope) do update set
         entries = log.entries + 1, sha256 = sha256(log.sha256 || decode(:entry_hash, 'hex'))
       returning sha256
     ), stored as (
       insert into posted_events (number, poster_kind, poster_id, poster_name, name, target, details)
       select entries, :poster_kind, :poster_id, :poster_name, :name, :target, cast(:details as json) from whole
       returning number
     )
     select stored.number, encode(whole.sha256, 'hex') as whole, encode(own.sha256, 'hex') as own
     from stored, whole, own`,
    {
      entry_hash: entryHash,
      poster_kind: event.posterKind,
      poster_id: event.posterId,
      poster_name: event.posterName,
      name: event.name,
      target: event.target,
      details: JSON.stringify(event.details),
    },
  );
  if (row === undefined) throw new Error('the log of posted events has no row');
  return { number: row.number, wholeSha256: row.whole, ownSha256: row.own };
}

/** The state of a log; `posterId` undefined: of the whole one. What nobody has written into is empty. */
export async function readPostedEventLog(
  db: Queryable,
  posterId: string | undefined,
): Promise<{ sha256: string }> {
  const row = await queryOne<{ sha256: string }>(
    db,
    `select encode(coalesce((select sha256 from posted_event_logs where scope = :scope), sha256('')), 'hex') as sha256`,
    { scope: posterId ?? WHOLE_LOG },
  );
  if (row === undefined) throw new Error('a select of one value returned no row');
  return row;
}

/** Number of the newest entry there ever was; 0 for none. */
export async function readNewestPostedNumber(db: Queryable): Promise<number> {
  const row = await queryOne<{ entries: number }>(
    db,
    `select entries from posted_event_logs where scope = '${WHOLE_LOG}'`,
  );
  return row?.entries ?? 0;
}

/** Entries above `after`, oldest first. */
export function listPostedEvents(
  db: Queryable,
  range: { after: number; limit: number; posterId: string | undefined },
): Promise<PostedEventRow[]> {
  const own = range.posterId === undefined ? '' : 'and poster_id = :poster_id';
  return query<PostedEventRow>(
    db,
    `select number, at, poster_kind as "posterKind", poster_id as "posterId", poster_name as "posterName", name, target,
            details
     from posted_events where number > :after ${own} order by number limit :limit`,
    { after: range.after, limit: range.limit, poster_id: range.posterId ?? null },
  );
}

/** Delete entries older than the retention; returns how many. */
export async function deleteOldPostedEvents(db: Queryable, olderThan: Date, limit: number): Promise<number> {
  const rows = await query<{ number: number }>(
    db,
    `delete from posted_events where number in (
       select number from posted_events where at < :older_than order by at limit :limit)
     returning number`,
    { older_than: olderThan, limit },
  );
  return rows.length;
}
