/** The house routes of tasks, their steps and decisions; the shapes are in `tasks.ts`. */
import { z } from 'zod';
import type { ErrorCode } from './errors.ts';
import { defineRoute, empty, json } from './route.ts';
import {
  assignBodySchema,
  cancelBodySchema,
  createTaskBodySchema,
  decideBodySchema,
  editTaskBodySchema,
  executeBodySchema,
  proposeBodySchema,
  stepSchema,
  taskIdSchema,
  taskListQuerySchema,
  taskPageSchema,
  taskSchema,
  timelineItemSchema,
} from './tasks.ts';

const shared = { family: 'house', tags: ['tasks'], auth: 'user', resource: 'task' } as const;

export { taskIdSchema } from './tasks.ts';

const taskParams = z.object({ taskId: taskIdSchema });

/** What every POST to an existing task may answer. */
const actErrors = [
  'task_not_found',
  'idempotency_conflict',
  'service_unavailable',
] as const satisfies readonly ErrorCode[];

const location = { headers: { Location: 'Path of the task' } };

export const createTaskRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/tasks',
  summary: 'Create a task and start its workflow',
  description:
    'The task begins when Temporal is reached, at once or later. `preApproved` needs the right to decide. ' +
    'The same Idempotency-Key with the same body answers the task it made before, as it is now (200).',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: createTaskBodySchema,
  replies: {
    201: json(taskSchema, location),
    200: json(taskSchema, { ...location, description: 'Made before with this Idempotency-Key' }),
  },
  errors: [
    ...actErrors,
    'webhook_url_refused',
    'agent_not_found',
    'agent_revoked',
    'task_exists',
    'missing_dependencies',
    'dependency_cycle_detected',
  ],
});

export const listTasksRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/tasks',
  summary: 'List tasks, newest first',
  description: 'Whoever may not see all tasks is shown their own.',
  rateClass: 'read',
  verb: 'list',
  query: taskListQuerySchema,
  replies: { 200: taskPageSchema },
  errors: ['invalid_cursor'],
});

export const getTaskRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/tasks/{taskId}',
  summary: 'Read a task',
  rateClass: 'read',
  verb: 'read',
  params: taskParams,
  replies: { 200: taskSchema },
  errors: ['task_not_found'],
});

export const editTaskRoute = defineRoute({
  ...shared,
  method: 'PATCH',
  path: '/v1/tasks/{taskId}',
  summary: 'Change what a task says, and what it waits for',
  description:
    'The goal of an ended task stays, as its seal speaks of it. A task whose dependencies have all completed goes ' +
    'on by itself.',
  rateClass: 'write',
  verb: 'update',
  params: taskParams,
  body: editTaskBodySchema,
  replies: { 200: taskSchema },
  errors: [
    'task_not_found',
    'task_not_open',
    'conflict',
    'missing_dependencies',
    'dependency_cycle_detected',
  ],
});

export const deleteTaskRoute = defineRoute({
  ...shared,
  method: 'DELETE',
  path: '/v1/tasks/{taskId}',
  summary: 'Delete an ended task',
  description: 'It is no longer found; its commands and its audit trail stay.',
  rateClass: 'write',
  verb: 'delete',
  params: taskParams,
  replies: { 204: empty() },
  errors: ['task_not_found', 'conflict'],
});

export const listStepsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/tasks/{taskId}/steps',
  summary: 'List the steps of the present run, in order, with their commands',
  rateClass: 'read',
  verb: 'read',
  params: taskParams,
  replies: { 200: z.object({ items: z.array(stepSchema) }) },
  errors: ['task_not_found'],
});

export const timelineRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/tasks/{taskId}/timeline',
  summary: 'Tell who did what and when, oldest first',
  rateClass: 'read',
  verb: 'read',
  params: taskParams,
  replies: { 200: z.object({ items: z.array(timelineItemSchema) }) },
  errors: ['task_not_found'],
});

export const proposeRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/tasks/{taskId}/propose',
  summary: 'Ask for the next proposal and wait for it',
  description:
    'Needed in manual mode; in the other modes the task asks by itself and this only waits. An undecided ' +
    'proposal is the answer as it stands.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'propose',
  params: taskParams,
  body: proposeBodySchema.prefault({}),
  replies: {
    200: json(stepSchema, { description: 'The proposal' }),
    202: json(taskSchema, { description: 'No proposal within `waitMs`, or the task ended instead of one' }),
  },
  errors: [...actErrors, 'task_not_open', 'task_blocked', 'conflict', 'command_running'],
});

export const decideRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/tasks/{taskId}/decide',
  summary: 'Approve, reject or edit the open proposal',
  description:
    'The digest binds the decision to the exact bytes and agents. It is decided once; the same decision by the ' +
    'same principal again is the same answer. Edit sends the digest of the proposal and the new act.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'decide',
  params: taskParams,
  body: decideBodySchema,
  replies: { 200: stepSchema },
  errors: [
    ...actErrors,
    'step_not_found',
    'task_not_open',
    'stale_digest',
    'already_decided',
    'approval_expired',
    'agent_not_found',
    'agent_revoked',
    'conflict',
    'command_conflict',
  ],
});

export const executeRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/tasks/{taskId}/execute',
  summary: 'Run the newest proposal, or an act of your own as the next step',
  description:
    'A direct execution is recorded as proposal and approval by you. Answers at once: follow the output, the ' +
    'events, or read the steps. Without an Idempotency-Key a second request may run a second command.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'execute',
  params: taskParams,
  body: executeBodySchema.prefault({}),
  replies: { 200: stepSchema },
  errors: [
    ...actErrors,
    'step_not_found',
    'task_not_open',
    'task_blocked',
    'no_proposal',
    'no_agent',
    'stale_digest',
    'already_decided',
    'approval_expired',
    'command_running',
    'agent_not_found',
    'agent_revoked',
    'conflict',
    'command_conflict',
  ],
});

export const cancelTaskRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/tasks/{taskId}/cancel',
  summary: 'Cancel a task',
  description:
    'Queued commands end now; running ones are told to stop, and the task ends when they have. Canceling again ' +
    'is the same answer.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'cancel',
  params: taskParams,
  body: cancelBodySchema.prefault({}),
  replies: { 200: taskSchema },
  errors: [...actErrors, 'task_not_open'],
});

export const assignTaskRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/tasks/{taskId}/assign',
  summary: 'Move a task to another agent',
  description: 'An undecided proposal was made for another machine: it becomes void.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'assign',
  params: taskParams,
  body: assignBodySchema,
  replies: { 200: taskSchema },
  errors: [...actErrors, 'task_not_open', 'agent_not_found', 'agent_revoked', 'command_running', 'conflict'],
});

export const archiveTaskRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/tasks/{taskId}/archive',
  summary: 'Archive an ended task',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'archive',
  params: taskParams,
  replies: { 200: taskSchema },
  errors: [...actErrors, 'conflict'],
});

export const restoreTaskRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/tasks/{taskId}/restore',
  summary: 'Take a task out of the archive',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'archive',
  params: taskParams,
  replies: { 200: taskSchema },
  errors: actErrors,
});
