/** Schedules. `revision` is what is wanted, `syncedRevision` what Temporal has heard of. */
import type { OverlapPolicy, ScheduleAction, ScheduleTarget, Timing } from '../contracts/schedules.ts';
import type { TagCondition } from './agents.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';
import { lockKeys } from './lock-keys.ts';

export interface ScheduleRow {
  id: string;
  name: string;
  note: string | null;
  timing: Timing;
  action: ScheduleAction;
  target: ScheduleTarget;
  overlap: OverlapPolicy;
  catchUpWindowMs: number;
  jitterMs: number;
  startAt: Date | null;
  endAt: Date | null;
  maxRuns: number | null;
  /** Due runs that have begun. */
  runsStarted: number;
  pausedAt: Date | null;
  pauseNote: string | null;
  revision: number;
  creatorKind: string;
  creatorId: string;
  creatorName: string;
  editorKind: string;
  editorId: string;
  editorName: string;
  syncedRevision: number;
  syncedAt: Date | null;
  syncError: string | null;
  syncAttempts: number;
  /** What Temporal said of itself when it was told; another one now means that somebody else has changed it. */
  serverFingerprint: string | null;
  /** Its next times were ours. */
  serverAgrees: boolean | null;
  lookedAt: Date | null;
  /** Every due time until then has a row. */
  accountedUntil: Date;
  createdAt: Date;
  updatedAt: Date;
  deletedAt: Date | null;
}

const columns = `id, name, note, timing, action, target, overlap, catch_up_window_ms as "catchUpWindowMs",
  jitter_ms as "jitterMs", start_at as "startAt", end_at as "endAt", max_runs as "maxRuns",
  runs_started as "runsStarted", paused_at as "pausedAt", pause_note as "pauseNote", revision,
  creator_kind as "creatorKind", creator_id as "creatorId", creator_name as "creatorName",
  editor_kind as "editorKind", editor_id as "editorId", editor_name as "editorName",
  synced_revision as "syncedRevision", synced_at as "syncedAt", sync_error as "syncError",
  sync_attempts as "syncAttempts", server_fingerprint as "serverFingerprint", server_agrees as "serverAgrees",
  looked_at as "lookedAt", accounted_until as "accountedUntil", created_at as "createdAt",
  updated_at as "updatedAt", deleted_at as "deletedAt"`;

/** What a person writes of a schedule. */
export type ScheduleFields = Pick<
  ScheduleRow,
  | 'name'
  | 'note'
  | 'timing'
  | 'action'
  | 'target'
  | 'overlap'
  | 'catchUpWindowMs'
  | 'jitterMs'
  | 'startAt'
  | 'endAt'
  | 'maxRuns'
>;

type Person = { kind: string; id: string; name: string };

const fieldBindings = (fields: ScheduleFields, editor: Person) => ({
  name: fields.name,
  note: fields.note,
  timing: JSON.stringify(fields.timing),
  action: JSON.stringify(fields.action),
  target: JSON.stringify(fields.target),
  overlap: fields.overlap,
  catchUpWindowMs: fields.catchUpWindowMs,
  jitterMs: fields.jitterMs,
  startAt: fields.startAt,
  endAt: fields.endAt,
  maxRuns: fields.maxRuns,
  editorKind: editor.kind,
  editorId: editor.id,
  editorName: editor.name,
});

/** One at a time, so that their number is kept. */
export async function countSchedules(db: Queryable): Promise<number> {
  await execute(db, 'select pg_advisory_xact_lock(:key)', { key: lockKeys.schedules });
  const row = await queryOne<{ count: number }>(
    db,
    'select count(*) as count from schedules where deleted_at is null',
  );
  return Number(row?.count ?? 0);
}

export async function insertSchedule(
  db: Queryable,
  id: string,
  fields: ScheduleFields,
  creator: Person,
  isPaused: boolean,
): Promise<ScheduleRow> {
  const row = await queryOne<ScheduleRow>(
    db,
    `insert into schedules (id, name, note, timing, action, target, overlap, catch_up_window_ms, jitter_ms, start_at,
       end_at, max_runs, paused_at, creator_kind, creator_id, creator_name, editor_kind, editor_id, editor_name,
       account_at)
     values (:id, :name, :note, cast(:timing as jsonb), cast(:action as jsonb), cast(:target as jsonb), :overlap,
       :catchUpWindowMs, :jitterMs, :startAt, :endAt, :maxRuns,
       case when cast(:isPaused as boolean) then now() end, :editorKind, :editorId, :editorName, :editorKind,
       :editorId, :editorName, now())
     returning ${columns}`,
    { id, isPaused, ...fieldBindings(fields, creator) },
  );
  if (row === undefined) throw new Error('an insert returned no row');
  return row;
}

