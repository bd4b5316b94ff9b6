/** Collaboration tasks as clients of steel know them: tasks of the kind `collab`, notes that start nothing. */
import { z } from 'zod';
import { defineRoute, empty, json } from '../../route.ts';
import { taskIdSchema } from '../../task-routes.ts';
import {
  etagHeader,
  MAX_STEEL_LIST,
  steelChangeErrors,
  steelChangeHeaders,
  steelDescriptionSchema,
  steelListQuery,
  steelReadHeaders,
  steelTitleSchema,
} from './tasks.ts';
import { steelTimeSchema } from './time.ts';

export const steelCollabTaskSchema = z
  .object({
    id: z.string(),
    title: z.string(),
    description: z.string().nullable(),
    version: z.int().meta({ description: 'From 1, raised by every change' }),
    created_at: steelTimeSchema,
  })
  .meta({ id: 'SteelCollabTask' });
export type SteelCollabTask = z.infer<typeof steelCollabTaskSchema>;

const shared = {
  family: 'steel',
  tags: ['steel collaboration'],
  auth: 'user',
  resource: 'task',
  errorTexts: { task_not_found: { message: 'Task not found' } },
} as const;
const oneTask = {
  ...shared,
  path: '/api/v1/collab/tasks/{taskId}',
  params: z.object({ taskId: taskIdSchema }),
} as const;

const taskReply = json(steelCollabTaskSchema, { headers: etagHeader });

export const steelCreateCollabTaskRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/collab/tasks',
  summary: 'Create a collaboration task',
  description: 'A note that people share: no workflow begins, no model is asked, no agent does anything.',
  rateClass: 'write',
  verb: 'create',
  takesIdempotencyKey: true,
  body: z.strictObject({ title: steelTitleSchema, description: steelDescriptionSchema }),
  replies: { 201: json(steelCollabTaskSchema, { headers: { ...etagHeader, Location: 'Path of the task' } }) },
  errors: ['idempotency_conflict'],
});

export const steelListCollabTasksRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/collab/state/tasks',
  summary: 'List collaboration tasks, newest first',
  description:
    `All of them, at most ${MAX_STEEL_LIST} in one answer: \`skip\` reaches the others. The ETag is that of \`items\` ` +
    'alone. Whoever may not see all is shown their own.',
  rateClass: 'read',
  verb: 'list',
  headers: steelReadHeaders,
  query: z.strictObject(steelListQuery),
  replies: {
    200: json(
      z
        .object({ kind: z.literal('tasks'), items: z.array(steelCollabTaskSchema) })
        .meta({ id: 'SteelCollabState' }),
      { headers: etagHeader },
    ),
    304: empty({ headers: etagHeader }),
  },
});

export const steelGetCollabTaskRoute = defineRoute({
  ...oneTask,
  method: 'GET',
  summary: 'Read a collaboration task',
  rateClass: 'read',
  verb: 'read',
  headers: steelReadHeaders,
  replies: { 200: taskReply, 304: empty({ headers: etagHeader }) },
  errors: ['task_not_found'],
});

export const steelEditCollabTaskRoute = defineRoute({
  ...oneTask,
  method: 'PUT',
  summary: 'Change a collaboration task',
  description:
    'What is left out stays as it is. With `version` the change is made to that version only (409 otherwise), with ' +
    '`If-Match` to what has that ETag (412).',
  rateClass: 'write',
  verb: 'update',
  headers: steelChangeHeaders,
  body: z
    .strictObject({
      title: steelTitleSchema.optional(),
      description: steelDescriptionSchema,
      version: z.int().min(1).optional(),
    })
    .refine((body) => body.title !== undefined || body.description !== undefined, {
      message: 'Either title or description must be provided',
      path: ['title'],
    }),
  replies: { 200: taskReply },
  errors: [...steelChangeErrors],
});

export const steelDeleteCollabTaskRoute = defineRoute({
  ...oneTask,
  method: 'DELETE',
  summary: 'Delete a collaboration task',
  rateClass: 'write',
  verb: 'update',
  headers: steelChangeHeaders,
  replies: { 200: z.object({ message: z.string() }) },
  errors: ['task_not_found', 'precondition_failed'],
});
