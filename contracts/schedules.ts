/** Schedules: when something runs, what, where, and what becomes of a time that comes while the last run still goes on. */
import { z } from 'zod';
import { agentIdSchema } from './agent-protocol.ts';
import { actRequestSchema } from './commands.ts';
import { executeSavedBodySchema } from './saved-commands.ts';
import { actorRefSchema, pageOf, pageQuery, timeSchema } from './shared.ts';
import { createTaskBodySchema } from './tasks.ts';

/** Schedules of an installation. */
export const MAX_SCHEDULES = 10_000;
/** Shortest time between two runs of an interval, milliseconds; Temporal has no shorter one. */
export const MIN_INTERVAL_MS = 1_000;
export const MAX_INTERVAL_MS = 366 * 24 * 60 * 60 * 1_000;
/** How late a run may begin, milliseconds: what comes later is missed. The shortest is Temporal's. */
export const MIN_CATCH_UP_WINDOW_MS = 10_000;
export const DEFAULT_CATCH_UP_WINDOW_MS = 60 * 60 * 1_000;
export const MAX_CATCH_UP_WINDOW_MS = 366 * 24 * 60 * 60 * 1_000;
/** Longest random delay of a run, milliseconds. */
export const MAX_JITTER_MS = 24 * 60 * 60 * 1_000;
/** Most calendars of one schedule. */
export const MAX_CALENDARS = 10;
/** Most agents of one run whose work is tasks: each is a task of its own. */
export const MAX_TASKS_PER_RUN = 200;
/** Most agents that a schedule may name. */
export const MAX_SCHEDULE_AGENTS = 1_000;
/** Runs that one backfill may ask for. */
export const MAX_BACKFILL_RUNS = 500;
/** Runs that may wait for their turn; what comes on top is skipped. */
export const MAX_WAITING_RUNS = 1_000;
/** Due times that a preview shows. */
export const PREVIEW_RUNS = 10;
/** Runs are kept this long after their end, days. */
export const SCHEDULE_RUN_RETENTION_DAYS = 90;

const lineSchema = (maxLength: number) =>
  z
    .string()
    .trim()
    .min(1)
    .max(maxLength)
    .refine((text) => !/[\p{Cc}\p{Cs}]/u.test(text), { error: 'must not hold control characters' });
const noteSchema = z
  .string()
  .max(2_000)
  .refine((text) => !text.includes('\0') && text.isWellFormed(), { error: 'must be well-formed text' });

/** A name of the IANA database; offsets such as `+02:00` are none, nor is what only the runtime knows. */
export const timeZoneSchema = z
  .string()
  .max(64)
  .refine((name) => /^(?!systemv\/)[a-z]/i.test(name) && isTimeZone(name), {
    error: 'must be a time zone of the IANA database, for example Europe/Berlin',
  });

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

const rangeSchema = (min: number, max: number) =>
  z
    .array(
      z.union([
        z.int().min(min).max(max),
        z
          .strictObject({
            from: z.int().min(min).max(max),
            to: z.int().min(min).max(max),
            step: z.int().min(1).max(max).default(1),
          })
          .refine(({ from, to }) => from <= to, { error: 'must not end before it begins', path: ['to'] }),
      ]),
    )
    .min(1)
    .max(64);

/** All that is named must be true of a time at once, the days of month and week too. */
export const calendarSchema = z
  .strictObject({
    second: rangeSchema(0, 59).default([0]),
    minute: rangeSchema(0, 59).default([0]),
    hour: rangeSchema(0, 23).default([0]),
    dayOfMonth: rangeSchema(1, 31).optional(),
    month: rangeSchema(1, 12).optional(),
    dayOfWeek: rangeSchema(0, 6).optional().meta({ description: '0 is Sunday' }),
    year: rangeSchema(2000, 2100).optional(),
  })
  .meta({ description: 'Numbers and ranges; what is not given is any (second, minute and hour: 0)' });
export type Calendar = z.infer<typeof calendarSchema>;

export const timingSchema = z
  .discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('cron'),
      expression: z
        .string()
        .trim()
        .min(1)
        .max(256)
        .meta({
          description:
            'Five fields (minute hour day-of-month month day-of-week) or @hourly, @daily, @weekly, @monthly, ' +
            '@yearly. A day must fit both day fields when both are given.',
        }),
      timeZone: timeZoneSchema.default('UTC'),
    }),
    z.strictObject({
      kind: z.literal('interval'),
      everyMs: z.int().min(MIN_INTERVAL_MS).max(MAX_INTERVAL_MS).multipleOf(1_000),
      offsetMs: z
        .int()
        .min(0)
        .multipleOf(1_000)
        .default(0)
        .meta({ description: 'Runs are at whole multiples of `everyMs` since 1970-01-01T00:00Z plus this' }),
    }),
    z.strictObject({
      kind: z.literal('calendar'),
      calendars: z.array(calendarSchema).min(1).max(MAX_CALENDARS),
      timeZone: timeZoneSchema.default('UTC'),
    }),
  ])
  .refine((timing) => timing.kind !== 'interval' || timing.offsetMs < timing.everyMs, {
    error: 'must be less than everyMs',
    path: ['offsetMs'],
  });
