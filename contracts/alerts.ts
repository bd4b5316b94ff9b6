/** Alerts: something that people wanted to be told of, from when it began to when it was over. */
import { z } from 'zod';
import { agentIdSchema } from './agent-protocol.ts';
import { alertKinds, alertSeverities, alertSeveritySchema } from './alert-rules.ts';
import { defineRoute } from './route.ts';
import { actorRefSchema, pageOf, pageQuery, timeSchema } from './shared.ts';

/** Resolved alerts are kept this long, days. */
export const ALERT_RETENTION_DAYS = 90;
/** Longest note, characters. */
export const MAX_ALERT_NOTE_LENGTH = 2_000;

export const alertStates = ['open', 'acknowledged', 'resolved'] as const;
export type AlertState = (typeof alertStates)[number];

/** Why an alert is resolved. */
export const alertResolutions = ['condition_ended', 'person', 'rule_disabled', 'rule_deleted'] as const;
export type AlertResolution = (typeof alertResolutions)[number];

export const alertSchema = z
  .object({
    id: z.uuid(),
    ruleId: z.uuid().nullable().meta({ description: 'null once the rule was deleted' }),
    ruleName: z.string(),
    kind: z.enum(alertKinds),
    severity: alertSeveritySchema,
    state: z.enum(alertStates),
    title: z.string().meta({ description: 'A sentence for people' }),
    subject: z.object({ kind: z.enum(['agent', 'task', 'rollout']), id: z.string() }),
    agentId: z.string().nullable(),
    details: z
      .record(z.string(), z.unknown())
      .meta({ description: 'Facts by kind: value and limit, the newest command and how many, the step' }),
    occurrences: z.int().meta({
      description: 'How often it came back, or happened again, since it was opened; 1 at first',
    }),
    note: z.string().nullable(),
    openedAt: timeSchema,
    lastAt: timeSchema.meta({ description: 'When it was last seen to begin or to happen again' }),
    acknowledgedAt: timeSchema.nullable(),
    acknowledgedBy: actorRefSchema.nullable(),
    resolvedAt: timeSchema.nullable(),
    resolution: z.enum(alertResolutions).nullable(),
    resolvedBy: actorRefSchema.nullable(),
  })
  .meta({ id: 'Alert' });
export type AlertView = z.infer<typeof alertSchema>;

export const alertListQuerySchema = z.strictObject({
  ...pageQuery,
  state: z
    .enum([...alertStates, 'active'])
    .optional()
    .meta({ description: '`active`: open or acknowledged' }),
  severity: alertSeveritySchema.optional(),
  kind: z.enum(alertKinds).optional(),
  ruleId: z.uuid().optional(),
  agentId: agentIdSchema.optional(),
});
export type AlertListQuery = z.infer<typeof alertListQuerySchema>;

const countsSchema = z.object(
  Object.fromEntries(alertSeverities.map((severity) => [severity, z.int()])) as Record<
    (typeof alertSeverities)[number],
    z.ZodInt
  >,
);

export const alertSummarySchema = z
  .object({
    open: countsSchema.meta({ description: 'Nobody has taken them yet, by severity' }),
    acknowledged: countsSchema,
  })
  .meta({ id: 'AlertSummary' });
export type AlertSummary = z.infer<typeof alertSummarySchema>;

const noteSchema = z
  .string()
  .trim()
  .max(MAX_ALERT_NOTE_LENGTH)
  .refine((text) => !text.includes('\0') && text.isWellFormed(), {
    error: 'must be well-formed text without NUL characters',
  });

export const alertNoteBodySchema = z.strictObject({
  note: noteSchema.nullable().meta({ description: 'null or empty takes it away' }),
});
export const alertActBodySchema = z.strictObject({
  note: noteSchema.min(1).optional().meta({ description: 'Takes the place of the note that is there' }),
});

const shared = { family: 'house', tags: ['alerts'], auth: 'user', resource: 'alert' } as const;
const params = z.object({ alertId: z.uuid() });

export const listAlertsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/alerts',
  summary: 'List alerts, newest first',
  rateClass: 'read',
  verb: 'list',
  query: alertListQuerySchema,
  replies: { 200: pageOf(alertSchema) },
  errors: ['invalid_cursor'],
});

export const alertSummaryRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/alerts/summary',
  summary: 'Count the alerts that are not resolved, by severity',
  rateClass: 'read',
  verb: 'list',
  replies: { 200: alertSummarySchema },
});

export const getAlertRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/alerts/{alertId}',
  summary: 'Read an alert',
  rateClass: 'read',
  verb: 'read',
  params,
  replies: { 200: alertSchema },
  errors: ['alert_not_found'],
});

export const noteAlertRoute = defineRoute({
  ...shared,
  method: 'PATCH',
  path: '/v1/alerts/{alertId}',
  summary: 'Write the note of an alert',
  rateClass: 'write',
  verb: 'update',
  params,
  body: alertNoteBodySchema,
  replies: { 200: alertSchema },
  errors: ['alert_not_found'],
});

export const acknowledgeAlertRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/alerts/{alertId}/acknowledge',
  summary: 'Say that somebody takes care of an alert; again changes nothing',
  rateClass: 'write',
  verb: 'update',
  params,
  body: alertActBodySchema.prefault({}),
  replies: { 200: alertSchema },
  errors: ['alert_not_found', 'conflict'],
});

export const resolveAlertRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/alerts/{alertId}/resolve',
  summary: 'Resolve an alert; again changes nothing',
  description:
    'It is opened again only after its condition was gone, or (`command_ended`) by commands that end after this.',
  rateClass: 'write',
  verb: 'update',
  params,
  body: alertActBodySchema.prefault({}),
  replies: { 200: alertSchema },
  errors: ['alert_not_found'],
});
