/** The shared log and the events of tasks, as clients of steel know them. */
import { z } from 'zod';
import { eventTypes } from '../../events.ts';
import { defineRoute, events, json } from '../../route.ts';
import { resumeQuery } from '../../shared.ts';
import { taskIdSchema } from '../../task-routes.ts';
import { steelTimeSchema } from './time.ts';

/** Comments of a stream that is silent this long, milliseconds, and their text. */
export const STEEL_HEARTBEAT_MS = 30_000;
export const STEEL_HEARTBEAT_TEXT = 'heartbeat';
/** Longest name of a posted event and longest target, characters. */
export const MAX_POSTED_NAME_LENGTH = 255;
export const MAX_POSTED_TARGET_LENGTH = 1_024;
/** Largest details of a posted event, bytes of their JSON. */
export const MAX_POSTED_DETAILS_BYTES = 16 * 1024;
/** Most events of one answer about a task: the newest. */
export const MAX_TASK_EVENTS = 1_000;

const detailsSchema = z
  .record(z.string(), z.unknown())
  .refine((details) => Buffer.byteLength(JSON.stringify(details)) <= MAX_POSTED_DETAILS_BYTES, {
    message: `Must be at most ${MAX_POSTED_DETAILS_BYTES} bytes of JSON`,
  });

/** An entry of the shared log. */
export const steelPostedEventSchema = z
  .object({
    id: z
      .int()
      .meta({ description: 'Number of the entry: give it back as Last-Event-ID to go on behind it' }),
    ts: steelTimeSchema,
    event: z.string(),
    actor: z.string().meta({ description: 'Name of who posted it' }),
    target: z.string(),
    details: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'SteelPostedEvent' });
export type SteelPostedEvent = z.infer<typeof steelPostedEventSchema>;

/** An event of a task or a command. */
export const steelEventSchema = z
  .object({
    id: z.string().meta({ description: 'Give it back as Last-Event-ID to go on behind it' }),
    event: z.enum(eventTypes),
    timestamp: steelTimeSchema,
    task_id: z.string().nullable(),
    run_id: z.string().nullable().meta({ description: 'A run is named by its task: the same as `task_id`' }),
    command_id: z.string().nullable(),
    agent_id: z.string().nullable(),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'SteelEvent' });
export type SteelEvent = z.infer<typeof steelEventSchema>;

const shared = { family: 'steel', tags: ['steel events'], auth: 'user', resource: 'event' } as const;
const keepsOpen =
  'Frames are `data: {…}` and an empty line; a comment `: heartbeat` every 30 s. Clients that cannot send headers put ' +
  'a ticket in `ticket` or a token in `token`.';

export const steelPostEventRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/events',
  summary: 'Write into the shared log',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: z.strictObject({
    event: z.string().min(1).max(MAX_POSTED_NAME_LENGTH),
    target: z.string().min(1).max(MAX_POSTED_TARGET_LENGTH),
    details: detailsSchema.default({}),
  }),
  replies: {
    200: json(z.object({ ok: z.literal(true) }).meta({ id: 'SteelPosted' }), {
      headers: { ETag: 'State of the log as far as the caller sees it: another one after every entry' },
    }),
  },
  errors: ['idempotency_conflict'],
});

/** The words for a flag in a query that clients written in Python send. */
const yes = ['1', 'true', 'True', 'yes', 'on'] as const;
const no = ['0', 'false', 'False', 'no', 'off'] as const;
export const isYes = (word: string | undefined): boolean => yes.some((each) => each === word);

export const steelTailEventsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/events/tail',
  summary: 'Follow the shared log',
  description:
    `Server-sent events: what is in the log, oldest first, then what is added; with \`once\` the stream ends where the ` +
    `log ended at its start. ${keepsOpen} Entries are kept 90 days. Whoever may not see all events is shown what they ` +
    'posted themselves.',
  rateClass: 'read',
  verb: 'list',
  query: z.strictObject({
    ...resumeQuery,
    once: z
      .enum([...yes, ...no])
      .optional()
      .meta({ description: 'End after what is there' }),
  }),
  replies: { 200: events(steelPostedEventSchema) },
  errors: ['invalid_cursor'],
});

const ofTask = {
  task_id: taskIdSchema.optional(),
  run_id: taskIdSchema
    .optional()
    .meta({ description: 'As `task_id`, which goes before it: a run is named by its task' }),
};

/** One of the two ids has to be there. */
const namesTask = (query: { task_id?: string | undefined; run_id?: string | undefined }): boolean =>
  query.task_id !== undefined || query.run_id !== undefined;
const nameOne = { message: 'Either task_id or run_id must be provided', path: ['task_id'] };

const ofOneTask = {
  ...shared,
  method: 'GET',
  rateClass: 'read',
  verb: 'list',
  errorTexts: { task_not_found: { message: 'Task not found' } },
} as const;

export const steelListTaskEventsRoute = defineRoute({
  ...ofOneTask,
  path: '/api/v1/orchestrator/events',
  summary: 'List the events of a task and its commands',
  description: `Oldest first, the newest ${MAX_TASK_EVENTS} at most. Events are kept 7 days.`,
  query: z.strictObject(ofTask).refine(namesTask, nameOne),
  replies: { 200: z.object({ events: z.array(steelEventSchema) }).meta({ id: 'SteelEvents' }) },
  errors: ['task_not_found'],
});

export const steelStreamTaskEventsRoute = defineRoute({
  ...ofOneTask,
  path: '/api/v1/orchestrator/events/stream',
  summary: 'Follow the events of a task and its commands',
  description: `Server-sent events: those of the last 7 days, then each as it commits. ${keepsOpen}`,
  query: z.strictObject({ ...ofTask, ...resumeQuery }).refine(namesTask, nameOne),
  replies: { 200: events(steelEventSchema) },
  errors: ['task_not_found', 'invalid_cursor'],
});
