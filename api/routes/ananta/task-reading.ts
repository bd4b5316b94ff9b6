import {
  anantaGetTaskRoutes,
  anantaListArchivedRoutes,
  anantaListTasksRoutes,
  anantaRecentLogRoutes,
  anantaStreamTaskLogsRoutes,
  anantaTaskLogsRoutes,
  anantaTimelineRoutes,
} from '../../../contracts/families/ananta/task-routes.ts';
import { ANANTA_KEEP_ALIVE_MS, RECENT_LOG_ENTRIES } from '../../../contracts/families/ananta/tasks.ts';
import { getTaskWithHistory, listTasksWithHistory } from '../../../domain/tasks/list-by-offset.ts';
import { readRecentLog } from '../../../domain/tasks/recent-log.ts';
import { getSharedTimeline } from '../../../domain/tasks/shared-timeline.ts';
import { feedTaskLog } from '../../events/task-log-feed.ts';
import type { MountedRoute } from '../../mount.ts';
import { mountAll } from '../mount-all.ts';
import { success } from './envelope.ts';
import { presentTask, presentTimelineItem } from './present-task.ts';
import type { AnantaTaskDeps } from './task-words.ts';
import { statesWanted } from './task-words.ts';

export function anantaTaskReadingRoutes(deps: AnantaTaskDeps): MountedRoute[] {
  return [...listRoutes(deps), ...taskRoutes(deps)];
}

function listRoutes(deps: AnantaTaskDeps): MountedRoute[] {
  return [
    ...mountAll(anantaListTasksRoutes, async (request) => {
      const { status, agent: agentRef, since, until, limit, offset } = request.query;
      const tasks = await listTasksWithHistory(deps, request, {
        ...statesWanted(status),
        agentRef,
        since: dateOf(since),
        until: dateOf(until),
        archived: false,
        limit,
        offset,
      });
      return { status: 200, body: success(tasks.map(presentTask)) };
    }),
    ...mountAll(anantaListArchivedRoutes, async (request) => {
      const tasks = await listTasksWithHistory(deps, request, { ...request.query, archived: true });
      return { status: 200, body: success(tasks.map(presentTask)) };
    }),
    ...mountAll(anantaTimelineRoutes, async (request) => {
      const { team_id: teamId, agent: agentRef, status, error_only: errors, since, limit } = request.query;
      const { items, total } = await getSharedTimeline(deps, request, {
        ...statesWanted(status),
        teamId,
        agentRef,
        since: dateOf(since),
        errorOnly: errors === 'true' || errors === '1',
        limit,
      });
      return { status: 200, body: success({ items: items.map(presentTimelineItem), total }) };
    }),
    ...mountAll(anantaRecentLogRoutes, async (request) => {
      return { status: 200, body: success(await readRecentLog(deps, request, RECENT_LOG_ENTRIES)) };
    }),
  ];
}

function taskRoutes(deps: AnantaTaskDeps): MountedRoute[] {
  return [
    ...mountAll(anantaGetTaskRoutes, async (request) => {
      const task = await getTaskWithHistory(deps, request, request.params.taskId);
      return { status: 200, body: success(presentTask(task)) };
    }),
    ...mountAll(anantaTaskLogsRoutes, async (request) => {
      const { history } = await getTaskWithHistory(deps, request, request.params.taskId);
      return { status: 200, body: success(history.map((item) => ({ ...item }))) };
    }),
    ...mountAll(anantaStreamTaskLogsRoutes, async (request) => {
      const { taskId } = request.params;
      await getTaskWithHistory(deps, request, taskId);
      return {
        status: 200,
        keepAliveMs: ANANTA_KEEP_ALIVE_MS,
        stream: (stream, viewer) => feedTaskLog(deps, { actor: request, viewer, taskId }, stream),
      };
    }),
  ];
}

/** Of seconds since the epoch. */
const dateOf = (seconds: number | undefined): Date | undefined =>
  seconds === undefined ? undefined : new Date(seconds * 1000);
