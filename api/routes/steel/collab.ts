import {
  type SteelCollabTask,
  steelCreateCollabTaskRoute,
  steelDeleteCollabTaskRoute,
  steelEditCollabTaskRoute,
  steelGetCollabTaskRoute,
  steelListCollabTasksRoute,
} from '../../../contracts/families/steel/collab.ts';
import { steelTime } from '../../../contracts/families/steel/time.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { createCollabTask, deleteCollabTask, editCollabTask } from '../../../domain/tasks/collab.ts';
import { getTaskOfKind, getTaskVersion, listTasksOfKind } from '../../../domain/tasks/of-kind.ts';
import type { TaskBrief } from '../../../domain/tasks/view.ts';
import { etagOf, isExpectedEtag } from '../../etag.ts';
import { createKnownEtags } from '../../known-etags.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/api/v1/collab` as clients of steel know it. */
export function steelCollabRoutes(deps: DomainDeps): MountedRoute[] {
  const known = createKnownEtags();
  return [
    mount(steelCreateCollabTaskRoute, async (request) => {
      const { title, description } = request.body;
      const { idempotencyKey } = request;
      const note = { title, text: description ?? '' };
      const body = presentTask(await createCollabTask(deps, request, note, { idempotencyKey }));
      const headers = { ETag: etagOf(body), Location: `/api/v1/collab/tasks/${body.id}` };
      return { status: 201, headers, body };
    }),
    mount(steelListCollabTasksRoute, async (request) => {
      const { skip, limit } = request.query;
      return known.read({
        name: `list ${skip} ${limit}`,
        ifNoneMatch: request.headers['if-none-match'],
        version: () => getTaskVersion(deps, request, 'collab'),
        read: async () => {
          const tasks = await listTasksOfKind(deps, request, 'collab', { skip, limit });
          return { kind: 'tasks' as const, items: tasks.map(presentTask) };
        },
        hashed: (body) => body.items,
      });
    }),
    mount(steelGetCollabTaskRoute, async (request) => {
      const { taskId } = request.params;
      return known.read({
        name: taskId,
        ifNoneMatch: request.headers['if-none-match'],
        version: () => getTaskVersion(deps, request, 'collab'),
        read: async () => presentTask(await getTaskOfKind(deps, request, 'collab', taskId)),
      });
    }),
    mount(steelEditCollabTaskRoute, async (request) => {
      const { title, description, version } = request.body;
      const change = {
        ...(title !== undefined && { title }),
        ...(description !== undefined && { text: description ?? '' }),
      };
      const isCurrent = seenBy(request.headers['if-match']);
      const { taskId } = request.params;
      const body = presentTask(await editCollabTask(deps, request, taskId, change, { isCurrent, version }));
      return { status: 200, headers: { ETag: etagOf(body) }, body };
    }),
    mount(steelDeleteCollabTaskRoute, async (request) => {
      const isCurrent = seenBy(request.headers['if-match']);
      await deleteCollabTask(deps, request, request.params.taskId, { isCurrent });
      return { status: 200, body: { message: 'Task deleted successfully' } };
    }),
  ];
}

/** `If-Match`: the task is what the client has seen. */
const seenBy = (header: string | undefined) =>
  header === undefined ? undefined : (task: TaskBrief) => isExpectedEtag(header, etagOf(presentTask(task)));

const presentTask = (task: TaskBrief): SteelCollabTask => ({
  id: task.id,
  title: task.title,
  description: task.goal || null,
  version: task.version,
  created_at: steelTime(new Date(task.createdAt)),
});
