/** The house routes of agents and their enrolment; the shapes are in `agents.ts`. */
import { z } from 'zod';
import { metricsHistorySchema, metricsQuerySchema } from './agent-metrics.ts';
import { agentIdSchema } from './agent-protocol.ts';
import {
  agentListQuerySchema,
  agentPageSchema,
  agentSchema,
  createEnrolmentBodySchema,
  enrolBodySchema,
  enrolmentSchema,
  enrolReplySchema,
  MAX_TOKEN_OVERLAP_MS,
  updateAgentBodySchema,
} from './agents.ts';
import { defineRoute, empty } from './route.ts';
import { pageOf, pageQuery, timeSchema } from './shared.ts';

const shared = { family: 'house', tags: ['agents'], auth: 'user', resource: 'agent' } as const;
const agentParams = z.object({ agentId: agentIdSchema });

/** An enrolment token without its plaintext. */
export const enrolmentViewSchema = z
  .object({
    id: z.uuid(),
    label: z.string().nullable(),
    tags: z.array(z.string()),
    maxUses: z.int(),
    usedCount: z.int(),
    createdBy: z.string(),
    createdAt: timeSchema,
    expiresAt: timeSchema,
    revokedAt: timeSchema.nullable(),
  })
  .meta({ id: 'Enrolment' });
export type EnrolmentView = z.infer<typeof enrolmentViewSchema>;

export const listAgentsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/agents',
  summary: 'List agents, newest first',
  description:
    '`status=online` includes agents that are draining. `match` is a tag expression, such as `web and not (old or test)`.',
  rateClass: 'read',
  verb: 'list',
  query: agentListQuerySchema,
  replies: { 200: agentPageSchema },
  errors: ['invalid_cursor'],
});

export const getAgentRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/agents/{agentId}',
  summary: 'Read an agent',
  rateClass: 'read',
  verb: 'read',
  params: agentParams,
  replies: { 200: agentSchema },
  errors: ['agent_not_found'],
});

export const updateAgentRoute = defineRoute({
  ...shared,
  method: 'PATCH',
  path: '/v1/agents/{agentId}',
  summary: 'Change the tags or the host name of an agent',
  rateClass: 'write',
  verb: 'update',
  params: agentParams,
  body: updateAgentBodySchema,
  replies: { 200: agentSchema },
  errors: ['agent_not_found', 'agent_revoked'],
});

export const revokeAgentRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/agents/{agentId}/revoke',
  summary: 'Revoke an agent for good',
  description:
    'Its tokens stop working at once, its open socket within 5 seconds. Its id is not given out again.',
  rateClass: 'write',
  verb: 'revoke',
  params: agentParams,
  replies: { 200: agentSchema },
  errors: ['agent_not_found'],
});

export const rotateAgentTokenRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/agents/{agentId}/rotate-token',
  summary: 'Replace the tokens of an agent by a new one',
  description:
    'The new token is in this reply only. The old ones stop working at once, or after `overlapMs`: until then the agent ' +
    'can be given the new one while it works.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'revoke',
  params: agentParams,
  query: z.strictObject({ overlapMs: z.coerce.number().int().min(0).max(MAX_TOKEN_OVERLAP_MS).default(0) }),
  replies: { 200: enrolReplySchema },
  errors: ['agent_not_found', 'agent_revoked', 'conflict', 'idempotency_conflict', 'service_unavailable'],
});

export const agentMetricsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/agents/{agentId}/metrics',
  summary: 'Read the history of the metrics of an agent',
  rateClass: 'read',
  verb: 'read',
  params: agentParams,
  query: metricsQuerySchema,
  replies: { 200: metricsHistorySchema },
  errors: ['agent_not_found'],
});

export const refreshAgentRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/agents/{agentId}/refresh',
  summary: 'Ask an agent to report on itself now',
  description:
    'Waits some seconds for the answer. `isFresh` is false when none came: the agent is as it was last known.',
  rateClass: 'write',
  verb: 'heartbeat',
  params: agentParams,
  replies: { 200: z.object({ isFresh: z.boolean(), agent: agentSchema }) },
  errors: ['agent_not_found'],
});

const drainShared = {
  ...shared,
  method: 'POST',
  rateClass: 'write',
  verb: 'update',
  params: agentParams,
  replies: { 200: agentSchema },
  errors: ['agent_not_found', 'agent_revoked'],
} as const;

export const drainAgentRoute = defineRoute({
  ...drainShared,
  path: '/v1/agents/{agentId}/drain',
  summary: 'Let an agent take nothing new, before an upgrade for example',
  description: 'What runs goes on, what is asked waits. `runningCount` 0 means that it has run dry.',
});

export const resumeAgentRoute = defineRoute({
  ...drainShared,
  path: '/v1/agents/{agentId}/resume',
  summary: 'Let a draining agent work again',
});

export const enrolAgentRoute = defineRoute({
  family: 'house',
  tags: ['agents'],
  method: 'POST',
  path: '/v1/agents/enrol',
  summary: 'Trade an enrolment token for an agent token',
  description:
    'The agent token is in this reply only. A refused request does not use the enrolment token up.',
  takesIdempotencyKey: true,
  rateClass: 'agent_registration',
  auth: 'public',
  body: enrolBodySchema,
  replies: { 201: enrolReplySchema },
  errors: [
    'enrolment_token_invalid',
    'agent_exists',
    'conflict',
    'idempotency_conflict',
    'service_unavailable',
  ],
});

export const createEnrolmentRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/agents/enrolments',
  summary: 'Make an enrolment token',
  description: 'The token is in this reply only; a repeated Idempotency-Key is refused (409).',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'enrol',
  body: createEnrolmentBodySchema,
  replies: { 201: enrolmentSchema },
  errors: ['conflict', 'idempotency_conflict', 'service_unavailable'],
});

export const listEnrolmentsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/agents/enrolments',
  summary: 'List enrolment tokens, newest first',
  rateClass: 'read',
  verb: 'enrol',
  query: z.strictObject(pageQuery),
  replies: { 200: pageOf(enrolmentViewSchema) },
  errors: ['invalid_cursor'],
});

export const revokeEnrolmentRoute = defineRoute({
  ...shared,
  method: 'DELETE',
  path: '/v1/agents/enrolments/{enrolmentId}',
  summary: 'Revoke an enrolment token',
  description: 'Agents that used it stay.',
  rateClass: 'write',
  verb: 'enrol',
  params: z.object({ enrolmentId: z.uuid() }),
  replies: { 204: empty() },
  errors: ['not_found'],
});
