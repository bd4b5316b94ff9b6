/** Runs of schedules, and the due times that had none. */
import type { RunState, RunTrigger } from '../contracts/schedules.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';

export interface ScheduleRunRow {
  id: string;
  scheduleId: string;
  trigger: RunTrigger;
  dueAt: Date;
  /** Of several due times in a row the last; otherwise `dueAt`. */
  lastDueAt: Date;
  dueCount: number;
  state: RunState;
  reason: string | null;
  message: string | null;
  /** Of the schedule. */
  revision: number;
  taskIds: string[];
  batchIds: string[];
  refused: { agentId: string; code: string; message: string }[];
  createdAt: Date;
  startedAt: Date | null;
  endedAt: Date | null;
}

const columns = `id, schedule_id as "scheduleId", trigger, due_at as "dueAt", last_due_at as "lastDueAt",
  due_count as "dueCount", state, reason, message, revision, task_ids as "taskIds", batch_ids as "batchIds", refused,
  created_at as "createdAt", started_at as "startedAt", ended_at as "endedAt"`;

/** Longest message that is kept, characters. */
const MAX_MESSAGE_LENGTH = 1_000;

const openStates = `('waiting', 'running')`;

export interface NewRun {
  id: string;
  scheduleId: string;
  trigger: RunTrigger;
  dueAt: Date;
  state: RunState;
  reason?: string;
  revision: number;
  message?: string;
  /** Of a run that begins with its row. */
  work?: RunWork;
}

/** Undefined: the due time has its row already. */
export function insertRun(db: Queryable, run: NewRun): Promise<ScheduleRunRow | undefined> {
  const work = run.work ?? { taskIds: [], batchIds: [], refused: [] };
  return queryOne<ScheduleRunRow>(
    db,
    `insert into schedule_runs (id, schedule_id, trigger, due_at, last_due_at, state, reason, message, revision,
       task_ids, batch_ids, refused, started_at, ended_at)
     values (:id, :scheduleId, :trigger, :dueAt, :dueAt, :state, :reason, :message, :revision,
       cast(:taskIds as text[]), cast(:batchIds as uuid[]), cast(:refused as jsonb),
       case when cast(:state as text) = 'running' then now() end,
       case when cast(:state as text) not in ${openStates} then now() end)
     on conflict do nothing
     returning ${columns}`,
    {
      id: run.id,
      scheduleId: run.scheduleId,
      trigger: run.trigger,
      dueAt: run.dueAt,
      state: run.state,
      reason: run.reason ?? null,
      message: run.message?.slice(0, MAX_MESSAGE_LENGTH) ?? null,
      revision: run.revision,
      taskIds: work.taskIds,
      batchIds: work.batchIds,
      refused: JSON.stringify(work.refused),
    },
  );
}

/** Due times in a row that had no run. */
export async function insertGap(
  db: Queryable,
  gap: NewRun & { lastDueAt: Date; dueCount: number },
): Promise<void> {
  await execute(
    db,
    `insert into schedule_runs (id, schedule_id, trigger, due_at, last_due_at, due_count, state, reason, revision,
       ended_at)
     values (:id, :scheduleId, :trigger, :dueAt, :lastDueAt, :dueCount, :state, :reason, :revision, now())
     on conflict do nothing`,
    { ...gap, reason: gap.reason ?? null },
  );
}

export async function extendGap(db: Queryable, id: string, lastDueAt: Date, dueCount: number): Promise<void> {
  await execute(
    db,
    `update schedule_runs set last_due_at = :lastDueAt, due_count = due_count + :dueCount, ended_at = now()
     where id = :id`,
    { id, lastDueAt, dueCount },
  );
}

export const findRun = (db: Queryable, id: string): Promise<ScheduleRunRow | undefined> =>
  queryOne<ScheduleRunRow>(db, `select ${columns} from schedule_runs where id = :id`, { id });

/** Those of the ids that are runs, first due first. */
export async function listRunIds(db: Queryable, ids: readonly string[]): Promise<string[]> {
  const rows = await query<{ id: string }>(
    db,
    'select id from schedule_runs where id = any(cast(:ids as uuid[])) order by due_at, id',
    { ids: [...ids] },
  );
  return rows.map(({ id }) => id);
}

