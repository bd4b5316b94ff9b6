/** What tasks wait for: public ids in `tasks.depends_on`. */
import type { TaskState } from '../contracts/tasks.ts';
import { execute, type Queryable, query, queryOne, type Trx } from './database.ts';
import { lockKeys } from './lock-keys.ts';
import { type TaskRow, taskColumns } from './tasks.ts';

/** After so many rounds it is left to the database to see that nobody waits for ever. */
const MAX_LOCK_ROUNDS = 20;

/** Of tasks: something can wait for them. */
const wanted = `public_id = any(cast(:ids as text[])) and deleted_at is null and kind <> 'collab'`;

export interface NeededTaskRow {
  publicId: string;
  state: TaskState;
  creatorId: string;
}

/**
 * Lock the tasks that another one is to wait for and remember that they are needed, so that none of them ends unseen
 * until this commits. Those that are not there (or deleted, or notes, for which nothing runs) are left out.
 */
export async function needTasks(trx: Trx, publicIds: readonly string[]): Promise<NeededTaskRow[]> {
  if (publicIds.length > 1) await lockTogether(trx, publicIds);
  return query<NeededTaskRow>(
    trx,
    `update tasks t set is_needed = true
     from (select id from tasks
           where ${wanted}
           order by id for update) needed
     where t.id = needed.id
     returning t.public_id as "publicId", t.state, t.creator_id as "creatorId"`,
    { ids: [...publicIds] },
  );
}

/**
 * Lock them all while none of them is held: one of them may wait for another, whose end holds that one and locks this
 * one then. So whoever finds one taken gives back the others, waits for it alone, and tries the rest again.
 */
async function lockTogether(trx: Trx, publicIds: readonly string[]): Promise<void> {
  const ids = [...publicIds];
  await execute(trx, 'savepoint lock_together');
  for (let round = 1; round <= MAX_LOCK_ROUNDS; round += 1) {
    const locked = await query<{ id: string }>(
      trx,
      `select id from tasks where ${wanted} order by id for update skip locked`,
      { ids },
    );
    const taken = await queryOne<{ id: string }>(
      trx,
      `select id from tasks where ${wanted} and id <> all(cast(:locked as uuid[])) order by id limit 1`,
      { ids, locked: locked.map(({ id }) => id) },
    );
    if (taken === undefined) return;
    await execute(trx, 'rollback to savepoint lock_together');
    await execute(trx, 'select id from tasks where id = :id for update', { id: taken.id });
  }
}

/** Those of them that have not completed, in the order given; what is not there never will. */
export async function listUndone(db: Queryable, publicIds: readonly string[]): Promise<string[]> {
  if (publicIds.length === 0) return [];
  const rows = await query<{ id: string }>(
    db,
    `select public_id as id from tasks where public_id = any(cast(:ids as text[])) and state = 'completed'`,
    { ids: [...publicIds] },
  );
  const done = new Set(rows.map(({ id }) => id));
  return publicIds.filter((id) => !done.has(id));
}

/** The tasks that wait for this one, locked. */
export function lockWaitingFor(trx: Trx, publicId: string): Promise<TaskRow[]> {
  return query<TaskRow>(
    trx,
    `select ${taskColumns} from tasks t
     where t.state = 'blocked' and t.depends_on @> array[cast(:id as text)] and t.deleted_at is null
     order by t.created_at, t.id for update`,
    { id: publicId },
  );
}

/** Until the transaction ends nobody else changes what an existing task waits for. */
export async function lockDependencies(trx: Trx): Promise<void> {
  await execute(trx, 'select pg_advisory_xact_lock(:key)', { key: lockKeys.taskDependencies });
}

/** Does any of these tasks wait for the task, at once or by way of others? */
export async function leadsTo(db: Queryable, publicIds: readonly string[], target: string): Promise<boolean> {
  const rows = await query(
    db,
    `with recursive reached (public_id) as (
       select unnest(cast(:ids as text[]))
       union
       select unnest(t.depends_on) from tasks t join reached r on t.public_id = r.public_id
     )
     select 1 as found from reached where public_id = :target limit 1`,
    { ids: [...publicIds], target },
  );
  return rows.length > 0;
}