/**
 * A revision of its own.
 * @param keepsTimes false: due times so far are left to the times that were
 */
export async function updateSchedule(
  db: Queryable,
  id: string,
  fields: ScheduleFields,
  editor: Person,
  keepsTimes: boolean,
): Promise<void> {
  await execute(
    db,
    `update schedules set name = :name, note = :note, timing = cast(:timing as jsonb),
       action = cast(:action as jsonb), target = cast(:target as jsonb), overlap = :overlap,
       catch_up_window_ms = :catchUpWindowMs, jitter_ms = :jitterMs, start_at = :startAt, end_at = :endAt,
       max_runs = :maxRuns, editor_kind = :editorKind, editor_id = :editorId, editor_name = :editorName,
       revision = revision + 1, next_sync_at = now(), sync_attempts = 0,
       accounted_until = case when cast(:keepsTimes as boolean) then accounted_until
                         else greatest(accounted_until, now()) end,
       account_at = now(), server_agrees = null, updated_at = now()
     where id = :id`,
    { id, keepsTimes, ...fieldBindings(fields, editor) },
  );
}

/** @param pausedAt null: go on */
export async function setPaused(
  db: Queryable,
  id: string,
  pausedAt: Date | null,
  note: string | null,
): Promise<void> {
  await execute(
    db,
    `update schedules set paused_at = :pausedAt, pause_note = :note, revision = revision + 1, next_sync_at = now(),
       sync_attempts = 0, account_at = now(), updated_at = now()
     where id = :id`,
    { id, pausedAt, note },
  );
}

/** Its row stays until Temporal has heard of it and its runs are forgotten. */
export async function markScheduleDeleted(db: Queryable, id: string): Promise<void> {
  await execute(
    db,
    `update schedules set deleted_at = now(), revision = revision + 1, next_sync_at = now(), sync_attempts = 0,
       updated_at = now()
     where id = :id`,
    { id },
  );
}

/** One more due run has begun. Where it was the last, Temporal is to be told. */
export async function countRun(db: Queryable, id: string): Promise<void> {
  await execute(
    db,
    `update schedules set runs_started = runs_started + 1,
       revision = revision + case when runs_started + 1 = max_runs then 1 else 0 end,
       next_sync_at = case when runs_started + 1 = max_runs then now() else next_sync_at end
     where id = :id`,
    { id },
  );
}

export const findSchedule = (db: Queryable, id: string): Promise<ScheduleRow | undefined> =>
  queryOne<ScheduleRow>(db, `select ${columns} from schedules where id = :id and deleted_at is null`, { id });

/** Its row is locked until the end of the transaction; also when it is deleted. */
export const lockSchedule = (db: Queryable, id: string): Promise<ScheduleRow | undefined> =>
  queryOne<ScheduleRow>(db, `select ${columns} from schedules where id = :id for no key update`, { id });

export interface ScheduleFilter {
  ownerId: string | undefined;
  isPaused: boolean | undefined;
  before: { at: Date; id: string } | undefined;
  limit: number;
}

/** Newest first, keyset by (created_at, id). */
/** Made by this principal. */
export async function countSchedulesOf(db: Queryable, creatorId: string): Promise<number> {
  const row = await queryOne<{ count: number }>(
    db,
    'select count(*) as count from schedules where deleted_at is null and creator_id = :creatorId',
    { creatorId },
  );
  return Number(row?.count ?? 0);
}

export function listSchedules(db: Queryable, filter: ScheduleFilter): Promise<ScheduleRow[]> {
  const { sql, bindings } = listSchedulesSql(filter);
  return query<ScheduleRow>(db, sql, bindings);
}

export function listSchedulesSql({ ownerId, isPaused, before, limit }: ScheduleFilter) {
  const conditions = [
    'deleted_at is null',
    ...(before === undefined ? [] : ['(created_at, id) < (:at, cast(:id as uuid))']),
    ...(ownerId === undefined ? [] : ['creator_id = :ownerId']),
    ...(isPaused === undefined ? [] : [`paused_at is ${isPaused ? 'not ' : ''}null`]),
  ];
  return {
    sql: `select ${columns} from schedules where ${conditions.join(' and ')}
          order by created_at desc, id desc limit :limit`,
    bindings: {
      limit,
      ...(before && { at: before.at, id: before.id }),
      ...(ownerId !== undefined && { ownerId }),
    },
  };
}

