/** Rules of alerts: what people want to be told of, of which agents, and how urgent it is. */
import { z } from 'zod';
import { tagExpressionSchema } from './agents.ts';
import { defineRoute, empty, json } from './route.ts';
import { actorRefSchema, pageOf, pageQuery, timeSchema } from './shared.ts';

/** Most rules: each is a statement a round. */
export const MAX_ALERT_RULES = 100;
/** Longest that a condition must last, or is looked back for, milliseconds: a week. */
export const MAX_ALERT_WINDOW_MS = 7 * 24 * 60 * 60 * 1_000;
/** A condition must be gone for this long before its alert resolves itself, unless the rule says otherwise, milliseconds. */
export const DEFAULT_ALERT_CLEAR_MS = 60_000;
/** Most commands a rule counts before it tells. */
export const MAX_ALERT_COUNT = 10_000;

export const alertSeverities = ['info', 'warning', 'critical'] as const;
export type AlertSeverity = (typeof alertSeverities)[number];
export const alertSeveritySchema = z.enum(alertSeverities);

/** Outcomes of commands that a rule may be about. */
export const alertOutcomes = ['failed', 'timed_out', 'unknown', 'expired', 'rejected'] as const;

const windowSchema = z.int().min(0).max(MAX_ALERT_WINDOW_MS);
const forMs = windowSchema.meta({
  description: 'How long it must last before it is told, milliseconds',
  example: 300_000,
});
const limitPercent = z.number().min(0).max(1_000).meta({ example: 90 });
const overCondition = <Kind extends string>(kind: Kind) =>
  z.strictObject({ kind: z.literal(kind), limitPercent, forMs });

export const alertConditionSchema = z
  .discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('agent_offline'), forMs }),
    overCondition('cpu_over'),
    overCondition('memory_over'),
    overCondition('disk_over').meta({ description: 'The fullest disk of an agent' }),
    z
      .strictObject({
        kind: z.literal('command_ended'),
        outcomes: z
          .array(z.enum(alertOutcomes))
          .min(1)
          .max(alertOutcomes.length)
          .default(['failed', 'timed_out', 'unknown']),
        count: z.int().min(1).max(MAX_ALERT_COUNT).default(1),
        withinMs: windowSchema.min(1_000).default(60 * 60 * 1_000),
      })
      .meta({ description: 'At least `count` commands of an agent ended so within the last `withinMs`' }),
    z
      .strictObject({ kind: z.literal('approval_waiting'), forMs })
      .meta({ description: 'A proposal of a task, or the next batch of a rollout, waits for a decision' }),
  ])
  .meta({ id: 'AlertCondition' });
export type AlertCondition = z.infer<typeof alertConditionSchema>;
export type AlertKind = AlertCondition['kind'];

export const alertKinds = [
  'agent_offline',
  'cpu_over',
  'memory_over',
  'disk_over',
  'command_ended',
  'approval_waiting',
] as const satisfies readonly AlertKind[];

const nameSchema = z
  .string()
  .trim()
  .min(1)
  .max(100)
  .refine((text) => !/[\p{Cc}\p{Cs}]/u.test(text), { error: 'must not hold control characters' });

const content = {
  name: nameSchema,
  description: z.string().trim().max(1_000).nullable(),
  severity: alertSeveritySchema,
  match: tagExpressionSchema
    .nullable()
    .meta({ description: 'Only of agents whose tags fit (of tasks: their agent); null: of all' }),
  condition: alertConditionSchema,
  clearMs: windowSchema.meta({
    description: 'An alert resolves itself once its condition was gone for this long, milliseconds',
  }),
  enabled: z.boolean().meta({ description: 'A rule that is switched off resolves its alerts' }),
};

export const createAlertRuleBodySchema = z.strictObject({
  ...content,
  description: content.description.default(null),
  severity: content.severity.default('warning'),
  match: content.match.default(null),
  clearMs: content.clearMs.default(DEFAULT_ALERT_CLEAR_MS),
  enabled: content.enabled.default(true),
});
export type AlertRuleContent = z.infer<typeof createAlertRuleBodySchema>;

/** What is not given stays as it is. A rule keeps the kind of its condition. */
export const updateAlertRuleBodySchema = z.strictObject(z.object(content).partial().shape);
export type AlertRuleChange = z.infer<typeof updateAlertRuleBodySchema>;

export const alertRuleSchema = z
  .object({
    id: z.uuid(),
    ...content,
    editedBy: actorRefSchema,
    createdAt: timeSchema,
    updatedAt: timeSchema,
  })
  .meta({ id: 'AlertRule' });
export type AlertRuleView = z.infer<typeof alertRuleSchema>;

const shared = { family: 'house', tags: ['alerts'], auth: 'user', resource: 'alert_rule' } as const;
const one = {
  path: '/v1/alert-rules/{alertRuleId}',
  params: z.object({ alertRuleId: z.uuid() }),
} as const;

export const listAlertRulesRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/alert-rules',
  summary: 'List rules of alerts, newest first',
  rateClass: 'read',
  verb: 'list',
  query: z.strictObject(pageQuery),
  replies: { 200: pageOf(alertRuleSchema) },
  errors: ['invalid_cursor'],
});

export const createAlertRuleRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/alert-rules',
  summary: 'Make a rule of alerts',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: createAlertRuleBodySchema,
  replies: { 201: json(alertRuleSchema, { headers: { Location: 'Path of the rule' } }) },
  errors: ['conflict', 'idempotency_conflict', 'alert_rule_not_found', 'service_unavailable'],
});

export const getAlertRuleRoute = defineRoute({
  ...shared,
  ...one,
  method: 'GET',
  summary: 'Read a rule of alerts',
  rateClass: 'read',
  verb: 'read',
  replies: { 200: alertRuleSchema },
  errors: ['alert_rule_not_found'],
});

export const updateAlertRuleRoute = defineRoute({
  ...shared,
  ...one,
  method: 'PATCH',
  summary: 'Change a rule of alerts; the next round looks by the new one',
  rateClass: 'write',
  verb: 'update',
  body: updateAlertRuleBodySchema,
  replies: { 200: alertRuleSchema },
  errors: ['alert_rule_not_found', 'conflict'],
});

export const deleteAlertRuleRoute = defineRoute({
  ...shared,
  ...one,
  method: 'DELETE',
  summary: 'Delete a rule of alerts; its open alerts are resolved, and stay',
  rateClass: 'write',
  verb: 'delete',
  replies: { 204: empty() },
  errors: ['alert_rule_not_found'],
});
