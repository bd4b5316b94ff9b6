/**
 * Events that subscriptions are to be told of.
 *
 *  A. Ids are handed out before commits, so only events below the snapshot's horizon are taken, in (xid, id) order:
 *     nothing can appear behind the cursor any more.
 *  B. The cursor's row is locked: one taker at a time, and what it takes commits with the cursor.
 *  C. A subscription is told of events that were not yet visible when it became active.
 */
import type { EventType } from '../contracts/events.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';

/** Is there anything to do? Two probes of indexes that are empty where nobody subscribes. */
export async function readInterest(db: Queryable): Promise<{ isSubscribed: boolean; hasNews: boolean }> {
  const row = await queryOne<{ isSubscribed: boolean; hasNews: boolean }>(
    db,
    `select exists (select from webhooks where state = 'active') as "isSubscribed",
            exists (select from webhook_targets where has_news) as "hasNews"`,
  );
  return row ?? { isSubscribed: false, hasNews: false };
}

export interface FeedPosition {
  xid: string;
  id: number;
}

export interface FeedRange {
  from: FeedPosition;
  to: FeedPosition;
  /** Events in between, whether or not anybody subscribes to them. */
  count: number;
}

/** The next events, at most `limit` (A, B). What was committed before every active subscription is skipped. */
export async function lockNextRange(db: Queryable, limit: number): Promise<FeedRange | undefined> {
  const cursor = await queryOne<FeedPosition>(
    db,
    'select cast(xid as text) as xid, id from webhook_cursor for update',
  );
  if (cursor === undefined) return undefined;
  const row = await queryOne<{
    fromXid: string;
    fromId: number;
    toXid: string;
    toId: number;
    count: number;
  }>(
    db,
    `with bounds as (
       select pg_snapshot_xmin(pg_current_snapshot()) as horizon,
              coalesce((select min(pg_snapshot_xmin(w.since)) from webhooks w where w.state = 'active'),
                       pg_snapshot_xmin(pg_current_snapshot())) as oldest),
     start as (
       select case when b.oldest > cast(:xid as xid8) then b.oldest else cast(:xid as xid8) end as xid,
              case when b.oldest > cast(:xid as xid8) then 0 else cast(:id as bigint) end as id, b.horizon
       from bounds b),
     page as (
       select e.xid, e.id from start, lateral (
         select e.xid, e.id from events e
         where (e.xid, e.id) > (start.xid, start.id) and e.xid < start.horizon
         order by e.xid, e.id limit :limit) e)
     select cast(start.xid as text) as "fromXid", start.id as "fromId", p.count,
            -- A page that is not full ends at the horizon.
            cast(case when p.count < :limit then greatest(start.horizon, start.xid) else p.xid end as text) as "toXid",
            case when p.count < :limit then case when start.xid >= start.horizon then start.id else 0 end
                 else p.id end as "toId"
     from start, lateral (
       select count(*) as count, (array_agg(page.xid order by page.xid desc, page.id desc))[1] as xid,
              (array_agg(page.id order by page.xid desc, page.id desc))[1] as id from page) p`,
    { xid: cursor.xid, id: cursor.id, limit },
  );
  if (row === undefined) return undefined;
  return {
    from: { xid: row.fromXid, id: Number(row.fromId) },
    to: { xid: row.toXid, id: Number(row.toId) },
    count: Number(row.count),
  };
}

export interface WantedEvent {
  id: number;
  at: Date;
  type: EventType;
  taskPublicId: string | null;
  commandId: string | null;
  batchId: string | null;
  agentId: string | null;
  data: Record<string, unknown>;
  /** Subscriptions that want it. */
  webhookIds: string[];
}

/** Events of a range that somebody subscribes to, in order (C). */
export const listWantedEvents = (db: Queryable, { from, to }: FeedRange): Promise<WantedEvent[]> =>
  query<WantedEvent>(
    db,
    `select e.id, e.at, e.type, t.public_id as "taskPublicId", e.command_id as "commandId", e.batch_id as "batchId",
            e.agent_id as "agentId", e.data, w.ids as "webhookIds"
     from events e
     join lateral (
       select array_agg(w.id order by w.id) as ids from webhooks w
       where w.state = 'active' and not pg_visible_in_snapshot(e.xid, w.since)
         and w.event_types && array['*', split_part(e.type, '.', 1) || '.*', e.type]) w on w.ids is not null
     left join tasks t on t.id = e.task_id
     where (e.xid, e.id) > (cast(:from_xid as xid8), :from_id) and (e.xid, e.id) <= (cast(:to_xid as xid8), :to_id)
     order by e.xid, e.id`,
    { from_xid: from.xid, from_id: from.id, to_xid: to.xid, to_id: to.id },
  );

/** Those of them that are active, and stay so until the transaction ends. */
export async function holdActive(db: Queryable, webhookIds: readonly string[]): Promise<Set<string>> {
  const rows = await query<{ id: string }>(
    db,
    `select id from webhooks where id = any(cast(:ids as uuid[])) and state = 'active' order by id for share`,
    { ids: [...webhookIds] },
  );
  return new Set(rows.map(({ id }) => id));
}

export async function moveCursor(db: Queryable, to: FeedPosition): Promise<void> {
  await execute(db, 'update webhook_cursor set xid = cast(:xid as xid8), id = :id', { ...to });
}
