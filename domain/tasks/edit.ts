/** Change what a task says, what it waits for, and where it stands, in one transaction. */
import { problem } from '../../contracts/errors.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { type TaskPatch, type TaskRow, updateTask } from '../../db/tasks.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { transact, type Unit } from '../transact.ts';
import { blockTask, needDependencies, unblockTask, WAITS_FOR_TASKS } from './dependencies.ts';
import { assertUntouched, lockTaskRow } from './load.ts';
import { holdDependencies, reportStatusIn, type StatusReport } from './report-status.ts';
import { toTaskView } from './view.ts';

export interface TaskChange
  extends Partial<
    Pick<TaskRow, 'title' | 'goal' | 'priority' | 'tags' | 'teamId' | 'roleId' | 'templateId'>
  > {
  /** Replaces what it waits for. */
  dependsOn?: readonly string[];
  /** Where it stands, as `reportStatus` takes it, and a family's word for that. */
  report?: StatusReport & { label?: string | null };
}

/**
 * @throws forbidden, task_not_found, task_not_open (the goal of an ended task; its seal speaks of it), conflict,
 *   missing_dependencies, dependency_cycle_detected, and what `reportStatus` throws
 */
export async function editTask(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  change: TaskChange,
): Promise<TaskView> {
  return transact(deps, async (unit) => toTaskView(await editTaskIn(unit, actor, publicId, change)));
}

/** As editTask, in a unit of work that does more. Nothing else may have been locked before. */
export async function editTaskIn(
  unit: Unit,
  actor: Actor,
  publicId: string,
  change: TaskChange,
): Promise<TaskRow> {
  const { dependsOn, report, ...columns } = change;
  // What it waits for is locked before the task itself: the order of all who lock both.
  const undone =
    dependsOn === undefined ? [] : await needDependencies(unit, actor, publicId, dependsOn, false);
  const held = report?.status === 'waiting' ? await holdDependencies(unit, publicId) : [];
  let task = await lockTaskRow(unit, actor, publicId, report?.status === 'canceled' ? 'cancel' : 'update');
  const isRestart = report?.status === 'waiting' && task.endedAt !== null;
  if (task.endedAt !== null && columns.goal !== undefined && columns.goal !== task.goal && !isRestart) {
    throw problem('task_not_open', { taskId: publicId, state: task.state });
  }
  if (isRestart) task = await reportStatusIn(unit, actor, task, report, held);
  task = await writeColumns(unit, actor, task, columns);
  if (dependsOn !== undefined) task = await setDependencies(unit, actor, task, dependsOn, undone);
  if (report !== undefined && !isRestart) {
    const current = dependsOn === undefined ? held : task.dependsOn;
    task = await reportStatusIn(unit, actor, task, report, current);
  }
  return report?.label === undefined ? task : setLabel(unit, task, report.label);
}

async function writeColumns(unit: Unit, actor: Actor, task: TaskRow, columns: TaskPatch): Promise<TaskRow> {
  const changed = Object.entries(columns).filter(
    ([name, value]) => JSON.stringify(task[name as keyof TaskRow]) !== JSON.stringify(value),
  );
  if (changed.length === 0) return task;
  const names = changed.map(([name]) => name);
  const updated = await updateTask(unit.trx, task.id, Object.fromEntries(changed));
  announceChange(unit, actor, task, names);
  return updated;
}

/** The task begins to wait, waits for something else, or begins. */
async function setDependencies(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  dependsOn: readonly string[],
  undone: readonly string[],
): Promise<TaskRow> {
  if (task.dependsOn.join() === dependsOn.join()) return task;
  if (undone.length > 0) assertUntouched(task);
  const updated = await updateTask(unit.trx, task.id, { dependsOn: [...dependsOn] });
  announceChange(unit, actor, task, ['dependsOn']);
  if (undone.length > 0) return blockTask(unit, updated, WAITS_FOR_TASKS, undone);
  const isReleased = updated.state === 'blocked' && updated.waitingReason === WAITS_FOR_TASKS;
  return isReleased ? unblockTask(unit, updated) : updated;
}

/** A label means something where a state has two words: it goes with the state that nobody is at it. */
async function setLabel(unit: Unit, task: TaskRow, label: string | null): Promise<TaskRow> {
  const isAtRest = task.state === 'created' || task.state === 'assigned';
  if (!isAtRest || (task.statusLabel === label && (label === null || task.state === 'created'))) return task;
  return updateTask(unit.trx, task.id, {
    statusLabel: label,
    ...(label !== null && task.state === 'assigned' && { state: 'created' }),
  });
}

function announceChange(unit: Unit, actor: Actor, task: TaskRow, changed: string[]): void {
  unit.audit(actor, {
    action: 'task.update',
    targetKind: 'task',
    targetId: task.publicId,
    details: { changed },
  });
  unit.emit('task.updated', { taskId: task.id, ownerId: task.creatorId, data: { changed } });
}
