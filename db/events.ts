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
  commandId: string | null;
  batchId: string | null;
  agentId: string | null;
  ownerId: string | null;
  data: Record<string, unknown>;
}

interface StoredEvent {
  id: number;
  xid: string;
  at: Date;
  type: EventType;
  task_id: string | null;
  command_id: string | null;
  batch_id: string | null;
  agent_id: string | null;
  owner_id: string | null;
  data: Record<string, unknown>;
}

const columns =
  'id, cast(xid as text) as xid, at, type, task_id, command_id, batch_id, agent_id, owner_id, data';

export const rowToEvent = (row: StoredEvent): EventRow => ({
  id: row.id,
  xid: row.xid,
  at: row.at,
  type: row.type,
  taskId: row.task_id,
  commandId: row.command_id,
  batchId: row.batch_id,
  agentId: row.agent_id,
  ownerId: row.owner_id,
  data: row.data,
});

/** Append events in the caller's transaction; returns them as stored, in order. */
export async function insertEvents(db: Queryable, entries: readonly EventEntry[]): Promise<EventRow[]> {
  if (entries.length === 0) return [];
  const rows = await query<StoredEvent>(
    db,
    `insert into events (type, task_id, command_id, batch_id, agent_id, owner_id, data)
     select type, task_id, command_id, batch_id, agent_id, owner_id, coalesce(data, '{}')
     from jsonb_to_recordset(cast(:rows as jsonb)) as r(
       type text, task_id uuid, command_id uuid, batch_id uuid, agent_id text, owner_id text, data jsonb)
     returning ${columns}`,
    {
      rows: JSON.stringify(
        entries.map((entry) => ({
          type: entry.type,
          task_id: entry.taskId ?? null,
          command_id: entry.commandId ?? null,
          batch_id: entry.batchId ?? null,
          agent_id: entry.agentId ?? null,
          owner_id: entry.ownerId ?? null,
          data: entry.data ?? {},
        })),
      ),
    },
  );
  return rows.map(rowToEvent);
}

export interface EventRead {
  rows: EventRow[];
  /** Every transaction below this has ended: rows with a smaller xid are all visible and read. */
  xmin: string;
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
 * Every visible event with `xid >= fromXid` after the position (afterXid, afterId) within it, oldest first.
 * Repeats are possible, gaps are not: remember `xmin` and start there next time.
 */
export async function readEvents(
  db: Queryable,
  from: { xid: string; after?: { xid: string; id: number } },
  limit = EVENT_READ_LIMIT,
): Promise<EventRead> {
  const after = from.after ?? { xid: '0', id: 0 };
  const rows = await query<StoredEvent & { xmin: string }>(
    db,
    `select ${columns}, cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as xmin
     from events
     where xid >= cast(:from as xid8)
       and (xid, id) > (cast(:after_xid as xid8), :after_id)
     order by xid, id
     limit :limit`,
    { from: from.xid, after_xid: after.xid, after_id: after.id, limit },
  );
  const xmin = rows[0]?.xmin ?? (await readEventHorizon(db));
  return { rows: rows.map(rowToEvent), xmin };
}

/** Events of one task, oldest first, for its timeline. */
export async function listTaskEvents(db: Queryable, taskId: string, limit: number): Promise<EventRow[]> {
  const rows = await query<StoredEvent>(
    db,
    `select ${columns} from events where task_id = :task_id order by id limit :limit`,
    { task_id: taskId, limit },
  );
  return rows.map(rowToEvent);
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
