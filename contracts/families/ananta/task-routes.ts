/** The task routes of ananta, at the root and again under `/api`; the shapes are in `tasks.ts`. */
import { z } from 'zod';
import type { ErrorCode } from '../../errors.ts';
import { events, json } from '../../route.ts';
import { taskIdSchema } from '../../tasks.ts';
import { anantaSuccess } from '../ananta.ts';
import { onPaths } from './paths.ts';
import {
  anantaArchivedListQuerySchema,
  anantaAssignBodySchema,
  anantaCreateTaskBodySchema,
  anantaEditTaskBodySchema,
  anantaFollowupsBodySchema,
  anantaFollowupsSchema,
  anantaHistoryItemSchema,
  anantaLogEntrySchema,
  anantaTaskIdSchema,
  anantaTaskListQuerySchema,
  anantaTaskSchema,
  anantaTimelineQuerySchema,
  anantaTimelineSchema,
} from './tasks.ts';

const shared = { family: 'ananta', tags: ['ananta tasks'], auth: 'user', resource: 'task' } as const;
const params = z.object({ taskId: taskIdSchema });

/** What every request that makes a task may answer. */
const creationErrors = [
  'webhook_url_refused',
  'template_not_found',
  'task_exists',
  'missing_dependencies',
  'dependency_cycle_detected',
  'idempotency_conflict',
  'service_unavailable',
] as const satisfies readonly ErrorCode[];

const assignErrors = [
  'task_not_found',
  'task_not_open',
  'agent_not_found',
  'agent_revoked',
  'agent_url_unreachable',
  'command_running',
  'conflict',
  'idempotency_conflict',
  'service_unavailable',
] as const satisfies readonly ErrorCode[];

export const anantaListTasksRoutes = onPaths(
  {
    ...shared,
    method: 'GET',
    path: '/tasks',
    summary: 'List tasks, newest first',
    description: 'Of every kind, without archived ones. Whoever may not see all tasks is shown their own.',
    rateClass: 'read',
    verb: 'list',
    query: anantaTaskListQuerySchema,
    replies: { 200: anantaSuccess(z.array(anantaTaskSchema)) },
  },
  '/api/tasks',
);

export const anantaCreateTaskRoutes = onPaths(
  {
    ...shared,
    method: 'POST',
    path: '/tasks',
    summary: 'Create a task',
    description:
      'In manual mode: the model is asked when somebody asks for a proposal. The answer says `created` whatever ' +
      'status was asked for. The same request with the same `id` by the same principal is answered the same task.',
    takesIdempotencyKey: true,
    rateClass: 'task_creation_by_address',
    verb: 'create',
    body: anantaCreateTaskBodySchema,
    replies: {
      201: json(anantaSuccess(z.object({ id: z.string(), status: z.literal('created') })), {
        headers: { Location: 'Path of the task' },
      }),
    },
    errors: creationErrors,
  },
  '/api/tasks',
);

export const anantaListArchivedRoutes = onPaths(
  {
    ...shared,
    method: 'GET',
    path: '/tasks/archived',
    summary: 'List archived tasks, newest first',
    rateClass: 'read',
    verb: 'list',
    query: anantaArchivedListQuerySchema,
    replies: { 200: anantaSuccess(z.array(anantaTaskSchema)) },
  },
  '/api/tasks/archived',
);

export const anantaRestoreTaskRoutes = onPaths(
  {
    ...shared,
    method: 'POST',
    path: '/tasks/archived/{taskId}/restore',
    summary: 'Take a task out of the archive',
    takesIdempotencyKey: true,
    rateClass: 'write',
    verb: 'archive',
    params,
    replies: { 200: z.object({ status: z.literal('restored'), data: z.object({ id: z.string() }) }) },
    errors: ['task_not_found', 'idempotency_conflict', 'service_unavailable'],
  },
  '/api/tasks/archived/{taskId}/restore',
);

export const anantaTimelineRoutes = onPaths(
  {
    ...shared,
    method: 'GET',
    path: '/tasks/timeline',
    summary: 'Tell what happened to all tasks, newest first',
    description: 'As far back as events are kept. `status` and `team_id` are those that the tasks have now.',
    rateClass: 'read',
    verb: 'list',
    query: anantaTimelineQuerySchema,
    replies: { 200: anantaSuccess(anantaTimelineSchema) },
  },
  '/api/tasks/timeline',
);

export const anantaGetTaskRoutes = onPaths(
  {
    ...shared,
    method: 'GET',
    path: '/tasks/{taskId}',
    summary: 'Read a task, also an archived one',
    rateClass: 'read',
    verb: 'read',
    params,
    replies: { 200: anantaSuccess(anantaTaskSchema) },
    errors: ['task_not_found'],
  },
  '/api/tasks/{taskId}',
);

