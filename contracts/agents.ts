/** Agents and their enrolment, as the house API speaks them. */
import { z } from 'zod';
import { agentIdSchema, deliveries, metricsSchema } from './agent-protocol.ts';
import { pageOf, pageQuery, timeSchema } from './shared.ts';

/** An agent not heard of for this long counts as offline, milliseconds. */
export const OFFLINE_AFTER_MS = 60_000;
/** One that is asked at an address of its own says nothing by itself for longer, milliseconds. */
export const URL_AGENT_OFFLINE_AFTER_MS = 300_000;
/** How agents are reached; `url`: at an address of their own. */
export const agentDeliveries = [...deliveries, 'url'] as const;
export type AgentDelivery = (typeof agentDeliveries)[number];
/** Default and longest life of an enrolment token, milliseconds. */
export const DEFAULT_ENROLMENT_TTL_MS = 60 * 60 * 1000;
export const MAX_ENROLMENT_TTL_MS = 30 * 24 * 60 * 60 * 1000;

/** Longest overlap of an old and a new token, milliseconds. */
export const MAX_TOKEN_OVERLAP_MS = 7 * 24 * 60 * 60 * 1000;
/** Longest tag expression, characters. */
export const MAX_TAG_EXPRESSION_LENGTH = 500;

export const tagExpressionSchema = z.string().trim().min(1).max(MAX_TAG_EXPRESSION_LENGTH).meta({
  description: 'Tags joined by `and`, `or`, `not` and parentheses',
  example: 'web and not (old or test)',
});

const tagSchema = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$/);

export const agentSchema = z
  .object({
    id: z.string(),
    hostname: z.string(),
    os: z.string().nullable(),
    arch: z.string().nullable(),
    version: z.string().nullable(),
    delivery: z.enum(agentDeliveries),
    status: z.enum(['online', 'offline', 'draining', 'revoked']),
    tags: z.array(z.string()),
    capabilities: z.array(z.string()),
    shells: z.array(z.string()),
    defaultShell: z.string().nullable(),
    runningCount: z.int(),
    metrics: metricsSchema.nullable(),
    lastSeenAt: timeSchema.nullable(),
    connectedAt: timeSchema.nullable(),
    address: z
      .string()
      .nullable()
      .meta({ description: 'Where its connection came from, or what it said when it was registered' }),
    drainRequestedAt: timeSchema.nullable().meta({ description: 'An operator wants it to take nothing new' }),
    cloneSuspectedAt: timeSchema
      .nullable()
      .meta({ description: 'Two machines seemed to use this identity: look at them, and rotate the token' }),
    createdAt: timeSchema,
    revokedAt: timeSchema.nullable(),
  })
  .meta({ id: 'Agent' });
export type AgentView = z.infer<typeof agentSchema>;

export const agentListQuerySchema = z.strictObject({
  ...pageQuery,
  status: z.enum(['online', 'offline', 'revoked']).optional(),
  tag: tagSchema.optional(),
  match: tagExpressionSchema.optional(),
});
export type AgentListQuery = z.infer<typeof agentListQuerySchema>;
export const agentPageSchema = pageOf(agentSchema);

export const createEnrolmentBodySchema = z.strictObject({
  label: z.string().max(255).optional(),
  tags: z.array(tagSchema).max(32).default([]),
  maxUses: z.int().min(1).max(10_000).default(1),
  ttlMs: z.int().min(1000).max(MAX_ENROLMENT_TTL_MS).default(DEFAULT_ENROLMENT_TTL_MS),
});
export type CreateEnrolmentBody = z.infer<typeof createEnrolmentBodySchema>;
export const enrolmentSchema = z.object({
  id: z.uuid(),
  enrolmentToken: z.string().meta({ description: 'Shown once; only its hash is kept' }),
  maxUses: z.int(),
  expiresAt: timeSchema,
});

export const enrolBodySchema = z.strictObject({
  enrolmentToken: z.string().min(1).max(256),
  hostname: z.string().trim().min(1).max(255),
  os: z.string().max(255).optional(),
  arch: z.string().max(64).optional(),
  version: z.string().max(64).optional(),
  agentId: agentIdSchema.optional().meta({ description: 'Wish for an id; refused (409) when taken' }),
});
export type EnrolBody = z.infer<typeof enrolBodySchema>;
export const enrolReplySchema = z.object({ agentId: z.string(), agentToken: z.string() });

export const updateAgentBodySchema = z.strictObject({
  tags: z.array(tagSchema).max(32).optional(),
  hostname: z
    .string()
    .trim()
    .min(1)
    .max(255)
    .optional()
    .meta({ description: 'Until the agent names itself again, at its next connection' }),
});
