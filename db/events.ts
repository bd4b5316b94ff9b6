/**
 * The event log (7 days). Ids are handed out before commits, so a reader by `id > last` would lose rows:
 * readers page by (xid, id) and remember the snapshot's xmin (see readEvents).
 */
import type { EventType } from '../contracts/events.ts';
import { type Queryable, query } from './database.ts';

/** An event before it is written. `taskId`, `batchId` and `commandId` are row uuids. */
export interface EventEntry {
  type: EventType;
  taskId?: string | null;
  commandId?: string | null;
  batchId?: string | null;
  agentId?: string | null;
  /** Principal id that may see it besides those who see all. */
  ownerId?: string | null;
  data?: Record<string, unknown>;
}

export interface EventRow {
  id: number;
  /** Transaction id (xid8) as text: it may pass 2^53 in theory and is only compared by Postgres. */
  xid: string;
  at: Date;
  type: EventType;
  taskId: string | null;
  /** The task's id as clients know it. */
  taskPublicId: string | null;
  commandId: string | null;
  batchId: string | null;
  agentId: string | null;
  ownerId: string | null;
  data: Record<string, unknown>;
}

export interface StoredEvent {
  id: number;
  xid: string;
  at: Date;
  type: EventType;
  task_id: string | null;
  task_public_id: string | null;
  command_id: string | null;
  batch_id: string | null;
  agent_id: string | null;
  owner_id: string | null;
  data: Record<string, unknown>;
}

const columns = `events.id, cast(events.xid as text) as xid, events.at, events.type, events.task_id,
  (select t.public_id from tasks t where t.id = events.task_id) as task_public_id,
  events.command_id, events.batch_id, events.agent_id, events.owner_id, events.data`;

export const rowToEvent = (row: StoredEvent): EventRow => ({
  id: row.id,
  xid: row.xid,
  at: row.at,
  type: row.type,
  taskId: row.task_id,
  taskPublicId: row.task_public_id,
  commandId: row.command_id,
  batchId: row.batch_id,
  agentId: row.agent_id,
  ownerId: row.owner_id,
  data: row.data,
});

/** The row as JSON with the column names. */
export const eventRecord = (entry: EventEntry) => ({
  type: entry.type,
  task_id: entry.taskId ?? null,
  command_id: entry.commandId ?? null,
  batch_id: entry.batchId ?? null,
  agent_id: entry.agentId ?? null,
  owner_id: entry.ownerId ?? null,
  data: entry.data ?? {},
});

export interface EventRead {
  rows: EventRow[];
  /**
   * Horizon of the snapshot this read saw: every transaction below it has ended, so what it wrote is visible here.
   * Of a read in several pages only the FIRST page's horizon may be remembered: a transaction that commits between
   * two pages may belong before the second one's position.
   */
  xmin: string;
}

/** Which events a read is about; what is absent does not narrow. */
export interface EventNarrowing {
  /** Row uuid of the task. */
  taskId?: string | undefined;
  types?: readonly EventType[] | undefined;
  ownerId?: string | undefined;
}

/** Most events of one read. */
export const EVENT_READ_LIMIT = 2_000;

/** The present horizon: what a client that wants only new events starts from. */
export async function readEventHorizon(db: Queryable): Promise<string> {
  const [row] = await query<{ xmin: string }>(
    db,
    'select cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as xmin',
  );
  return row?.xmin ?? '0';
}

/**
 * Every visible event with `xid >= from.xid` after the position `from.after` within it, oldest first.
 * Repeats are possible, gaps are not: remember `xmin` and start there next time.
 *
 * One statement, so that rows and horizon come from one snapshot, also when there are no rows.
 */
export async function readEvents(
  db: Queryable,
  from: { xid: string; after?: { xid: string; id: number } | undefined },
  limit = EVENT_READ_LIMIT,
  narrowing: EventNarrowing = {},
): Promise<EventRead> {
  const after = from.after ?? { xid: '0', id: 0 };
  const conditions = ['events.xid >= cast(:from as xid8)'];
  if (from.after !== undefined)
    conditions.push('(events.xid, events.id) > (cast(:after_xid as xid8), :after_id)');
  if (narrowing.taskId !== undefined) conditions.push('events.task_id = :task_id');
  if (narrowing.types !== undefined) conditions.push('events.type = any(cast(:types as text[]))');
  if (narrowing.ownerId !== undefined) conditions.push('events.owner_id = :owner_id');
  const rows = await query<{ horizon: string } & (StoredEvent | { id: null })>(
    db,
    `select cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as horizon, e.id, e.xid, e.at, e.type, e.task_id,
            e.task_public_id, e.command_id, e.batch_id, e.agent_id, e.owner_id, e.data
     from (select 1) as one
     left join lateral (
       select ${columns}, events.xid as position from events where ${conditions.join(' and ')}
       order by events.xid, events.id limit :limit) e on true
     order by e.position, e.id`,
    {
      from: from.xid,
      after_xid: after.xid,
      after_id: after.id,
      task_id: narrowing.taskId ?? null,
      types: narrowing.types === undefined ? null : [...narrowing.types],
      owner_id: narrowing.ownerId ?? null,
      limit,
    },
  );
  const stored = rows.filter((row): row is typeof row & StoredEvent => row.id !== null);
  return { rows: stored.map(rowToEvent), xmin: rows[0]?.horizon ?? '0' };
}

/** Delete events older than the retention; returns how many. */
export async function deleteOldEvents(db: Queryable, olderThan: Date, limit: number): Promise<number> {
  const rows = await query<{ id: number }>(
    db,
    `delete from events where id in (select id from events where at < :older_than order by at limit :limit)
     returning id`,
    { older_than: olderThan, limit },
  );
  return rows.length;
}
