/** What happens to an ended task: archived, restored, deleted. */
import { problem } from '../../contracts/errors.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { findOpenBatch } from '../../db/batches.ts';
import { findStep } from '../../db/steps.ts';
import { archiveTasksEndedBefore, markTaskDeleted, type TaskRow, updateTask } from '../../db/tasks.ts';
import { type Actor, type DomainDeps, engineActor } from '../deps.ts';
import { isRepeatedRequest, type RequestKey } from '../idempotency.ts';
import { transact, type Unit } from '../transact.ts';
import { isHeld } from './held.ts';
import { lockTaskRow } from './load.ts';
import { isUnjudged } from './unjudged.ts';
import { toTaskView } from './view.ts';

/**
 * Archiving an archived task again is the same answer.
 * @param options.evenOpen also a task in manual mode that nothing runs for: it stays as it is, and nothing can be asked of
 *   it until it is restored
 * @throws task_not_found, conflict (still open)
 */
export async function archiveTask(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  requestKey: RequestKey | null,
  { evenOpen = false }: { evenOpen?: boolean } = {},
): Promise<TaskView> {
  return transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'archive');
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, 'task.archive', task.id))
      return toTaskView(task);
    if (!(evenOpen && (await isAtRest(unit, task)))) assertEnded(task);
    if (task.archivedAt !== null) return toTaskView(task);
    const archived = await updateTask(unit.trx, task.id, { archivedAt: new Date() });
    unit.audit(actor, { action: 'task.archive', targetKind: 'task', targetId: publicId });
    unit.emit('task.archived', { taskId: task.id, ownerId: task.creatorId, data: {} });
    return toTaskView(archived);
  });
}

/** @throws task_not_found */
export async function restoreTask(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  requestKey: RequestKey | null,
): Promise<TaskView> {
  return transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'archive');
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, 'task.restore', task.id))
      return toTaskView(task);
    if (task.archivedAt === null) return toTaskView(task);
    const restored = await updateTask(unit.trx, task.id, { archivedAt: null });
    unit.audit(actor, { action: 'task.restore', targetKind: 'task', targetId: publicId });
    unit.emit('task.restored', { taskId: task.id, ownerId: task.creatorId, data: {} });
    return toTaskView(restored);
  });
}

/** Hide an ended task for good; its ledger and audit rows stay. @throws task_not_found, conflict (still open) */
export async function deleteTask(deps: DomainDeps, actor: Actor, publicId: string): Promise<void> {
  await transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'delete');
    assertEnded(task);
    await markTaskDeleted(unit.trx, task.id);
    unit.audit(actor, { action: 'task.delete', targetKind: 'task', targetId: publicId });
    unit.emit('task.deleted', { taskId: task.id, ownerId: task.creatorId, data: {} });
  });
}

/** Nobody is at it: nothing is proposed, asked for or out. */
async function isAtRest(unit: Unit, task: TaskRow): Promise<boolean> {
  if (task.kind === 'collab') return true;
  if (task.mode !== 'manual' || task.requestedStep > task.stepNo || task.cancelRequestedAt !== null)
    return false;
  if ((await findOpenBatch(unit.trx, task.id, task.runNo)) !== undefined) return false;
  if (await isUnjudged(unit, task)) return false;
  const newest = task.stepNo > 0 ? await findStep(unit.trx, task.id, task.runNo, task.stepNo) : undefined;
  return newest === undefined || (newest.decision !== null && !isHeld(newest));
}

function assertEnded(task: TaskRow): void {
  if (task.endedAt === null)
    throw problem('conflict', { reason: `task ${task.publicId} is still open (${task.state})` });
}

/** The retention's side: archive tasks that ended before a time. Returns how many. */
export async function archiveEndedTasks(
  deps: DomainDeps,
  input: { endedBefore: Date; limit: number },
): Promise<number> {
  return transact(deps, async (unit) => {
    const tasks = await archiveTasksEndedBefore(unit.trx, input.endedBefore, input.limit);
    for (const task of tasks) {
      unit.audit(engineActor, {
        action: 'task.archive',
        targetKind: 'task',
        targetId: task.publicId,
        details: { by: 'retention' },
      });
      unit.emit('task.archived', { taskId: task.id, ownerId: task.creatorId });
    }
    return tasks.length;
  });
}
