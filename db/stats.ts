/** Figures of the hub: as they are now, and as they were. */
import type { TaskState } from '../contracts/states.ts';
import { type StatsFigures, statsFiguresSchema } from '../contracts/stats.ts';
import { aliveFor } from './agents.ts';
import { type Queryable, query, queryOne } from './database.ts';

/** Agents that are not revoked; by the clock of the database. */
export async function countAgents(db: Queryable): Promise<StatsFigures['agents']> {
  const row = await queryOne<StatsFigures['agents']>(
    db,
    `select count(*) as total, count(*) filter (where is_alive) as online,
            count(*) filter (where is_alive and is_connected) as connected,
            count(*) filter (where is_alive and is_connected and running_count > 0) as busy
     from (
       select coalesce(p.last_seen_at > now() - ${aliveFor}, false) as is_alive,
              c.bridge_id is not null as is_connected, coalesce(p.running_count, 0) as running_count
       from agents a
         left join agent_presence p on p.agent_id = a.id
         left join agent_connections c on c.agent_id = a.id
       where a.revoked_at is null
     ) as each`,
  );
  return row ?? { total: 0, online: 0, connected: 0, busy: 0 };
}

/** Tasks of every kind that are neither deleted nor archived. */
export async function countTasks(db: Queryable): Promise<StatsFigures['tasks']> {
  const rows = await query<{ state: TaskState; count: number }>(
    db,
    `select state, count(*) as count from tasks where deleted_at is null and archived_at is null group by state`,
  );
  return Object.fromEntries(rows.map(({ state, count }) => [state, count]));
}

/** Is there a snapshot of this minute? */
export async function hasSnapshotOfNow(db: Queryable): Promise<boolean> {
  const rows = await query(db, `select at from stats_snapshots where at = date_trunc('minute', now())`);
  return rows.length === 1;
}

/** Keep the figures as those of this minute; the first of a minute stay. False when there were some. */
export async function insertSnapshot(db: Queryable, figures: StatsFigures): Promise<boolean> {
  const rows = await query(
    db,
    `insert into stats_snapshots (at, step, figures)
     select date_trunc('minute', now()),
            case when newest is null or newest < date_trunc('hour', now()) then 60
                 when newest < date_bin('15 minutes', now(), timestamptz '2000-01-01 00:00Z') then 15
                 else 1 end,
            cast(:figures as jsonb)
     from (select max(at) as newest from stats_snapshots) as before
     on conflict (at) do nothing
     returning at`,
    { figures: JSON.stringify(figures) },
  );
  return rows.length === 1;
}

/** Delete snapshots of these steps that are older; returns how many. */
export async function thinSnapshots(
  db: Queryable,
  step: 1 | 15 | 60,
  olderThan: Date,
  limit: number,
): Promise<number> {
  const rows = await query<{ at: Date }>(
    db,
    `delete from stats_snapshots where at in (
       select at from stats_snapshots where step = :step and at < :older_than order by at limit :limit)
     returning at`,
    { step, older_than: olderThan, limit },
  );
  return rows.length;
}

export interface SnapshotRow {
  at: Date;
  figures: StatsFigures;
}

/** Newest first. */
export async function listSnapshots(
  db: Queryable,
  page: { limit: number; offset: number },
): Promise<SnapshotRow[]> {
  const rows = await query<SnapshotRow>(db, listSnapshotsSql, page);
  return rows.map(({ at, figures }) => ({ at, figures: statsFiguresSchema.parse(figures) }));
}

/** The family's clients page by offset; the table is small and the index is walked. */
export const listSnapshotsSql =
  'select at, figures from stats_snapshots order by at desc limit :limit offset :offset';
