/** Read tasks, their steps and their timeline. */
import { actText } from '../../contracts/act.ts';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import type { StepView, TaskListQuery, TaskView } from '../../contracts/tasks.ts';
import { findAct } from '../../db/acts.ts';
import { listTaskCommands } from '../../db/commands.ts';
import { listSteps } from '../../db/steps.ts';
import { listTasks, type TaskRow } from '../../db/tasks.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan, visibleOwner } from '../policy.ts';
import { getTaskRow } from './load.ts';
import { toStepView, toTaskView } from './view.ts';

/** @throws task_not_found */
export async function getTask(deps: DomainDeps, actor: Actor, publicId: string): Promise<TaskView> {
  return toTaskView(await getTaskRow(deps, actor, publicId, 'read'));
}

/** Newest first. @throws invalid_cursor */
export async function listTaskViews(
  deps: DomainDeps,
  actor: Actor,
  filter: TaskListQuery,
): Promise<Page<TaskView>> {
  assertCan(actor.principal, 'list', 'task');
  const rows = await listTasks(deps.db, {
    state: filter.state,
    mode: filter.mode,
    kind: filter.kind,
    agentId: filter.agentId,
    creatorId: visibleOwner(actor.principal, 'task'),
    open: filter.open === undefined ? undefined : filter.open === 'true',
    archived: filter.archived === 'true',
    before: uuidPositionOf(filter.cursor),
    limit: filter.limit + 1,
  });
  const page = pageOfRows(rows, filter.limit, (row) => ({ at: row.createdAt, id: row.id }));
  return { items: page.items.map(toTaskView), nextCursor: page.nextCursor };
}

/** The steps of the task's present run, in order. */
export async function listStepViews(deps: DomainDeps, actor: Actor, publicId: string): Promise<StepView[]> {
  return stepViewsOf(deps, await getTaskRow(deps, actor, publicId, 'read'));
}

/** @throws step_not_found */
export async function getStepView(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  step: number,
): Promise<StepView> {
  const views = await listStepViews(deps, actor, publicId);
  const view = views.find((candidate) => candidate.step === step);
  if (view === undefined) throw problem('step_not_found', { taskId: publicId, step });
  return view;
}

async function stepViewsOf(deps: DomainDeps, task: TaskRow): Promise<StepView[]> {
  const steps = await listSteps(deps.db, task.id, task.runNo);
  const commands = steps.some((step) => step.batchId !== null)
    ? await listTaskCommands(deps.db, task.id, task.runNo)
    : [];
  return Promise.all(
    steps.map(async (step) => {
      const original = step.originalDigest === null ? undefined : await findAct(deps.db, step.originalDigest);
      return toStepView(task, step, commands, original === undefined ? null : actText(original.act));
    }),
  );
}
