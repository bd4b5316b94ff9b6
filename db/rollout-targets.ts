/** The targets of rollouts: fixed when the rollout is created, each with at most one command. */
import type { RolloutTargetState } from '../contracts/rollouts.ts';
import type { CommandTargetRow, TagCondition } from './agents.ts';
import { execute, type Queryable, query } from './database.ts';

export interface RolloutTargetRow {
  position: number;
  agentId: string;
  hostname: string;
  batchNo: number;
  digest: string | null;
  commandId: string | null;
  state: RolloutTargetState;
  reason: string | null;
  exitCode: number | null;
  finishedAt: Date | null;
}

/** Agents that can be targets, by id. */
export const listUsableAgents = (
  db: Queryable,
  condition: TagCondition | undefined,
  limit: number,
): Promise<CommandTargetRow[]> =>
  query<CommandTargetRow>(
    db,
    `select a.id, a.hostname, a.os, a.delivery, a.shells, a.default_shell as "defaultShell", false as "isRevoked"
     from agents a where a.revoked_at is null ${condition === undefined ? '' : `and ${condition.sql}`}
     order by a.id limit :limit`,
    { limit, ...condition?.bindings },
  );

export interface NewRolloutTarget {
  agentId: string;
  batchNo: number;
  digest: string | null;
}

/** In the order of their turn. */
export async function insertRolloutTargets(
  db: Queryable,
  rolloutId: string,
  targets: readonly NewRolloutTarget[],
): Promise<void> {
  await execute(
    db,
    `insert into rollout_targets (rollout_id, position, agent_id, batch_no, digest)
     select cast(:id as uuid), position, "agentId", "batchNo", digest
     from jsonb_to_recordset(cast(:targets as jsonb))
       as t(position integer, "agentId" text, "batchNo" integer, digest text)`,
    {
      id: rolloutId,
      targets: JSON.stringify(targets.map((target, position) => ({ ...target, position }))),
    },
  );
}

/** Of one batch, in the order of their turn. */
export const listBatchTargets = (
  db: Queryable,
  rolloutId: string,
  batchNo: number,
): Promise<{ agentId: string; digest: string | null }[]> =>
  query(
    db,
    `select agent_id as "agentId", digest from rollout_targets
     where rollout_id = :rolloutId and batch_no = :batchNo order by position`,
    { rolloutId, batchNo },
  );

/** Note which command each target of a batch got, or why it got none. */
export async function assignRolloutTargets(
  db: Queryable,
  rolloutId: string,
  assigned: readonly ({ agentId: string } & ({ commandId: string } | { skipped: string }))[],
): Promise<void> {
  await execute(
    db,
    `update rollout_targets t
     set command_id = a.command_id, outcome = case when a.reason is null then null else 'skipped' end, reason = a.reason
     from jsonb_to_recordset(cast(:assigned as jsonb)) as a(agent_id text, command_id uuid, reason text)
     where t.rollout_id = :rolloutId and t.agent_id = a.agent_id`,
    {
      rolloutId,
      assigned: JSON.stringify(
        assigned.map((one) => ({
          agent_id: one.agentId,
          command_id: 'commandId' in one ? one.commandId : null,
          reason: 'skipped' in one ? one.skipped : null,
        })),
      ),
    },
  );
}

/** Take the outcomes of a batch over from its commands. @returns how many targets ended in each way */
export const settleRolloutTargets = (
  db: Queryable,
  rolloutId: string,
  batchNo: number,
): Promise<{ outcome: string; count: number }[]> =>
  query(
    db,
    `with taken as (
       update rollout_targets t set outcome = c.state, reason = c.reason
       from commands c
       where t.rollout_id = :rolloutId and t.batch_no = :batchNo and c.command_id = t.command_id
       returning t.outcome
     ), all_outcomes as (
       select outcome from taken
       union all
       select outcome from rollout_targets
       where rollout_id = :rolloutId and batch_no = :batchNo and command_id is null and outcome is not null
     )
     select outcome, count(*) as count from all_outcomes group by outcome`,
    { rolloutId, batchNo },
  );

/** A target as it stands: its command says, while it has one (late evidence included). */
const stateSql = `coalesce(c.state, t.outcome, case when r.ended_at is null then 'pending' else 'not_run' end)`;
const targetJoins = `rollout_targets t
  join rollouts r on r.id = t.rollout_id
  join agents a on a.id = t.agent_id
  left join commands c on c.command_id = t.command_id`;

/** Statement of a page in the order of their turn, for `explain` as well. */
export const listTargetsSql = (narrowing: { hasState: boolean; hasBatch: boolean }): string => `
  select t.position, t.agent_id as "agentId", a.hostname, t.batch_no as "batchNo", t.digest,
         t.command_id as "commandId", ${stateSql} as state, coalesce(c.reason, t.reason) as reason,
         c.exit_code as "exitCode", c.finished_at as "finishedAt"
  from ${targetJoins}
  where t.rollout_id = :rolloutId and t.position > :after
    ${narrowing.hasBatch ? 'and t.batch_no = :batchNo' : ''}
    ${narrowing.hasState ? `and ${stateSql} = :state` : ''}
  order by t.position limit :limit`;

export const listRolloutTargets = (
  db: Queryable,
  rolloutId: string,
  page: {
    after: number;
    limit: number;
    state?: RolloutTargetState | undefined;
    batchNo?: number | undefined;
  },
): Promise<RolloutTargetRow[]> =>
  query<RolloutTargetRow>(
    db,
    listTargetsSql({ hasState: page.state !== undefined, hasBatch: page.batchNo !== undefined }),
    {
      rolloutId,
      after: page.after,
      limit: page.limit,
      state: page.state ?? null,
      batchNo: page.batchNo ?? null,
    },
  );

/** Of an ended rollout those that ended in one of these ways and could be targets again, in the order of their turn. */
export const listRerunTargets = (
  db: Queryable,
  rolloutId: string,
  states: readonly RolloutTargetState[],
): Promise<{ agentId: string; digest: string | null }[]> =>
  query(
    db,
    `select t.agent_id as "agentId", t.digest from ${targetJoins}
     where t.rollout_id = :rolloutId and a.revoked_at is null and ${stateSql} = any(cast(:states as text[]))
     order by t.position`,
    { rolloutId, states: [...states] },
  );

/** Which of these batches of the ledger have commands without a final state. */
export async function listOpenBatches(db: Queryable, batchIds: readonly string[]): Promise<string[]> {
  if (batchIds.length === 0) return [];
  const rows = await query<{ id: string }>(
    db,
    'select id from batches where id = any(cast(:ids as uuid[])) and pending > 0 order by id',
    { ids: [...batchIds] },
  );
  return rows.map(({ id }) => id);
}

/** How the commands of these batches stand now. */
export const countBatchStates = (
  db: Queryable,
  batchIds: readonly string[],
): Promise<{ batchId: string; state: string; count: number }[]> =>
  batchIds.length === 0
    ? Promise.resolve([])
    : query(
        db,
        `select batch_id as "batchId", state, count(*) as count from commands
         where batch_id = any(cast(:ids as uuid[])) group by batch_id, state`,
        { ids: [...batchIds] },
      );
