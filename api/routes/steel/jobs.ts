import {
  type SteelJob,
  steelCreateJobRoute,
  steelDeleteJobRoute,
  steelGetJobRoute,
  steelListJobsRoute,
  steelSetJobStatusRoute,
} from '../../../contracts/families/steel/jobs.ts';
import { isForced } from '../../../contracts/families/steel/tasks.ts';
import { steelTime } from '../../../contracts/families/steel/time.ts';
import { type SteelStatus, statesOfStatus, toSteelStatus } from '../../../contracts/states.ts';
import { createTaskBodySchema } from '../../../contracts/tasks.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { createTask } from '../../../domain/tasks/create.ts';
import { getTaskOfKind, getTaskVersion, listTasksOfKind } from '../../../domain/tasks/of-kind.ts';
import { removeTask } from '../../../domain/tasks/remove.ts';
import { type ReportedStatus, reportStatus } from '../../../domain/tasks/report-status.ts';
import type { TaskBrief } from '../../../domain/tasks/view.ts';
import { etagOf, isExpectedEtag } from '../../etag.ts';
import { createKnownEtags } from '../../known-etags.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/api/v1/jobs` as clients of steel know it. */
export function steelJobRoutes(deps: DomainDeps): MountedRoute[] {
  const known = createKnownEtags();
  return [
    mount(steelCreateJobRoute, async (request) => {
      const { title, description } = request.body;
      const { task } = await createTask(
        deps,
        request,
        createTaskBodySchema.parse({ title, goal: description || title, mode: 'manual' }),
        { kind: 'job', idempotencyKey: request.idempotencyKey },
      );
      return withEtag(201, task);
    }),
    mount(steelListJobsRoute, async (request) => {
      const { skip, limit, status } = request.query;
      const states = status === undefined ? undefined : statesOfStatus('steel', status);
      return known.read({
        name: `list ${skip} ${limit} ${status ?? ''}`,
        ifNoneMatch: request.headers['if-none-match'],
        version: () => getTaskVersion(deps, request, 'job'),
        read: async () => ({
          jobs: (await listTasksOfKind(deps, request, 'job', { states, skip, limit })).map(presentJob),
        }),
      });
    }),
    mount(steelGetJobRoute, async (request) => {
      const { jobId } = request.params;
      return known.read({
        name: jobId,
        ifNoneMatch: request.headers['if-none-match'],
        version: () => getTaskVersion(deps, request, 'job'),
        read: async () => presentJob(await getTaskOfKind(deps, request, 'job', jobId)),
      });
    }),
    mount(steelSetJobStatusRoute, async (request) => {
      const { status, reason, force } = request.query;
      const task = await reportStatus(deps, request, request.params.jobId, {
        kind: 'job',
        isCurrent: seenBy(request.headers['if-match']),
        status: reportedStatus[status],
        reason,
        force: isForced(force),
      });
      return withEtag(200, task);
    }),
    mount(steelDeleteJobRoute, async (request) => {
      await removeTask(deps, request, request.params.jobId, {
        kind: 'job',
        isCurrent: seenBy(request.headers['if-match']),
        force: isForced(request.query.force),
      });
      return { status: 200, body: { message: 'Job deleted successfully' } };
    }),
  ];
}

const reportedStatus: Record<SteelStatus, ReportedStatus> = {
  pending: 'waiting',
  running: 'running',
  completed: 'completed',
  failed: 'failed',
  cancelled: 'canceled',
};

/** `If-Match`: the job is what the client has seen. */
const seenBy = (header: string | undefined) =>
  header === undefined ? undefined : (task: TaskBrief) => isExpectedEtag(header, etagOf(presentJob(task)));

function withEtag<Status extends number>(status: Status, task: TaskBrief) {
  const body = presentJob(task);
  return { status, headers: { ETag: etagOf(body) }, body };
}

const presentJob = (task: TaskBrief): SteelJob => ({
  id: task.id,
  name: task.title,
  status: toSteelStatus(task.state),
  created_at: steelTime(new Date(task.createdAt)),
  updated_at: task.version === 1 ? null : steelTime(new Date(task.updatedAt)),
});