export interface DueLook {
  /** State of the run with this id. */
  known: RunState | null;
  /** The due time has its row, or lies in a span that has one. */
  isAccounted: boolean;
  /** Runs that are not over. */
  openRuns: number;
}

/** All that is asked of a due time before its run is made, in one round trip. */
export async function lookAtDue(
  db: Queryable,
  due: { scheduleId: string; runId: string; dueAt: Date },
): Promise<DueLook> {
  const row = await queryOne<DueLook>(
    db,
    `select (select state from schedule_runs where id = :runId) as known,
       coalesce((select :dueAt <= last_due_at from schedule_runs
         where schedule_id = :scheduleId and trigger = 'due' and due_at <= :dueAt
         order by due_at desc limit 1), false) as "isAccounted",
       (select count(*) from schedule_runs
         where schedule_id = :scheduleId and state in ${openStates}) as "openRuns"`,
    due,
  );
  if (row === undefined) throw new Error('a select returned no row');
  return row;
}

/** Rows of due times in a span, both ends included, and the one before it. Only of what became due by itself. */
export const listAccounted = (
  db: Queryable,
  scheduleId: string,
  from: Date,
  to: Date,
): Promise<Pick<ScheduleRunRow, 'id' | 'dueAt' | 'lastDueAt' | 'state' | 'reason'>[]> =>
  query(
    db,
    `select id, due_at as "dueAt", last_due_at as "lastDueAt", state, reason from schedule_runs
     where schedule_id = :scheduleId and trigger = 'due' and due_at <= :to
       and due_at >= coalesce((select max(due_at) from schedule_runs
         where schedule_id = :scheduleId and trigger = 'due' and due_at < :from), :from)
     order by due_at`,
    { scheduleId, from, to },
  );

/** Those that are not over, the first due first. */
export const listOpenRuns = (db: Queryable, scheduleId: string): Promise<ScheduleRunRow[]> =>
  query<ScheduleRunRow>(
    db,
    `select ${columns} from schedule_runs where schedule_id = :scheduleId and state in ${openStates}
     order by due_at, id`,
    { scheduleId },
  );

export interface RunWork {
  taskIds: string[];
  batchIds: string[];
  refused: ScheduleRunRow['refused'];
}

/** The work of a run that waited was made: `waiting` → `running`. */
export async function markRunning(
  db: Queryable,
  id: string,
  { revision, taskIds, batchIds, refused }: RunWork & { revision: number },
): Promise<void> {
  await execute(
    db,
    `update schedule_runs set state = 'running', started_at = now(), revision = :revision,
       task_ids = cast(:taskIds as text[]), batch_ids = cast(:batchIds as uuid[]),
       refused = cast(:refused as jsonb)
     where id = :id and state = 'waiting'`,
    { id, revision, taskIds, batchIds, refused: JSON.stringify(refused) },
  );
}

/** @returns false when it was over already */
export async function endRun(
  db: Queryable,
  id: string,
  end: {
    state: RunState;
    reason: string | null;
    message: string | null;
    refused?: ScheduleRunRow['refused'];
  },
): Promise<boolean> {
  const rows = await query(
    db,
    `update schedule_runs set state = :state, reason = :reason, message = :message, ended_at = now(),
       refused = coalesce(cast(:refused as jsonb), refused)
     where id = :id and state in ${openStates} returning id`,
    {
      id,
      state: end.state,
      reason: end.reason,
      message: end.message?.slice(0, MAX_MESSAGE_LENGTH) ?? null,
      refused: end.refused === undefined ? null : JSON.stringify(end.refused),
    },
  );
  return rows.length > 0;
}

/** Of runs whose work is over: what became of it. */
export interface FinishedRun {
  id: string;
  scheduleId: string;
  ownerId: string;
  /** Agents that got no work. */
  refused: ScheduleRunRow['refused'];
  /** Ends of tasks and states of commands. */
  ends: string[];
}