export type Timing = z.infer<typeof timingSchema>;

const { target: _target, callbackUrl: _callbackUrl, ...taskTemplate } = createTaskBodySchema.shape;
const saved = executeSavedBodySchema.shape;

export const scheduleActionSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('task'),
    task: z
      .strictObject(taskTemplate)
      .meta({ description: 'A task without its target: each run creates it' }),
  }),
  z.strictObject({
    kind: z.literal('saved_command'),
    savedCommandId: z.uuid(),
    parameters: saved.parameters,
    shell: saved.shell,
    workingDirectory: saved.workingDirectory,
    user: saved.user,
    elevated: saved.elevated,
    timeoutMs: saved.timeoutMs,
    expiryMs: saved.expiryMs,
  }),
  z.strictObject({ kind: z.literal('command'), act: actRequestSchema }),
]);
export type ScheduleAction = z.infer<typeof scheduleActionSchema>;

export const scheduleTargetSchema = z
  .union([
    z.strictObject({ agentIds: z.array(agentIdSchema).min(1).max(MAX_SCHEDULE_AGENTS) }),
    z
      .strictObject({ match: z.string().min(1).max(2_000) })
      .meta({ description: 'A tag expression; which agents it means is found at each run' }),
    z.strictObject({ any: z.literal(true) }).meta({ description: 'Only for tasks: the least busy agent' }),
  ])
  .meta({ description: 'Where it runs. A task action makes one task for each agent.' });
export type ScheduleTarget = z.infer<typeof scheduleTargetSchema>;

/**
 * What becomes of a due time while an earlier run is not over. `skip`: nothing. `buffer_one`: one run waits, others are
 * skipped. `buffer_all`: runs wait for their turn. `cancel_other`: the earlier run is canceled, this one waits for its
 * end. `allow_all`: it runs beside the others.
 */
export const overlapPolicies = ['skip', 'buffer_one', 'buffer_all', 'cancel_other', 'allow_all'] as const;
export type OverlapPolicy = (typeof overlapPolicies)[number];

const contentShape = {
  name: lineSchema(200),
  note: noteSchema.nullable(),
  timing: timingSchema,
  action: scheduleActionSchema,
  target: scheduleTargetSchema,
  overlap: z.enum(overlapPolicies),
  catchUpWindowMs: z
    .int()
    .min(MIN_CATCH_UP_WINDOW_MS)
    .max(MAX_CATCH_UP_WINDOW_MS)
    .multipleOf(1_000)
    .meta({ description: 'A run that could not begin in time begins this much later at most' }),
  jitterMs: z
    .int()
    .min(0)
    .max(MAX_JITTER_MS)
    .multipleOf(1_000)
    .meta({ description: 'Each run begins up to this much later, at random' }),
  startAt: timeSchema.nullable().meta({ description: 'No run before this' }),
  endAt: timeSchema.nullable().meta({ description: 'No run after this' }),
  maxRuns: z
    .int()
    .min(1)
    .max(1_000_000)
    .nullable()
    .meta({ description: 'Due runs that are begun in all; those asked for by hand do not count' }),
};

export const createScheduleBodySchema = z.strictObject({
  ...contentShape,
  note: contentShape.note.default(null),
  overlap: contentShape.overlap.default('skip'),
  catchUpWindowMs: contentShape.catchUpWindowMs.default(DEFAULT_CATCH_UP_WINDOW_MS),
  jitterMs: contentShape.jitterMs.default(0),
  startAt: contentShape.startAt.default(null),
  endAt: contentShape.endAt.default(null),
  maxRuns: contentShape.maxRuns.default(null),
  paused: z.boolean().default(false),
});
export type CreateScheduleBody = z.infer<typeof createScheduleBodySchema>;
export type ScheduleContent = Omit<CreateScheduleBody, 'paused'>;

/** What is not given stays as it is. */
export const updateScheduleBodySchema = z.strictObject({
  ...z.object(contentShape).partial().shape,
  revision: z
    .int()
    .min(1)
    .optional()
    .meta({ description: 'The revision that was read: the change is refused when there is a newer one' }),
});
export type UpdateScheduleBody = z.infer<typeof updateScheduleBodySchema>;

export const scheduleStates = ['active', 'paused', 'ended'] as const;

