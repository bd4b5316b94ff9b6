/** Rollouts. Whoever changes one locks its row first; commands and their batches come after it. */
import type { RolloutPlan, RolloutState } from '../contracts/rollouts.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';

/** Counts of how targets ended. */
export interface RolloutTally {
  succeeded: number;
  failed: number;
  canceled: number;
  skipped: number;
}

export interface RolloutSelection {
  by: 'ids' | 'tags' | 'all' | 'rerun';
  tags: string | null;
}

/** What runs, as a person reads it. */
export interface RolloutRunText {
  text: string;
  savedCommandId: string | null;
  revision: number | null;
}

export interface RolloutRow {
  id: string;
  name: string;
  state: RolloutState;
  /** Counts what people did. */
  rev: number;
  creatorKind: string;
  creatorId: string;
  creatorName: string;
  selection: RolloutSelection;
  run: RolloutRunText;
  plan: RolloutPlan;
  rerunOf: string | null;
  targetCount: number;
  batchCount: number;
  hasCanary: boolean;
  /** The batch that began last; 0 before the first. */
  batchNo: number;
  /** Of the batches that have ended. */
  tally: RolloutTally;
  nextBatchAt: Date | null;
  approvalExpiresAt: Date | null;
  pausedAt: Date | null;
  cancelRequestedAt: Date | null;
  cancelReason: string | null;
  reason: string | null;
  namespaceId: string | null;
  createdAt: Date;
  startedAt: Date | null;
  endedAt: Date | null;
}

/** Counts of a row of either table, as `tally`. */
export const tallyColumns = (alias: string): string =>
  `jsonb_build_object('succeeded', ${alias}.succeeded_count, 'failed', ${alias}.failed_count,
    'canceled', ${alias}.canceled_count, 'skipped', ${alias}.skipped_count) as tally`;

const columns = `r.id, r.name, r.state, r.rev, r.creator_kind as "creatorKind", r.creator_id as "creatorId",
  r.creator_name as "creatorName", r.selection, r.run, r.plan, r.rerun_of as "rerunOf",
  r.target_count as "targetCount", r.batch_count as "batchCount", r.has_canary as "hasCanary",
  r.batch_no as "batchNo", ${tallyColumns('r')}, r.next_batch_at as "nextBatchAt",
  r.approval_expires_at as "approvalExpiresAt", r.paused_at as "pausedAt",
  r.cancel_requested_at as "cancelRequestedAt", r.cancel_reason as "cancelReason", r.reason,
  r.namespace_id as "namespaceId", r.created_at as "createdAt", r.started_at as "startedAt", r.ended_at as "endedAt"`;

export type NewRollout = Pick<
  RolloutRow,
  | 'id'
  | 'name'
  | 'creatorKind'
  | 'creatorId'
  | 'creatorName'
  | 'selection'
  | 'run'
  | 'plan'
  | 'rerunOf'
  | 'targetCount'
  | 'batchCount'
  | 'hasCanary'
>;

export async function insertRollout(db: Queryable, rollout: NewRollout): Promise<RolloutRow> {
  const row = await queryOne<RolloutRow>(
    db,
    `insert into rollouts as r (id, name, state, creator_kind, creator_id, creator_name, selection, run, plan, rerun_of,
                                target_count, batch_count, has_canary)
     values (:id, :name, 'created', :creatorKind, :creatorId, :creatorName, cast(:selection as jsonb),
             cast(:run as jsonb), cast(:plan as jsonb), :rerunOf, :targetCount, :batchCount, :hasCanary)
     returning ${columns}`,
    {
      ...rollout,
      selection: JSON.stringify(rollout.selection),
      run: JSON.stringify(rollout.run),
      plan: JSON.stringify(rollout.plan),
    },
  );
  if (row === undefined) throw new Error('an insert returned no row');
  return row;
}

export const findRollout = (db: Queryable, id: string): Promise<RolloutRow | undefined> =>
  queryOne<RolloutRow>(db, `select ${columns} from rollouts r where r.id = :id`, { id });

export interface LockedRollout extends RolloutRow {
  /** The clock of the database, by which all times of a rollout are. */
  now: Date;
}