/** Those that Temporal has not heard of, longest waiting first. */
export const listUnsynced = (db: Queryable, limit: number): Promise<ScheduleRow[]> =>
  query<ScheduleRow>(
    db,
    `select ${columns} from schedules where synced_revision < revision and next_sync_at <= now()
     order by next_sync_at limit :limit`,
    { limit },
  );

export interface Synced {
  id: string;
  revision: number;
  fingerprint: string | null;
  agrees: boolean | null;
}

/** Temporal has heard of this revision; a newer one stays to be told. */
export async function markSynced(
  db: Queryable,
  { id, revision, fingerprint, agrees }: Synced,
): Promise<void> {
  await execute(
    db,
    `update schedules set synced_revision = :revision, synced_at = now(), sync_error = null, sync_attempts = 0,
       server_fingerprint = :fingerprint, server_agrees = :agrees, looked_at = now()
     where id = :id and synced_revision <= :revision`,
    { id, revision, fingerprint, agrees },
  );
}

export async function postponeSync(
  db: Queryable,
  id: string,
  error: string,
  retryAfterMs: number,
): Promise<void> {
  await execute(
    db,
    `update schedules set sync_error = :error, sync_attempts = sync_attempts + 1,
       next_sync_at = now() + make_interval(secs => :seconds)
     where id = :id`,
    { id, error: error.slice(0, 500), seconds: retryAfterMs / 1000 },
  );
}

/** Take some that were not compared with Temporal for `olderThanMs`, longest first; taking moves them to the end. */
export const takeUnlooked = (db: Queryable, olderThanMs: number, limit: number): Promise<ScheduleRow[]> =>
  query<ScheduleRow>(
    db,
    `update schedules set looked_at = now()
     where id in (select id from schedules
       where deleted_at is null and synced_revision = revision
         and looked_at <= now() - make_interval(secs => :seconds)
       order by looked_at limit :limit for update skip locked)
     returning ${columns}`,
    { seconds: olderThanMs / 1000, limit },
  );

/** Tell Temporal again: what it holds is not what it was told. */
export async function markDrifted(db: Queryable, id: string, revision: number): Promise<void> {
  await execute(
    db,
    `update schedules set synced_revision = :before, next_sync_at = now()
     where id = :id and revision = :revision`,
    { id, revision, before: revision - 1 },
  );
}

/** One was forgotten by Temporal, so others may be: compare all of them soon. */
export async function lookSoon(db: Queryable, lookedBeforeMs: number): Promise<void> {
  await execute(
    db,
    `update schedules set looked_at = now() - make_interval(secs => :seconds)
     where deleted_at is null and synced_revision = revision
       and looked_at > now() - make_interval(secs => :seconds)`,
    { seconds: lookedBeforeMs / 1000 },
  );
}

/** Ids of those whose due times are to be accounted for. */
export async function listUnaccounted(db: Queryable, limit: number): Promise<string[]> {
  const rows = await query<{ id: string }>(
    db,
    `select id from schedules where deleted_at is null and account_at <= now() order by account_at limit :limit`,
    { limit },
  );
  return rows.map(({ id }) => id);
}

/** @param accountAt when to look next; null: never */
export async function setAccounted(
  db: Queryable,
  id: string,
  accountedUntil: Date,
  accountAt: Date | null,
): Promise<void> {
  await execute(
    db,
    `update schedules set accounted_until = greatest(accounted_until, :accountedUntil), account_at = :accountAt
     where id = :id`,
    { id, accountedUntil, accountAt },
  );
}

/** Ids of agents that a tag expression means now, of those that were not revoked. */
export async function listMatchingAgents(
  db: Queryable,
  condition: TagCondition,
  limit: number,
): Promise<string[]> {
  const rows = await query<{ id: string }>(
    db,
    `select a.id from agents a where a.revoked_at is null and ${condition.sql} order by a.id limit :limit`,
    { ...condition.bindings, limit },
  );
  return rows.map(({ id }) => id);
}

/** Those that were deleted before, that Temporal has forgotten, and whose runs are gone. @returns how many */
export async function deleteOldSchedules(db: Queryable, olderThan: Date, limit: number): Promise<number> {
  const rows = await query(
    db,
    `delete from schedules where id in (select s.id from schedules s
       where s.deleted_at < :olderThan and s.synced_revision = s.revision
         and not exists (select 1 from schedule_runs r where r.schedule_id = s.id)
       limit :limit)
     returning id`,
    { olderThan, limit },
  );
  return rows.length;
}

/** Tell every process once this commits. */
export async function notifySchedules(db: Queryable, channel: string): Promise<void> {
  await execute(db, `select pg_notify(:channel, '')`, { channel });
}
