/** Lists of one kind of task, and by which version their reader knows that nothing has changed since. */
import { problem } from '../../contracts/errors.ts';
import type { TaskState, TaskView } from '../../contracts/tasks.ts';
import { type CountedKind, listBriefTasks, readTaskVersion } from '../../db/task-kinds.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan, visibleOwner } from '../policy.ts';
import { getTask } from './read.ts';
import { type TaskBrief, toTaskBrief } from './view.ts';

/** Neither deleted nor archived, newest first; whoever may not see all is shown their own. @throws forbidden */
export async function listTasksOfKind(
  deps: DomainDeps,
  actor: Actor,
  kind: CountedKind,
  filter: { states?: readonly TaskState[] | undefined; skip: number; limit: number },
): Promise<TaskBrief[]> {
  assertCan(actor.principal, 'list', 'task');
  const creatorId = visibleOwner(actor.principal, 'task');
  return (await listBriefTasks(deps.db, { ...filter, kind, creatorId })).map(toTaskBrief);
}

/** @throws forbidden, task_not_found */
export async function getTaskOfKind(
  deps: DomainDeps,
  actor: Actor,
  kind: CountedKind,
  publicId: string,
): Promise<TaskView> {
  const task = await getTask(deps, actor, publicId);
  if (task.kind !== kind) throw problem('task_not_found', { taskId: publicId });
  return task;
}

/**
 * Where the tasks of a kind stand, as far as the actor sees them. The same version in the same scope: nothing of it has
 * changed. Read it before the tasks: what changes in between then has a version that was not given yet.
 * @throws forbidden
 */
export async function getTaskVersion(
  deps: DomainDeps,
  actor: Actor,
  kind: CountedKind,
): Promise<{ scope: string; version: number }> {
  assertCan(actor.principal, 'list', 'task');
  const creatorId = visibleOwner(actor.principal, 'task');
  const version = await readTaskVersion(deps.db, kind, creatorId);
  return { scope: `${kind} ${creatorId ?? '*'}`, version };
}