/** Lock a rollout to change it. */
export const lockRollout = (db: Queryable, id: string): Promise<LockedRollout | undefined> =>
  queryOne<LockedRollout>(
    db,
    `select ${columns}, cast(clock_timestamp() as timestamptz(3)) as now from rollouts r where r.id = :id for update`,
    { id },
  );

/** Statement of a page, newest first, for `explain` as well. */
export const listRolloutsSql = (narrowing: { hasState: boolean; isLater: boolean }): string => {
  const conditions = [
    narrowing.hasState ? 'r.state = :state' : undefined,
    narrowing.isLater ? '(r.created_at, r.id) < (:at, cast(:id as uuid))' : undefined,
  ].filter((condition) => condition !== undefined);
  return `select ${columns} from rollouts r ${conditions.length > 0 ? `where ${conditions.join(' and ')}` : ''}
     order by r.created_at desc, r.id desc limit :limit`;
};

export const listRollouts = (
  db: Queryable,
  filter: {
    state?: RolloutState | undefined;
    before: { at: Date; id: string } | undefined;
    limit: number;
  },
): Promise<RolloutRow[]> =>
  query<RolloutRow>(
    db,
    listRolloutsSql({ hasState: filter.state !== undefined, isLater: filter.before !== undefined }),
    { limit: filter.limit, state: filter.state ?? null, ...filter.before },
  );

/** What may change of a rollout; what is not named stays. The row is locked by the caller. */
export interface RolloutPatch {
  state?: RolloutState;
  /** One more thing that people did. */
  raisesRev?: true;
  batchNo?: number;
  nextBatchAt?: Date | null;
  approvalExpiresAt?: Date | null;
  pausedAt?: Date | null;
  cancelRequestedAt?: Date;
  cancelReason?: string | null;
  reason?: string;
  startedAt?: Date;
  endedAt?: Date;
}

const patchColumns: Record<Exclude<keyof RolloutPatch, 'raisesRev'>, string> = {
  state: 'state',
  batchNo: 'batch_no',
  nextBatchAt: 'next_batch_at',
  approvalExpiresAt: 'approval_expires_at',
  pausedAt: 'paused_at',
  cancelRequestedAt: 'cancel_requested_at',
  cancelReason: 'cancel_reason',
  reason: 'reason',
  startedAt: 'started_at',
  endedAt: 'ended_at',
};

export async function updateRollout(db: Queryable, id: string, patch: RolloutPatch): Promise<RolloutRow> {
  const { raisesRev, ...values } = patch;
  const named = Object.keys(values) as (keyof typeof values)[];
  const sets = named.map((name) => `${patchColumns[name]} = :${name}`);
  if (raisesRev) sets.push('rev = r.rev + 1');
  const row = await queryOne<RolloutRow>(
    db,
    `update rollouts r set ${[...sets, 'progress_at = now()', 'updated_at = now()'].join(', ')}
     where r.id = :id returning ${columns}`,
    { id, ...values },
  );
  if (row === undefined) throw new Error(`rollout ${id} is gone`);
  return row;
}

/** Open rollouts without progress for `idleMs`, oldest first; taking them moves them to the end of the line. */
export const takeIdleRollouts = (
  db: Queryable,
  idleMs: number,
  limit: number,
): Promise<{ id: string; namespaceId: string | null }[]> =>
  query(
    db,
    `update rollouts r set progress_at = now()
     where r.id in (
       select id from rollouts where ended_at is null and progress_at < now() - make_interval(secs => :seconds)
       order by progress_at limit :limit for update skip locked)
     returning r.id, r.namespace_id as "namespaceId"`,
    { seconds: idleMs / 1000, limit },
  );

export async function setRolloutNamespace(db: Queryable, id: string, namespaceId: string): Promise<void> {
  await execute(db, 'update rollouts set namespace_id = :namespaceId where id = :id', { id, namespaceId });
}

/** A rollout's workflow was started: as `deleteStart` of tasks (db/outbox.ts). */
export async function deleteRolloutStart(
  db: Queryable,
  outboxId: number,
  { rolloutId, namespaceId }: { rolloutId: string; namespaceId: string },
): Promise<void> {
  await execute(
    db,
    `with delivered as (delete from outbox where id = :outboxId)
     update rollouts set namespace_id = :namespaceId where id = :rolloutId`,
    { outboxId, rolloutId, namespaceId },
  );
}
