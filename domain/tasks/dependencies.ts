/**
 * Tasks that wait for other tasks.
 *
 *  A. A task is blocked while one of those it depends on has not completed. Nothing runs for it and it has no workflow;
 *     that starts when it is released. What it waits is not counted against its deadline.
 *  B. Whoever completes a task releases, in the same transaction, those that waited for nothing else. Nobody polls.
 *  C. A dependency that failed, expired, or was canceled or deleted releases nobody: it may be started again, or taken
 *     out of the list. That it was archived says nothing. One that is started again later blocks nobody it has released.
 *  D. Locks are taken from the dependency to what waits for it: the dependencies first, then the task itself. So an end
 *     that comes meanwhile sees the task that waits, or the task sees the end.
 */
import { problem } from '../../contracts/errors.ts';
import type { TaskEnd } from '../../contracts/tasks.ts';
import {
  leadsTo,
  listUndone,
  lockDependencies,
  lockWaitingFor,
  needTasks,
} from '../../db/task-dependencies.ts';
import { type TaskRow, updateTask } from '../../db/tasks.ts';
import type { Actor } from '../deps.ts';
import { can } from '../policy.ts';
import type { Unit } from '../transact.ts';
import { startWorkflow } from './start.ts';

/** `waitingReason` of a blocked task. */
export const WAITS_FOR_TASKS = 'dependencies';
export const ON_HOLD = 'on_hold';

/**
 * Before a task is created, or its dependencies change: they are there, the actor may see them, and none of them waits
 * for it. They stay as they are until the unit commits (D).
 * @param taskId public id of the task; it need not exist yet
 * @returns those that have not completed
 * @throws missing_dependencies, dependency_cycle_detected
 */
export async function needDependencies(
  unit: Unit,
  actor: Actor,
  taskId: string,
  dependsOn: readonly string[],
  isNew: boolean,
): Promise<string[]> {
  if (dependsOn.length === 0) return [];
  if (dependsOn.includes(taskId)) throw problem('dependency_cycle_detected');
  if (!isNew) await lockDependencies(unit.trx);
  const found = await needTasks(unit.trx, dependsOn);
  const known = new Map(
    found
      .filter(({ creatorId }) => can(actor.principal, 'read', 'task', creatorId))
      .map((row) => [row.publicId, row]),
  );
  const missing = dependsOn.filter((id) => !known.has(id));
  if (missing.length > 0) throw problem('missing_dependencies', { taskIds: missing.join(',') });
  // Nothing can wait yet for a task that is not there yet.
  if (!isNew && (await leadsTo(unit.trx, dependsOn, taskId))) throw problem('dependency_cycle_detected');
  return dependsOn.filter((id) => known.get(id)?.state !== 'completed');
}

/** A locked task that nothing runs for waits from now on. */
export async function blockTask(
  unit: Unit,
  task: TaskRow,
  why: typeof WAITS_FOR_TASKS | typeof ON_HOLD,
  waitsFor: readonly string[],
): Promise<TaskRow> {
  const blocked = await updateTask(unit.trx, task.id, {
    state: 'blocked',
    waitingReason: why,
    blockedAt: task.blockedAt ?? new Date(),
  });
  announceBlocked(unit, task, why, waitsFor);
  return blocked;
}

export function announceBlocked(
  unit: Unit,
  task: Pick<TaskRow, 'id' | 'creatorId'>,
  why: string,
  waitsFor: readonly string[],
): void {
  unit.emit('task.blocked', {
    taskId: task.id,
    ownerId: task.creatorId,
    data: { reason: why, waitsFor: [...waitsFor] },
  });
}

/** A locked, blocked task goes on, or begins: its workflow starts, where it has none yet. */
export async function unblockTask(unit: Unit, task: TaskRow): Promise<TaskRow> {
  const waitedMs = task.blockedAt === null ? 0 : Math.max(Date.now() - task.blockedAt.getTime(), 0);
  const released = await updateTask(unit.trx, task.id, {
    state: task.agentId === null ? 'created' : 'assigned',
    waitingReason: null,
    blockedAt: null,
    deadlineAt: new Date(task.deadlineAt.getTime() + waitedMs),
  });
  unit.emit('task.unblocked', { taskId: task.id, ownerId: task.creatorId, data: {} });
  // A workflow that runs already stays the one: the id is the same.
  if (task.kind !== 'collab') startWorkflow(unit, released);
  return released;
}

/** A task has ended: those that waited for nothing but it begin (B); others are told what they wait for in vain (C). */
export async function tellWaiting(unit: Unit, task: TaskRow, end: TaskEnd): Promise<void> {
  if (!task.isNeeded) return;
  for (const waiting of await lockWaitingFor(unit.trx, task.publicId)) {
    if (end !== 'completed') {
      unit.emit('task.waiting', {
        taskId: waiting.id,
        ownerId: waiting.creatorId,
        data: { reason: 'dependency_not_completed', dependency: task.publicId, end },
      });
      continue;
    }
    if (waiting.waitingReason !== WAITS_FOR_TASKS) continue;
    if ((await listUndone(unit.trx, waiting.dependsOn)).length === 0) await unblockTask(unit, waiting);
  }
}
