/** The hub as ananta's clients look at it: what its probes say, figures, events. Routes stand at the root and under `/api/system`. */
import { z } from 'zod';
import { events } from '../../route.ts';
import { resumeQuery } from '../../shared.ts';
import { anantaSuccess } from '../ananta.ts';
import { onPaths } from './paths.ts';

/** Entries of one answer of the history unless asked otherwise, at most, and how far back it can be paged. */
export const DEFAULT_STATS_LIMIT = 100;
export const MAX_STATS_LIMIT = 1_000;
export const MAX_STATS_OFFSET = 100_000;

const shared = { family: 'ananta', tags: ['ananta system'], method: 'GET' } as const;
const known = { ...shared, auth: 'user', rateClass: 'read' } as const;

const upSchema = z.object({ status: z.enum(['ok', 'down', 'error']) });
const providersSchema = z.record(z.string(), z.enum(['ok', 'unstable', 'unreachable', 'error']));

export const anantaHealthDataSchema = z
  .object({
    agent: z.string(),
    checks: z.record(z.string(), z.union([upSchema, providersSchema])).meta({
      description:
        "`shell`: the agent of the server's own machine. `llm_providers`: each provider and how its last calls went. " +
        'Others: what the server needs',
    }),
  })
  .meta({ id: 'AnantaHealth' });
export type AnantaHealthData = z.infer<typeof anantaHealthDataSchema>;

const readyCheckSchema = z.object({
  status: z.enum(['ok', 'unstable', 'unreachable', 'error']),
  latency: z.number().optional().meta({ description: 'Seconds' }),
  code: z.int().optional(),
  provider: z.string().optional(),
  message: z.string().optional(),
});
export const anantaReadyDataSchema = z.object({
  ready: z.boolean(),
  checks: z.record(z.string(), readyCheckSchema),
});
export type AnantaReadyData = z.infer<typeof anantaReadyDataSchema>;

const countSchema = z.int();
const figures = {
  agents: z.object({ total: countSchema, online: countSchema, offline: countSchema }),
  tasks: z
    .object({
      total: countSchema,
      completed: countSchema,
      failed: countSchema,
      todo: countSchema,
      in_progress: countSchema,
    })
    .catchall(countSchema)
    .meta({ description: 'By status; those that are archived are not counted' }),
  shell_pool: z
    .object({ total: countSchema, free: countSchema, busy: countSchema })
    .meta({ description: 'Agents that are connected, and how many of them run something' }),
  resources: z.object({ cpu_percent: z.number(), ram_bytes: countSchema }),
  timestamp: z.number().meta({ description: 'Seconds since 1970' }),
};

export const anantaStatsSchema = z.object({ ...figures, agent_name: z.string() }).meta({ id: 'AnantaStats' });
export type AnantaStats = z.infer<typeof anantaStatsSchema>;
export const anantaStatsEntrySchema = z.object(figures).meta({ id: 'AnantaStatsEntry' });
export type AnantaStatsEntry = z.infer<typeof anantaStatsEntrySchema>;

export const anantaStatsRoutes = onPaths(
  {
    ...known,
    path: '/stats',
    summary: 'Count agents and tasks, and tell what the server uses up',
    verb: 'read',
    resource: 'system',
    replies: { 200: anantaSuccess(anantaStatsSchema) },
  },
  '/api/system/stats',
);

export const anantaStatsHistoryRoutes = onPaths(
  {
    ...known,
    path: '/stats/history',
    summary: 'The figures over time',
    description:
      'One entry a minute for two days, one a quarter of an hour for 30 days, one an hour for a year. The newest `limit` ' +
      'entries, oldest first; `offset` leaves out that many of the newest.',
    verb: 'read',
    resource: 'system',
    query: z.strictObject({
      limit: z.coerce.number().int().min(1).max(MAX_STATS_LIMIT).default(DEFAULT_STATS_LIMIT),
      offset: z.coerce.number().int().min(0).max(MAX_STATS_OFFSET).default(0),
    }),
    replies: { 200: anantaSuccess(z.array(anantaStatsEntrySchema)) },
  },
  '/api/system/stats/history',
);

export const anantaEventSchema = z
  .object({
    type: z.string().meta({ description: 'Name of the event with `_` for `.`', example: 'task_completed' }),
    data: z.record(z.string(), z.unknown()).meta({
      description: '`task_id`, `agent_id`, `command_id`, of tasks their `status`; what the event says',
    }),
    timestamp: z.number().meta({ description: 'Seconds since 1970' }),
    id: z.string().meta({ description: 'Give it back as Last-Event-ID to go on behind it' }),
  })
  .meta({ id: 'AnantaEvent' });
export type AnantaEvent = z.infer<typeof anantaEventSchema>;

export const anantaEventsRoutes = onPaths(
  {
    ...known,
    path: '/events',
    summary: 'Follow what happens',
    description:
      'Server-sent events from now on, or from the one of Last-Event-ID on. Frames are `data: {…}` and an empty line; a ' +
      'comment `: keep-alive` every 15 s of silence. Clients that cannot send headers put a ticket in `ticket` or a token ' +
      'in `token`. Whoever sees only own things gets only their events.',
    verb: 'list',
    resource: 'event',
    query: z.strictObject(resumeQuery),
    replies: { 200: events(anantaEventSchema) },
    errors: ['invalid_cursor'],
  },
  '/api/system/events',
);
