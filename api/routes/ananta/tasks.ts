import {
  anantaArchiveTaskRoutes,
  anantaAssignTaskRoutes,
  anantaCreateTaskRoutes,
  anantaDeleteTaskRoutes,
  anantaEditTaskRoutes,
  anantaFollowupsRoutes,
  anantaRestoreTaskRoutes,
  anantaUnassignTaskRoutes,
} from '../../../contracts/families/ananta/task-routes.ts';
import { agentRefOf } from '../../../domain/agents/resolve-ref.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { archiveTask, restoreTask } from '../../../domain/tasks/archive.ts';
import { assignTask, unassignTask } from '../../../domain/tasks/assign.ts';
import { createFollowups } from '../../../domain/tasks/followups.ts';
import { createTaskAt, putTask } from '../../../domain/tasks/put.ts';
import { removeTask } from '../../../domain/tasks/remove.ts';
import { resolveOrRegister } from '../../../domain/url-agents/resolve.ts';
import type { MountedRoute } from '../../mount.ts';
import { mountAll } from '../mount-all.ts';
import { success } from './envelope.ts';
import { anantaTaskReadingRoutes } from './task-reading.ts';
import { type AnantaTaskDeps, changeOf, newTaskOf } from './task-words.ts';

/** `/tasks` and `/logs`, and the same under `/api`. What is proposed and executed has routes of its own. */
export function anantaTaskRoutes(deps: AnantaTaskDeps): MountedRoute[] {
  return [...anantaTaskReadingRoutes(deps), ...changingRoutes(deps), ...assigningRoutes(deps)];
}

function changingRoutes(deps: AnantaTaskDeps): MountedRoute[] {
  return [
    ...mountAll(anantaCreateTaskRoutes, async (request) => {
      const { idempotencyKey } = request;
      const task = await newTaskOf(deps, request, request.body, { idempotencyKey });
      const { id } = await createTaskAt(deps, request, task);
      const headers = { Location: `/tasks/${id}` };
      return { status: 201, headers, body: success({ id, status: 'created' as const }) };
    }),
    ...mountAll(anantaEditTaskRoutes, async (request) => {
      const { taskId } = request.params;
      const change = changeOf(request, request.body);
      const asNew = await newTaskOf(deps, request, request.body, { id: taskId });
      const { id } = await putTask(deps, request, taskId, { change, asNew });
      return { status: 200, body: success({ id, status: 'updated' as const }) };
    }),
    ...mountAll(anantaDeleteTaskRoutes, async (request) => {
      const { taskId } = request.params;
      const { force } = request.query;
      await removeTask(deps, request, taskId, { force: force === 'true' || force === '1' });
      return { status: 200, body: success({ id: taskId, status: 'deleted' as const }) };
    }),
    ...mountAll(anantaArchiveTaskRoutes, async (request) => {
      const { taskId } = request.params;
      const key = requestKeyOf(request, { taskId });
      const { id } = await archiveTask(deps, request, taskId, key, { evenOpen: true });
      return { status: 200, body: { status: 'archived' as const, data: { id } } };
    }),
    ...mountAll(anantaRestoreTaskRoutes, async (request) => {
      const { taskId } = request.params;
      const { id } = await restoreTask(deps, request, taskId, requestKeyOf(request, { taskId }));
      return { status: 200, body: { status: 'restored' as const, data: { id } } };
    }),
  ];
}

function assigningRoutes(deps: AnantaTaskDeps): MountedRoute[] {
  return [
    ...mountAll(anantaAssignTaskRoutes, async (request) => {
      const { taskId } = request.params;
      const { agent_url: ref, token } = request.body;
      const key = requestKeyOf(request, { taskId, ref, token: token ?? null });
      const agentId = await resolveOrRegister(deps, request, ref);
      const agentToken = token || undefined;
      await assignTask(deps, request, taskId, agentId, key, { agentToken });
      return { status: 200, body: success({ status: 'assigned' as const, agent_url: ref }) };
    }),
    ...mountAll(anantaUnassignTaskRoutes, async (request) => {
      const { taskId } = request.params;
      await unassignTask(deps, request, taskId, requestKeyOf(request, { taskId }), 'todo');
      return { status: 200, body: success({ status: 'todo' as const, unassigned: true as const }) };
    }),
    ...mountAll(anantaFollowupsRoutes, async (request) => {
      const { taskId } = request.params;
      const { items } = request.body;
      const followups = items.map((item) => ({
        goal: item.description?.trim() ?? '',
        priority: item.priority ?? undefined,
        agentRef: item.agent_url ?? undefined,
        agentToken: item.agent_token || undefined,
      }));
      const requestKey = requestKeyOf(request, { taskId, items });
      const made = await createFollowups(deps, request, taskId, followups, { requestKey, label: 'todo' });
      const created = made.created.map((task) => ({
        id: task.id,
        status: task.state === 'blocked' ? ('blocked' as const) : ('todo' as const),
        parent_task_id: taskId,
        description: task.goal,
        assigned_agent_url: task.agentId === null ? null : agentRefOf(task.agentId),
      }));
      const skipped = made.skipped.map(({ goal, reason }) => ({
        ...(goal !== '' && { description: goal }),
        reason,
      }));
      return { status: 200, body: success({ parent_task_id: taskId, created, skipped }) };
    }),
  ];
}