export const scheduleSchema = z
  .object({
    id: z.uuid(),
    ...contentShape,
    state: z
      .enum(scheduleStates)
      .meta({ description: '`ended`: its end has come, or all its runs have begun' }),
    pausedAt: timeSchema.nullable(),
    pauseNote: z.string().nullable(),
    runsStarted: z.int(),
    revision: z.int(),
    words: z.string().meta({ description: 'The timing in words' }),
    nextRunAt: timeSchema.nullable(),
    sync: z
      .object({
        state: z.enum(['pending', 'synced', 'failed']),
        error: z.string().nullable(),
        at: timeSchema.nullable(),
      })
      .meta({ description: 'Whether Temporal has heard of the newest revision; it is told until it has' }),
    createdBy: actorRefSchema,
    editedBy: actorRefSchema.meta({
      description: 'Runs are in the name, and with the rights, of this person',
    }),
    createdAt: timeSchema,
    updatedAt: timeSchema,
  })
  .meta({ id: 'Schedule' });
export type ScheduleView = z.infer<typeof scheduleSchema>;

export const nextRunsSchema = z.object({
  words: z.string(),
  times: z.array(timeSchema).meta({ description: 'The next ten, without jitter' }),
});

export const scheduleDetailSchema = scheduleSchema
  .extend({
    nextRuns: nextRunsSchema.extend({
      agreesWithServer: z
        .boolean()
        .nullable()
        .meta({ description: 'What Temporal itself says comes next is the same; null: not compared yet' }),
      checkedAt: timeSchema.nullable(),
    }),
  })
  .meta({ id: 'ScheduleDetail' });
export type ScheduleDetailView = z.infer<typeof scheduleDetailSchema>;

export const schedulePageSchema = pageOf(scheduleSchema);
export const scheduleListQuerySchema = z.strictObject({
  ...pageQuery,
  paused: z.enum(['true', 'false']).optional(),
});

export const previewBodySchema = z.strictObject({
  timing: timingSchema,
  startAt: timeSchema.nullable().default(null),
  endAt: timeSchema.nullable().default(null),
});

export const pauseBodySchema = z.strictObject({
  note: noteSchema.optional().meta({ description: 'Why; shown with the schedule' }),
});
export const triggerBodySchema = z.strictObject({
  overlap: z.enum(overlapPolicies).optional().meta({
    description: "Default: the schedule's; `skip` answers 409 while an earlier run is not over",
  }),
});
export const backfillBodySchema = z
  .strictObject({
    from: timeSchema,
    to: timeSchema,
    overlap: z
      .enum(['buffer_all', 'allow_all'])
      .default('buffer_all')
      .meta({ description: 'One after the other, or all at once' }),
  })
  .refine(({ from, to }) => Date.parse(from) <= Date.parse(to), {
    error: 'must not be before `from`',
    path: ['to'],
  });
export type BackfillBody = z.infer<typeof backfillBodySchema>;

export const runTriggers = ['due', 'manual', 'backfill'] as const;
export type RunTrigger = (typeof runTriggers)[number];

/** `waiting`: for an earlier run. `skipped` and `missed` never began. */
export const runStates = [
  'waiting',
  'running',
  'succeeded',
  'failed',
  'canceled',
  'skipped',
  'missed',
] as const;
export type RunState = (typeof runStates)[number];

/**
 * Why a due time had no run. `overlap`: an earlier run was not over. `paused`: the schedule was. `catch_up_window`:
 * nothing could begin it in time. `no_agent`: its target means no agent now. `replaced`: a later one took its turn.
 * `deleted`: the schedule was, while it waited. `limit`: all its runs had begun.
 */
export const skipReasons = [
  'overlap',
  'paused',
  'catch_up_window',
  'no_agent',
  'replaced',
  'deleted',
  'limit',
] as const;
export type SkipReason = (typeof skipReasons)[number];

export const scheduleRunSchema = z
  .object({
    id: z.uuid(),
    scheduleId: z.uuid(),
    trigger: z.enum(runTriggers),
    state: z.enum(runStates),
    reason: z
      .string()
      .nullable()
      .meta({
        description:
          'Of what was skipped or missed: `overlap`, `paused`, `catch_up_window`, `no_agent`, `replaced`, ' +
          '`deleted`, `limit`; of what failed before it began: an error code',
      }),
    message: z.string().nullable(),
    dueAt: timeSchema.meta({ description: 'Without jitter' }),
    count: z.int().meta({ description: 'More than 1: so many due times in a row, up to `lastDueAt`' }),
    lastDueAt: timeSchema,
    revision: z.int().meta({ description: 'Of the schedule' }),
    taskIds: z.array(z.string()),
    batchIds: z.array(z.uuid()),
    refused: z.array(z.object({ agentId: z.string(), code: z.string(), message: z.string() })),
    startedAt: timeSchema.nullable(),
    endedAt: timeSchema.nullable(),
    createdAt: timeSchema,
  })
  .meta({ id: 'ScheduleRun' });
export type ScheduleRunView = z.infer<typeof scheduleRunSchema>;
export const scheduleRunPageSchema = pageOf(scheduleRunSchema);
export const scheduleRunQuerySchema = z.strictObject({ ...pageQuery, state: z.enum(runStates).optional() });
