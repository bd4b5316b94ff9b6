/** The house routes of schedules; the shapes are in `schedules.ts`. */
import { z } from 'zod';
import type { ErrorCode } from './errors.ts';
import { defineRoute, empty, json } from './route.ts';
import {
  backfillBodySchema,
  createScheduleBodySchema,
  nextRunsSchema,
  pauseBodySchema,
  previewBodySchema,
  scheduleDetailSchema,
  scheduleListQuerySchema,
  schedulePageSchema,
  scheduleRunPageSchema,
  scheduleRunQuerySchema,
  scheduleRunSchema,
  triggerBodySchema,
  updateScheduleBodySchema,
} from './schedules.ts';

const shared = { family: 'house', tags: ['schedules'], auth: 'user', resource: 'schedule' } as const;
const params = z.object({ scheduleId: z.uuid() });

/** What writing a schedule, or running one, may answer. */
const writeErrors = [
  'agent_not_found',
  'agent_revoked',
  'conflict',
  'saved_command_not_found',
  'schedule_not_found',
] as const satisfies readonly ErrorCode[];

export const listSchedulesRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/schedules',
  summary: 'List schedules, newest first',
  description: 'Whoever may not see all schedules is shown their own.',
  rateClass: 'read',
  verb: 'list',
  query: scheduleListQuerySchema,
  replies: { 200: schedulePageSchema },
  errors: ['invalid_cursor'],
});

export const createScheduleRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/schedules',
  summary: 'Create a schedule',
  description:
    'Temporal hears of it at once or, where it is away, as soon as it is back. Runs are in the name of whoever wrote ' +
    'the newest revision, with the rights that person has when they begin: a schedule of commands takes the right ' +
    'to run commands.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: createScheduleBodySchema,
  replies: { 201: json(scheduleDetailSchema, { headers: { Location: 'Path of the schedule' } }) },
  errors: [...writeErrors, 'idempotency_conflict'],
});

export const previewScheduleRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/schedules/preview',
  summary: 'Say in words what a timing means, and when its next ten runs would be',
  rateClass: 'read',
  verb: 'list',
  body: previewBodySchema,
  replies: { 200: nextRunsSchema },
});

export const getScheduleRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/schedules/{scheduleId}',
  summary: 'Read a schedule with its next ten runs',
  rateClass: 'read',
  verb: 'read',
  params,
  replies: { 200: scheduleDetailSchema },
  errors: ['schedule_not_found'],
});

export const updateScheduleRoute = defineRoute({
  ...shared,
  method: 'PATCH',
  path: '/v1/schedules/{scheduleId}',
  summary: 'Change a schedule',
  description:
    'A run that has begun goes on as it was. From now on runs are in the name of whoever changes it.',
  rateClass: 'write',
  verb: 'update',
  params,
  body: updateScheduleBodySchema,
  replies: { 200: scheduleDetailSchema },
  errors: writeErrors,
});

export const deleteScheduleRoute = defineRoute({
  ...shared,
  method: 'DELETE',
  path: '/v1/schedules/{scheduleId}',
  summary: 'Delete a schedule; what has begun goes on',
  rateClass: 'write',
  verb: 'delete',
  params,
  replies: { 204: empty() },
  errors: ['schedule_not_found'],
});

export const pauseScheduleRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/schedules/{scheduleId}/pause',
  summary: 'Pause a schedule: its due times are skipped until it is resumed',
  rateClass: 'write',
  verb: 'update',
  params,
  body: pauseBodySchema.prefault({}),
  replies: { 200: scheduleDetailSchema },
  errors: ['schedule_not_found'],
});

export const resumeScheduleRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/schedules/{scheduleId}/resume',
  summary: 'Resume a paused schedule; what came due meanwhile is not caught up',
  rateClass: 'write',
  verb: 'update',
  params,
  body: pauseBodySchema.prefault({}),
  replies: { 200: scheduleDetailSchema },
  errors: ['schedule_not_found'],
});

export const triggerScheduleRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/schedules/{scheduleId}/trigger',
  summary: 'Run a schedule now, also while it is paused',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'execute',
  params,
  body: triggerBodySchema.prefault({}),
  replies: { 201: scheduleRunSchema },
  errors: [...writeErrors, 'idempotency_conflict'],
});

export const backfillScheduleRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/schedules/{scheduleId}/backfill',
  summary: 'Run a schedule for the due times of a span of time',
  description: 'Both ends included. Also for times that have had their run, so that it can be repeated.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'execute',
  params,
  body: backfillBodySchema,
  replies: { 201: z.object({ runIds: z.array(z.uuid()) }) },
  errors: [...writeErrors, 'idempotency_conflict'],
});

export const listScheduleRunsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/schedules/{scheduleId}/runs',
  summary: 'List the runs of a schedule, also what was skipped or missed, latest due time first',
  rateClass: 'read',
  verb: 'read',
  params,
  query: scheduleRunQuerySchema,
  replies: { 200: scheduleRunPageSchema },
  errors: ['schedule_not_found', 'invalid_cursor'],
});
