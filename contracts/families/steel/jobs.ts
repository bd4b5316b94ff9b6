/** Jobs as clients of steel know them: tasks of the kind `job`, in `manual` mode. */
import { z } from 'zod';
import { defineRoute, empty, json } from '../../route.ts';
import { steelStatuses } from '../../states.ts';
import { taskIdSchema } from '../../task-routes.ts';
import {
  etagHeader,
  MAX_STEEL_LIST,
  MAX_STEEL_REASON_LENGTH,
  steelChangeErrors,
  steelChangeHeaders,
  steelDescriptionSchema,
  steelForceQuery,
  steelListQuery,
  steelReadHeaders,
  steelTitleSchema,
} from './tasks.ts';
import { steelTimeSchema } from './time.ts';

export const steelJobSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    status: z.enum(steelStatuses),
    created_at: steelTimeSchema,
    updated_at: steelTimeSchema.nullable().meta({ description: 'Null until it is changed' }),
  })
  .meta({ id: 'SteelJob' });
export type SteelJob = z.infer<typeof steelJobSchema>;

const shared = {
  family: 'steel',
  tags: ['steel jobs'],
  auth: 'user',
  resource: 'task',
  errorTexts: { task_not_found: { message: 'Job not found' } },
} as const;
const oneJob = {
  ...shared,
  path: '/api/v1/jobs/{jobId}',
  params: z.object({ jobId: taskIdSchema }),
} as const;

const jobReply = json(steelJobSchema, { headers: etagHeader });

export const steelCreateJobRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/jobs',
  summary: 'Create a job',
  description:
    'A task in `manual` mode: it waits until a proposal is asked for or something is executed, through `/v1/tasks`, or ' +
    'until its status is set.',
  rateClass: 'write',
  verb: 'create',
  takesIdempotencyKey: true,
  body: z.strictObject({ title: steelTitleSchema, description: steelDescriptionSchema }),
  replies: { 201: jobReply },
  errors: ['idempotency_conflict'],
});

export const steelListJobsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/jobs',
  summary: 'List jobs, newest first',
  description:
    `All of them, at most ${MAX_STEEL_LIST} in one answer: \`skip\` reaches the others. Whoever may not see all is shown ` +
    'their own.',
  rateClass: 'read',
  verb: 'list',
  headers: steelReadHeaders,
  query: z.strictObject({ ...steelListQuery, status: z.enum(steelStatuses).optional() }),
  replies: {
    200: json(z.object({ jobs: z.array(steelJobSchema) }).meta({ id: 'SteelJobs' }), { headers: etagHeader }),
    304: empty({ headers: etagHeader }),
  },
});

export const steelGetJobRoute = defineRoute({
  ...oneJob,
  method: 'GET',
  summary: 'Read a job',
  rateClass: 'read',
  verb: 'read',
  headers: steelReadHeaders,
  replies: { 200: jobReply, 304: empty({ headers: etagHeader }) },
  errors: ['task_not_found'],
});

export const steelSetJobStatusRoute = defineRoute({
  ...oneJob,
  method: 'PUT',
  path: '/api/v1/jobs/{jobId}/status',
  summary: 'Set the status of a job',
  description:
    '`cancelled`, `completed` and `failed` end it: refused (409) while a command is out, unless `force`. `pending` on an ' +
    'ended job begins its next run. `running` says that somebody is at it; nothing is started. The status that it has ' +
    'already changes nothing.',
  rateClass: 'write',
  verb: 'update',
  headers: steelChangeHeaders,
  query: z.strictObject({
    status: z.enum(steelStatuses),
    reason: z.string().trim().min(1).max(MAX_STEEL_REASON_LENGTH).optional(),
    ...steelForceQuery,
  }),
  replies: { 200: jobReply },
  errors: [...steelChangeErrors, 'command_running'],
});

export const steelDeleteJobRoute = defineRoute({
  ...oneJob,
  method: 'DELETE',
  summary: 'Delete a job',
  description: 'An open one is canceled first. Its commands and its audit trail stay.',
  rateClass: 'write',
  verb: 'delete',
  headers: steelChangeHeaders,
  query: z.strictObject(steelForceQuery),
  replies: { 200: z.object({ message: z.string() }) },
  errors: ['task_not_found', 'precondition_failed', 'command_running'],
});