export const anantaEditTaskRoutes = onPaths(
  {
    ...shared,
    method: 'PATCH',
    path: '/tasks/{taskId}',
    summary: 'Change a task, or create it where there is none with this id',
    description:
      'A status that ends the task cancels or completes it, refused while a command is out unless `force` says so. ' +
      'An ended task that is put back to `todo` begins a new run. `blocked` puts a task on hold that has not begun.',
    rateClass: 'write',
    verb: 'update',
    params: z.object({ taskId: anantaTaskIdSchema }),
    body: anantaEditTaskBodySchema,
    replies: { 200: anantaSuccess(z.object({ id: z.string(), status: z.literal('updated') })) },
    errors: [
      ...creationErrors,
      'task_not_found',
      'task_not_open',
      'task_blocked',
      'command_running',
      'conflict',
    ],
  },
  '/api/tasks/{taskId}',
);

export const anantaDeleteTaskRoutes = onPaths(
  {
    ...shared,
    method: 'DELETE',
    path: '/tasks/{taskId}',
    summary: 'Delete a task',
    description: 'An open one is canceled first. Its commands and its audit trail stay.',
    rateClass: 'write',
    verb: 'delete',
    params,
    query: z.strictObject({
      force: z
        .enum(['true', 'false', '1', '0'])
        .optional()
        .meta({ description: 'Although a command is out: it is told to stop' }),
    }),
    replies: { 200: anantaSuccess(z.object({ id: z.string(), status: z.literal('deleted') })) },
    errors: ['task_not_found', 'command_running'],
  },
  '/api/tasks/{taskId}',
);

export const anantaAssignTaskRoutes = onPaths(
  {
    ...shared,
    method: 'POST',
    path: '/tasks/{taskId}/assign',
    summary: 'Give a task to an agent',
    description:
      'An undecided proposal was made for another machine: it becomes void. An address that is new is registered, where ' +
      'AGENT_URL_ALLOW lists it and you may register agents.',
    takesIdempotencyKey: true,
    rateClass: 'write',
    verb: 'assign',
    params,
    body: anantaAssignBodySchema,
    replies: {
      200: anantaSuccess(z.object({ status: z.literal('assigned'), agent_url: z.string() })),
    },
    errors: assignErrors,
  },
  '/api/tasks/{taskId}/assign',
);

export const anantaUnassignTaskRoutes = onPaths(
  {
    ...shared,
    method: 'POST',
    path: '/tasks/{taskId}/unassign',
    summary: 'Take a task from its agent',
    takesIdempotencyKey: true,
    rateClass: 'write',
    verb: 'assign',
    params,
    replies: {
      200: anantaSuccess(z.object({ status: z.literal('todo'), unassigned: z.literal(true) })),
    },
    errors: assignErrors,
  },
  '/api/tasks/{taskId}/unassign',
);

export const anantaArchiveTaskRoutes = onPaths(
  {
    ...shared,
    method: 'POST',
    path: '/tasks/{taskId}/archive',
    summary: 'Put a task into the archive',
    description:
      'An ended one, or one that nobody is at: it stays as it is, and nothing runs for it until it is restored.',
    takesIdempotencyKey: true,
    rateClass: 'write',
    verb: 'archive',
    params,
    replies: { 200: z.object({ status: z.literal('archived'), data: z.object({ id: z.string() }) }) },
    errors: ['task_not_found', 'conflict', 'idempotency_conflict', 'service_unavailable'],
  },
  '/api/tasks/{taskId}/archive',
);

export const anantaFollowupsRoutes = onPaths(
  {
    ...shared,
    method: 'POST',
    path: '/tasks/{taskId}/followups',
    summary: 'Create tasks that follow from this one',
    description:
      'They wait for it (`blocked`) unless it has completed. What is there already, or twice in the list, is left out. ' +
      'To name an agent needs the right to assign.',
    takesIdempotencyKey: true,
    rateClass: 'write',
    verb: 'create',
    params,
    body: anantaFollowupsBodySchema,
    replies: { 200: anantaSuccess(anantaFollowupsSchema) },
    errors: [...creationErrors, 'task_not_found', 'agent_not_found', 'agent_revoked', 'conflict'],
  },
  '/api/tasks/{taskId}/followups',
);

export const anantaTaskLogsRoutes = onPaths(
  {
    ...shared,
    method: 'GET',
    path: '/tasks/{taskId}/logs',
    summary: 'Read what ran for a task, oldest first',
    rateClass: 'read',
    verb: 'read',
    params,
    replies: { 200: anantaSuccess(z.array(anantaHistoryItemSchema)) },
    errors: ['task_not_found'],
  },
  '/api/tasks/{taskId}/logs',
);

export const anantaStreamTaskLogsRoutes = onPaths(
  {
    ...shared,
    method: 'GET',
    path: '/tasks/{taskId}/stream-logs',
    summary: 'Follow what runs for a task',
    description: 'One event for each item of its history, once it has run. Ends when the task has ended.',
    rateClass: 'read',
    verb: 'read',
    params,
    replies: { 200: events(anantaHistoryItemSchema) },
    errors: ['task_not_found'],
  },
  '/api/tasks/{taskId}/stream-logs',
);

export const anantaRecentLogRoutes = onPaths({
  ...shared,
  method: 'GET',
  path: '/logs',
  summary: 'Read the newest entries of the log of everything, oldest first',
  description: 'Whoever may not see all commands is shown their own.',
  rateClass: 'read',
  verb: 'list',
  resource: 'command',
  replies: { 200: anantaSuccess(z.array(anantaLogEntrySchema)) },
});
