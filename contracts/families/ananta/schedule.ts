/** Schedules as ananta's clients know them: a command that runs on the server's own machine every so many seconds. */
import { z } from 'zod';
import { defineRoute } from '../../route.ts';
import { anantaSuccess } from '../ananta.ts';
import { anantaText, anantaTexts } from './auth.ts';

const shared = {
  family: 'ananta',
  tags: ['ananta schedules'],
  auth: 'user',
  resource: 'schedule',
  path: '/schedule',
} as const;

/** Longest command, characters. */
const MAX_COMMAND_LENGTH = 120 * 1024;

export const anantaScheduleSchema = z
  .object({
    id: z.string(),
    command: z.string(),
    interval_seconds: z.int(),
    next_run: z.number().nullable().meta({ description: 'Seconds since the epoch' }),
    last_run: z.number().nullable().meta({ description: 'Seconds since the epoch' }),
    enabled: z.boolean(),
  })
  .meta({ id: 'AnantaSchedule' });
export type AnantaSchedule = z.infer<typeof anantaScheduleSchema>;

export const anantaListSchedulesRoute = defineRoute({
  ...shared,
  method: 'GET',
  summary: 'List the schedules of commands with an interval',
  rateClass: 'read',
  verb: 'list',
  replies: { 200: anantaSuccess(z.array(anantaScheduleSchema)) },
});

export const anantaCreateScheduleRoute = defineRoute({
  ...shared,
  method: 'POST',
  summary: 'Run a command on the local agent every so many seconds',
  description: 'The first run is one interval from now. Takes the right to run commands.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: z.object({
    command: anantaText(MAX_COMMAND_LENGTH),
    interval_seconds: z.unknown().optional().meta({ description: 'A whole number from 1' }),
  }),
  replies: { 201: anantaSuccess(anantaScheduleSchema) },
  errors: [
    'invalid_request',
    'conflict',
    'idempotency_conflict',
    'schedule_not_found',
    'saved_command_not_found',
    'agent_not_found',
    'agent_revoked',
  ],
  errorTexts: { invalid_request: anantaTexts.invalidRequest },
});

export const anantaDeleteScheduleRoute = defineRoute({
  ...shared,
  path: '/schedule/{scheduleId}',
  method: 'DELETE',
  summary: 'Delete a schedule; the answer is the same where there is none',
  rateClass: 'write',
  verb: 'delete',
  params: z.object({ scheduleId: z.string().min(1).max(128) }),
  replies: { 200: anantaSuccess(z.object({ status: z.literal('deleted') })) },
});
