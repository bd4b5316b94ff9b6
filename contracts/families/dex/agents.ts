/** Agents as dex clients see them. */
import { z } from 'zod';
import { agentIdSchema } from '../../agent-protocol.ts';
import { defineRoute } from '../../route.ts';
import { timeSchema } from '../../shared.ts';

/** Agents of one answer: the lists of this family have no pages. */
export const MAX_DEX_AGENTS = 10_000;
/** Tags of an agent, and the longest one, characters. */
const MAX_TAGS = 32;
const MAX_TAG_LENGTH = 64;
/** Longest address of an agent that is asked at one, characters: clients send it back. */
const MAX_ADDRESS_LENGTH = 2_048;

const systemInfoSchema = z.record(z.string(), z.unknown());
const tagsSchema = z.array(z.string().trim().min(1).max(MAX_TAG_LENGTH)).max(MAX_TAGS);
const textSchema = (maxLength: number) => z.string().trim().max(maxLength);

export const dexAgentSchema = z
  .object({
    id: z.string(),
    hostname: z.string(),
    ip: z.string().nullable(),
    os: z.string().nullable(),
    version: z.string().nullable(),
    status: z.enum(['online', 'offline']),
    last_seen: timeSchema.nullable(),
    tags: z.array(z.string()),
    system_info: systemInfoSchema.nullable(),
    connection_id: z.string().nullable(),
    is_connected: z.boolean().meta({ description: 'It has a socket, so that commands reach it' }),
  })
  .meta({ id: 'DexAgent' });
export type DexAgent = z.infer<typeof dexAgentSchema>;

export const dexRegisterBodySchema = z.object({
  id: agentIdSchema.nullish(),
  hostname: textSchema(255).min(1),
  ip: textSchema(64).nullish(),
  os: textSchema(255).nullish(),
  version: textSchema(64).nullish(),
  tags: tagsSchema.nullish(),
  system_info: systemInfoSchema.nullish(),
});

/** Any part of an agent; what only the server knows (`status`, `last_seen` …) is read over. */
export const dexUpdateAgentBodySchema = z.object({
  hostname: textSchema(255).min(1).nullish(),
  ip: textSchema(MAX_ADDRESS_LENGTH).nullish(),
  os: textSchema(255).nullish(),
  version: textSchema(64).nullish(),
  tags: tagsSchema.nullish(),
  system_info: systemInfoSchema.nullish(),
});

/** Agents send one of the two names, more besides, or nothing. */
export const dexHeartbeatBodySchema = z
  .object({ system_info: systemInfoSchema.nullish(), system_metrics: systemInfoSchema.nullish() })
  .nullish();

export const dexAgentStatusSchema = z
  .object({
    agent_id: z.string(),
    overall_status: z
      .enum(['online', 'warning', 'offline'])
      .meta({ description: 'warning: it has a socket but is late, or sends heartbeats without a socket' }),
    websocket_connected: z.boolean(),
    heartbeat_status: z
      .enum(['recent', 'stale', 'offline', 'unknown'])
      .meta({ description: 'recent: within 30 s; stale: within 60 s; unknown: never heard of' }),
    seconds_since_heartbeat: z.number().nullable(),
    last_seen: timeSchema.nullable(),
    agent_data: dexAgentSchema,
  })
  .meta({ id: 'DexAgentStatus' });
export type DexAgentStatus = z.infer<typeof dexAgentStatusSchema>;

const shared = { family: 'dex', tags: ['dex'], auth: 'user', resource: 'agent' } as const;
const params = z.object({ agentId: agentIdSchema });
const listed = { rateClass: 'read', verb: 'list', replies: { 200: z.array(dexAgentSchema) } } as const;

export const dexListAgentsRoute = defineRoute({
  ...shared,
  ...listed,
  method: 'GET',
  path: '/api/v1/agents',
  summary: 'List agents, newest first',
});

export const dexConnectedAgentsRoute = defineRoute({
  ...shared,
  ...listed,
  method: 'GET',
  path: '/api/v1/agents/connected',
  summary: 'List the agents that have a socket',
});

export const dexOfflineAgentsRoute = defineRoute({
  ...shared,
  ...listed,
  method: 'GET',
  path: '/api/v1/agents/offline',
  summary: 'List the agents that were not heard of for 60 seconds',
});

export const dexGetAgentRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/agents/{agentId}',
  summary: 'Read an agent',
  rateClass: 'read',
  verb: 'read',
  params,
  replies: { 200: dexAgentSchema },
  errors: ['agent_not_found'],
});

export const dexAgentStatusRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/agents/status/{agentId}',
  summary: 'Tell how an agent is doing',
  rateClass: 'read',
  verb: 'read',
  params,
  replies: { 200: dexAgentStatusSchema },
  errors: ['agent_not_found'],
});

export const dexRegisterAgentRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/agents/register',
  summary: 'Register a machine, or find it again by its host name',
  description:
    'A host name is found again only while its agent has no token of its own and no socket; otherwise the machine gets a ' +
    'new id. An agent that comes with its own token is that agent, and keeps its tags; else tags that are named take the ' +
    'place of those it has.',
  takesIdempotencyKey: true,
  auth: 'any',
  rateClass: 'write',
  verb: 'register',
  body: dexRegisterBodySchema,
  replies: { 200: dexAgentSchema },
  errors: ['agent_exists', 'agent_revoked', 'agent_not_found', 'idempotency_conflict', 'service_unavailable'],
});

export const dexUpdateAgentRoute = defineRoute({
  ...shared,
  method: 'PUT',
  path: '/api/v1/agents/{agentId}',
  summary: 'Change an agent',
  rateClass: 'write',
  verb: 'update',
  params,
  body: dexUpdateAgentBodySchema,
  replies: { 200: dexAgentSchema },
  errors: ['agent_not_found', 'agent_revoked'],
});

export const dexDeleteAgentRoute = defineRoute({
  ...shared,
  method: 'DELETE',
  path: '/api/v1/agents/{agentId}',
  summary: 'Delete an agent',
  description:
    'It is revoked: its socket is closed, its tokens end, what waits for it is rejected. Its id is not given out again.',
  rateClass: 'write',
  verb: 'revoke',
  params,
  replies: { 200: z.object({ message: z.string() }) },
  errors: ['agent_not_found'],
});

export const dexRefreshAgentRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/agents/{agentId}/refresh',
  summary: 'Ask an agent to report on itself now',
  rateClass: 'write',
  verb: 'heartbeat',
  params,
  replies: {
    200: z.object({
      message: z.string().meta({ description: 'Says so where the agent did not answer' }),
      agent: dexAgentSchema,
    }),
  },
  errors: ['agent_not_found'],
});

export const dexHeartbeatRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/agents/{agentId}/heartbeat',
  summary: 'Say that an agent is there',
  auth: 'any',
  rateClass: 'heartbeat',
  verb: 'heartbeat',
  params,
  body: dexHeartbeatBodySchema,
  replies: { 200: z.object({ message: z.string(), agent: dexAgentSchema, timestamp: timeSchema }) },
  errors: ['agent_not_found'],
});

export const dexSeedAgentsRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/agents/seed',
  summary: 'Make three agents for demonstrations; not in production',
  rateClass: 'write',
  verb: 'register',
  replies: { 200: z.array(dexAgentSchema) },
  errors: ['not_found', 'agent_exists'],
});
