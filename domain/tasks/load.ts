/** Find a task for somebody: not there and not visible are the same answer. */
import { problem } from '../../contracts/errors.ts';
import type { Verb } from '../../contracts/principal.ts';
import type { TaskKind, TaskView } from '../../contracts/tasks.ts';
import { findTaskByPublicId, lockTaskByPublicId, type TaskRow } from '../../db/tasks.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan, can } from '../policy.ts';
import type { Unit } from '../transact.ts';
import { toTaskView } from './view.ts';

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
  if (verb === 'propose' || verb === 'execute') assertNotBlocked(row);
  if (row.archivedAt !== null && row.endedAt === null && engineVerbs.includes(verb)) {
    throw problem('conflict', { reason: `task ${publicId} is archived; restore it first` });
  }
  if (row.kind === 'collab' && engineVerbs.includes(verb)) {
    throw problem('conflict', { reason: 'nothing runs for a collaboration task' });
  }
  return row;
}

/** What the workflow of a task is needed for. */
const engineVerbs: readonly Verb[] = ['propose', 'decide', 'execute', 'assign'];

/** What the caller holds the task for. */
export interface Expected {
  /** A task of another kind is not found. */
  kind?: TaskKind;
  /** Is the task, now that its row is locked, what the caller has seen? */
  isCurrent?: ((task: TaskView) => boolean) | undefined;
}

/** @throws task_not_found (of another kind), precondition_failed (changed meanwhile) */
export function assertExpected(task: TaskRow, { kind, isCurrent }: Expected): void {
  if (kind !== undefined && task.kind !== kind) throw problem('task_not_found', { taskId: task.publicId });
  if (isCurrent !== undefined && !isCurrent(toTaskView(task))) throw problem('precondition_failed');
}

/** @throws task_blocked */
export function assertNotBlocked(task: TaskRow): void {
  if (task.state !== 'blocked') return;
  const reason =
    task.waitingReason === 'on_hold'
      ? 'it is on hold'
      : `it waits for ${task.dependsOn.join(', ')} to complete`;
  throw problem('task_blocked', { taskId: task.publicId, reason });
}

/** Nothing was asked of it yet, and nothing goes on by itself. @throws conflict */
export function assertUntouched(task: TaskRow): void {
  const isResting =
    task.state === 'blocked' ||
    (task.mode === 'manual' &&
      task.stepNo === 0 &&
      task.requestedStep === 0 &&
      (task.state === 'created' || task.state === 'assigned'));
  if (!isResting || task.endedAt !== null)
    throw problem('conflict', { reason: `task ${task.publicId} has begun` });
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
