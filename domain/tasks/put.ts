/** Create a task where it already stands somewhere, and change one or create it: as clients that keep their own ids do. */
import type { CreateTaskBody, TaskView } from '../../contracts/tasks.ts';
import { findTaskByPublicId, type TaskRow } from '../../db/tasks.ts';
import type { Actor } from '../deps.ts';
import { transact, type Unit } from '../transact.ts';
import { type CreateTaskDeps, type CreateTaskOptions, createTaskIn } from './create.ts';
import { editTaskIn, type TaskChange } from './edit.ts';
import { type ReportedStatus, reportStatusIn } from './report-status.ts';
import { toTaskView } from './view.ts';

export interface NewTask {
  body: CreateTaskBody;
  options: CreateTaskOptions;
  /** Where it stands from the start. What it depends on has the last word, unless it has ended. */
  status?: ReportedStatus | undefined;
}

/** @throws as `createTask`, and what `reportStatus` throws */
export async function createTaskAt(deps: CreateTaskDeps, actor: Actor, task: NewTask): Promise<TaskView> {
  return transact(deps, async (unit) => toTaskView(await createAtIn(unit, deps, actor, task)));
}

/**
 * Change the task with this id, or create it where there is none (with its right).
 * @throws as `editTask`, and as `createTask` where it creates
 */
export async function putTask(
  deps: CreateTaskDeps,
  actor: Actor,
  publicId: string,
  { change, asNew }: { change: TaskChange; asNew: NewTask },
): Promise<TaskView> {
  return transact(deps, async (unit) => {
    const isThere = (await findTaskByPublicId(unit.trx, publicId)) !== undefined;
    const row = isThere
      ? await editTaskIn(unit, actor, publicId, change)
      : await createAtIn(unit, deps, actor, asNew);
    return toTaskView(row);
  });
}

async function createAtIn(
  unit: Unit,
  deps: CreateTaskDeps,
  actor: Actor,
  { body, options, status = 'waiting' }: NewTask,
): Promise<TaskRow> {
  const { task, created } = await createTaskIn(unit, deps, actor, body, options);
  if (!created || status === 'waiting') return task;
  const isOpenStatus = status === 'running' || status === 'blocked';
  if (task.state === 'blocked' && isOpenStatus) return task;
  return reportStatusIn(unit, actor, task, { status }, task.dependsOn);
}
