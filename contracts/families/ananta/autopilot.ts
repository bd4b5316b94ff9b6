/** The autopilot as ananta's clients know it: it sets going the tasks of the active team. */
import { z } from 'zod';
import { defineRoute } from '../../route.ts';
import { settingTextSchema } from '../../settings.ts';
import {
  MAX_AUTOPILOT_CONCURRENCY,
  MAX_AUTOPILOT_INTERVAL_SECONDS,
  MAX_TEAM_DESCRIPTION_LENGTH,
  MAX_TEAM_NAME_LENGTH,
  securityLevels,
} from '../../teams.ts';
import { anantaSuccess } from '../ananta.ts';
import { anantaIdField } from './teams.ts';

const seconds = z.number().nullable().meta({ description: 'Seconds since 1970' });

const circuitsSchema = z.object({
  open_count: z.int(),
  open_workers: z.array(
    z.object({
      worker_url: z.string(),
      open_until: z.number(),
      remaining_seconds: z.number(),
      failure_streak: z.int(),
    }),
  ),
  failure_streak: z.record(z.string(), z.int()),
});

const statusSchema = z
  .object({
    running: z.boolean(),
    interval_seconds: z.number(),
    max_concurrency: z.int(),
    last_tick_at: seconds,
    last_error: z.string().nullable(),
    last_reason: z.string().nullable(),
    tick_count: z.int(),
    dispatched_count: z.int().meta({ description: 'Since the last start, as the counts below' }),
    completed_count: z.int(),
    failed_count: z.int(),
    open_count: z.int(),
    started_at: seconds,
    goal: z.string(),
    team_id: z.string(),
    budget_label: z.string(),
    security_level: z.enum(securityLevels),
    effective_security_policy: z.object({ level: z.enum(securityLevels), mode: z.string() }),
    circuit_breakers: circuitsSchema,
  })
  .meta({ id: 'AnantaAutopilotStatus' });
export type AnantaAutopilotStatus = z.infer<typeof statusSchema>;

/** Of tasks, so under their rights: reading is for all, the rest for administrators. */
const shared = { family: 'ananta', tags: ['ananta autopilot'], auth: 'user', resource: 'team' } as const;
const write = { ...shared, method: 'POST', rateClass: 'write', verb: 'update' } as const;
const keyErrors = ['idempotency_conflict', 'service_unavailable'] as const;

export const anantaStartAutopilotRoute = defineRoute({
  ...write,
  path: '/tasks/autopilot/start',
  summary: 'Start the autopilot, or change what it does',
  description:
    '`safe` runs tasks in mode `supervised`, the other levels in mode `auto`, which runs undecided only what policy ' +
    'allows. A `budget_label` that is an amount of dollars, as `5` or `5 USD`, is a limit.',
  body: z
    .object({
      interval_seconds: z.coerce.number().min(1).max(MAX_AUTOPILOT_INTERVAL_SECONDS).nullish(),
      max_concurrency: z.coerce.number().int().min(1).max(MAX_AUTOPILOT_CONCURRENCY).nullish(),
      goal: settingTextSchema(MAX_TEAM_DESCRIPTION_LENGTH).nullish(),
      team_id: anantaIdField.nullish(),
      budget_label: settingTextSchema(MAX_TEAM_NAME_LENGTH).nullish(),
      security_level: z.string().max(32).nullish(),
    })
    .default({}),
  replies: { 200: anantaSuccess(statusSchema) },
  errors: ['not_found'],
});

export const anantaStopAutopilotRoute = defineRoute({
  ...write,
  path: '/tasks/autopilot/stop',
  summary: 'Stop the autopilot; what it has set going goes on',
  replies: { 200: anantaSuccess(statusSchema) },
});

export const anantaTickAutopilotRoute = defineRoute({
  ...write,
  path: '/tasks/autopilot/tick',
  summary: 'Look for tasks to set going now, whether the autopilot runs or not',
  takesIdempotencyKey: true,
  body: z.object({ team_id: anantaIdField.nullish() }).default({}),
  replies: {
    200: anantaSuccess(statusSchema.extend({ dispatched: z.int(), reason: z.string() })),
  },
  errors: ['not_found', ...keyErrors],
});

export const anantaAutopilotStatusRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/tasks/autopilot/status',
  summary: 'How the autopilot is doing',
  rateClass: 'read',
  verb: 'read',
  replies: { 200: anantaSuccess(statusSchema) },
});

export const anantaCircuitsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/tasks/autopilot/circuits',
  summary: 'Which workers addressed by URL are left alone for now',
  rateClass: 'read',
  verb: 'read',
  replies: { 200: anantaSuccess(circuitsSchema) },
});

export const anantaResetCircuitsRoute = defineRoute({
  ...write,
  path: '/tasks/autopilot/circuits/reset',
  summary: 'Try workers again that were left alone: one, or all',
  body: z.object({ worker_url: settingTextSchema(MAX_TEAM_DESCRIPTION_LENGTH).nullish() }).default({}),
  replies: {
    200: anantaSuccess(
      z.object({ reset: z.int(), worker_url: z.string().nullable(), circuit_breakers: circuitsSchema }),
    ),
  },
});
