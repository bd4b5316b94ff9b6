import {
  archiveTaskRoute,
  assignTaskRoute,
  cancelTaskRoute,
  createTaskRoute,
  decideRoute,
  deleteTaskRoute,
  editTaskRoute,
  executeRoute,
  getTaskRoute,
  listStepsRoute,
  listTasksRoute,
  proposeRoute,
  restoreTaskRoute,
  timelineRoute,
} from '../../../contracts/task-routes.ts';
import type { StepView, TaskView } from '../../../contracts/tasks.ts';
import type { Actor, DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { archiveTask, deleteTask, restoreTask } from '../../../domain/tasks/archive.ts';
import { assignTask } from '../../../domain/tasks/assign.ts';
import { createTask } from '../../../domain/tasks/create.ts';
import { decide } from '../../../domain/tasks/decide.ts';
import { editTask } from '../../../domain/tasks/edit.ts';
import { cancelTask } from '../../../domain/tasks/end.ts';
import { executeTask } from '../../../domain/tasks/execute.ts';
import { getStepView, getTask, listStepViews, listTaskViews } from '../../../domain/tasks/read.ts';
import { requestProposal } from '../../../domain/tasks/request-proposal.ts';
import { getTimeline } from '../../../domain/tasks/timeline.ts';
import type { Hub } from '../../events/hub.ts';
import { waitFor } from '../../events/wait.ts';
import { type MountedRoute, mount } from '../../mount.ts';

export type TaskRouteDeps = DomainDeps & { hub: Hub };

/** `/v1/tasks`: goals, their steps, and what people decide about them. */
export function taskRoutes(deps: TaskRouteDeps): MountedRoute[] {
  return [...readingRoutes(deps), ...lifeRoutes(deps), ...stepRoutes(deps)];
}

function readingRoutes(deps: TaskRouteDeps): MountedRoute[] {
  return [
    mount(listTasksRoute, async (request) => {
      return { status: 200, body: await listTaskViews(deps, request, request.query) };
    }),
    mount(getTaskRoute, async (request) => {
      return { status: 200, body: await getTask(deps, request, request.params.taskId) };
    }),
    mount(listStepsRoute, async (request) => {
      return { status: 200, body: { items: await listStepViews(deps, request, request.params.taskId) } };
    }),
    mount(timelineRoute, async (request) => {
      return { status: 200, body: { items: await getTimeline(deps, request, request.params.taskId) } };
    }),
  ];
}

function lifeRoutes(deps: TaskRouteDeps): MountedRoute[] {
  return [
    mount(createTaskRoute, async (request) => {
      const { idempotencyKey } = request;
      const { task, created } = await createTask(deps, request, request.body, { idempotencyKey });
      return { status: created ? 201 : 200, headers: { Location: `/v1/tasks/${task.id}` }, body: task };
    }),
    mount(editTaskRoute, async (request) => {
      return { status: 200, body: await editTask(deps, request, request.params.taskId, request.body) };
    }),
    mount(deleteTaskRoute, async (request) => {
      await deleteTask(deps, request, request.params.taskId);
      return { status: 204 };
    }),
    mount(assignTaskRoute, async (request) => {
      const { taskId } = request.params;
      const key = requestKeyOf(request, { taskId, ...request.body });
      return { status: 200, body: await assignTask(deps, request, taskId, request.body.agentId, key) };
    }),
    mount(cancelTaskRoute, async (request) => {
      const { taskId } = request.params;
      const key = requestKeyOf(request, { taskId, ...request.body });
      return { status: 200, body: await cancelTask(deps, request, taskId, request.body.reason, key) };
    }),
    mount(archiveTaskRoute, async (request) => {
      const { taskId } = request.params;
      return {
        status: 200,
        body: await archiveTask(deps, request, taskId, requestKeyOf(request, { taskId })),
      };
    }),
    mount(restoreTaskRoute, async (request) => {
      const { taskId } = request.params;
      return {
        status: 200,
        body: await restoreTask(deps, request, taskId, requestKeyOf(request, { taskId })),
      };
    }),
  ];
}

function stepRoutes(deps: TaskRouteDeps): MountedRoute[] {
  return [
    mount(proposeRoute, async (request) => {
      const { taskId } = request.params;
      const asked = await requestProposal(deps, request, taskId, requestKeyOf(request, { taskId }));
      const settled = await waitFor(deps.hub, {
        concerns: ({ row }) => row.taskPublicId === taskId,
        read: () => findProposal(deps, request, taskId, asked.step),
        timeoutMs: request.body.waitMs,
        signal: request.signal,
      });
      if (settled?.step) return { status: 200, body: settled.step };
      return { status: 202, body: settled?.task ?? (await getTask(deps, request, taskId)) };
    }),
    mount(decideRoute, async (request) => {
      const { taskId } = request.params;
      const key = requestKeyOf(request, { taskId, ...request.body });
      return { status: 200, body: await decide(deps, request, taskId, request.body, key) };
    }),
    mount(executeRoute, async (request) => {
      const { taskId } = request.params;
      const key = requestKeyOf(request, { taskId, ...request.body });
      return { status: 200, body: await executeTask(deps, request, taskId, request.body, key) };
    }),
  ];
}

/** The proposal of a step, or the ended task that will have none; undefined while either may still come. */
async function findProposal(
  deps: DomainDeps,
  actor: Actor,
  taskId: string,
  step: number,
): Promise<{ step?: StepView; task?: TaskView } | undefined> {
  const task = await getTask(deps, actor, taskId);
  if (task.step >= step) return { step: await getStepView(deps, actor, taskId, step) };
  return task.endedAt === null ? undefined : { task };
}