/** Runs all of whose tasks and batches are over, of one schedule or of any, the oldest first. */
export function listFinishedRuns(
  db: Queryable,
  { scheduleId, limit }: { scheduleId?: string; limit: number },
): Promise<FinishedRun[]> {
  return query<FinishedRun>(
    db,
    `select r.id, r.schedule_id as "scheduleId", s.creator_id as "ownerId", r.refused,
       array(select t.state from tasks t where t.public_id = any(r.task_ids)
         union select c.state from commands c where c.batch_id = any(r.batch_ids)) as ends
     from schedule_runs r join schedules s on s.id = r.schedule_id
     where r.state = 'running' ${scheduleId === undefined ? '' : 'and r.schedule_id = :scheduleId'}
       and not exists (select 1 from tasks t where t.public_id = any(r.task_ids) and t.ended_at is null)
       and not exists (select 1 from batches b where b.id = any(r.batch_ids) and b.pending > 0)
     order by r.created_at limit :limit`,
    { limit, ...(scheduleId !== undefined && { scheduleId }) },
  );
}

/** Runs whose turn it is: the first that waits where none goes on, and those that need not wait for others. */
export const listRunsToAdmit = (
  db: Queryable,
  limit: number,
): Promise<Pick<ScheduleRunRow, 'id' | 'scheduleId'>[]> =>
  query(
    db,
    `select w.id, w.schedule_id as "scheduleId" from schedule_runs w
     where w.state = 'waiting' and (w.is_beside_others or (
       not exists (select 1 from schedule_runs o where o.schedule_id = w.schedule_id and o.state = 'running')
       and not exists (select 1 from schedule_runs f
         where f.schedule_id = w.schedule_id and f.state = 'waiting' and (f.due_at, f.id) < (w.due_at, w.id))))
     order by w.created_at, w.id limit :limit`,
    { limit },
  );

/** Runs of a backfill, all of which wait for their turn. */
export async function insertWaitingRuns(
  db: Queryable,
  runs: {
    scheduleId: string;
    revision: number;
    ids: readonly string[];
    dueTimes: readonly Date[];
    isBesideOthers: boolean;
  },
): Promise<void> {
  await execute(
    db,
    `insert into schedule_runs (id, schedule_id, trigger, due_at, last_due_at, state, revision, is_beside_others)
     select r.id, :scheduleId, 'backfill', r.due_at, r.due_at, 'waiting', :revision, :isBesideOthers
     from unnest(cast(:ids as uuid[]), cast(:dueTimes as timestamptz[])) as r(id, due_at)`,
    { ...runs, ids: [...runs.ids], dueTimes: runs.dueTimes.map((time) => time.toISOString()) },
  );
}

export interface RunFilter {
  scheduleId: string;
  state: RunState | undefined;
  before: { at: Date; id: string } | undefined;
  limit: number;
}

/** Latest due time first, keyset by (due_at, id). */
export function listRuns(db: Queryable, filter: RunFilter): Promise<ScheduleRunRow[]> {
  const { sql, bindings } = listRunsSql(filter);
  return query<ScheduleRunRow>(db, sql, bindings);
}

export const listRunsSql = ({ scheduleId, state, before, limit }: RunFilter) => ({
  sql: `select ${columns} from schedule_runs
        where schedule_id = :scheduleId ${state === undefined ? '' : 'and state = :state'}
          ${before === undefined ? '' : 'and (due_at, id) < (:at, cast(:id as uuid))'}
        order by due_at desc, id desc limit :limit`,
  bindings: {
    scheduleId,
    limit,
    ...(state !== undefined && { state }),
    ...(before && { at: before.at, id: before.id }),
  },
});

/** When each schedule had its last run, for those that had one. */
export async function listLastRuns(
  db: Queryable,
  scheduleIds: readonly string[],
): Promise<Map<string, Date>> {
  const rows = await query<{ scheduleId: string; at: Date }>(
    db,
    `select s.id as "scheduleId", r.started_at as at
     from unnest(cast(:scheduleIds as uuid[])) as s(id)
       cross join lateral (select started_at from schedule_runs
         where schedule_id = s.id and started_at is not null order by due_at desc, id desc limit 1) r`,
    { scheduleIds: [...scheduleIds] },
  );
  return new Map(rows.map(({ scheduleId, at }) => [scheduleId, at]));
}

/** Those that ended before. @returns how many */
export async function deleteOldRuns(db: Queryable, olderThan: Date, limit: number): Promise<number> {
  const rows = await query(
    db,
    `delete from schedule_runs where id in (
       select id from schedule_runs where ended_at < :olderThan order by ended_at limit :limit)
     returning id`,
    { olderThan, limit },
  );
  return rows.length;
}
