/** Find a task for somebody: not there and not visible are the same answer. */
import { problem } from '../../contracts/errors.ts';
import type { Verb } from '../../contracts/principal.ts';
import { findTaskByPublicId, lockTaskByPublicId, type TaskRow } from '../../db/tasks.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan, can } from '../policy.ts';
import type { Unit } from '../transact.ts';

/** @throws forbidden (never may do this), task_not_found (not there, or not the actor's) */
export async function getTaskRow(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  verb: Verb,
): Promise<TaskRow> {
  assertCan(actor.principal, verb, 'task');
  return visible(actor, publicId, verb, await findTaskByPublicId(deps.db, publicId));
}

/** As getTaskRow, with the row locked: what is checked on it stays true until the unit commits. */
export async function lockTaskRow(unit: Unit, actor: Actor, publicId: string, verb: Verb): Promise<TaskRow> {
  assertCan(actor.principal, verb, 'task');
  return visible(actor, publicId, verb, await lockTaskByPublicId(unit.trx, publicId));
}

function visible(actor: Actor, publicId: string, verb: Verb, row: TaskRow | undefined): TaskRow {
  if (row === undefined || !can(actor.principal, 'read', 'task', row.creatorId)) {
    throw problem('task_not_found', { taskId: publicId });
  }
  assertCan(actor.principal, verb, 'task', row.creatorId);
  return row;
}

/** @throws task_not_open */
export function assertOpen(task: TaskRow): void {
  if (task.endedAt !== null || task.cancelRequestedAt !== null) {
    throw problem('task_not_open', {
      taskId: task.publicId,
      state: task.endedAt === null ? 'cancel requested' : task.state,
    });
  }
}
