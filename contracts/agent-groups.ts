/** Groups of agents: named tag expressions. Who belongs to one is decided when it is asked, by the tags of then. */
import { z } from 'zod';
import { agentListQuerySchema, agentPageSchema, tagExpressionSchema } from './agents.ts';
import { defineRoute, empty } from './route.ts';
import { pageOf, pageQuery, timeSchema } from './shared.ts';

export const agentGroupSchema = z
  .object({
    id: z.uuid(),
    name: z.string(),
    description: z.string().nullable(),
    expression: z.string(),
    createdBy: z.string(),
    createdAt: timeSchema,
    updatedAt: timeSchema,
  })
  .meta({ id: 'AgentGroup' });
export type AgentGroupView = z.infer<typeof agentGroupSchema>;

const nameSchema = z.string().trim().min(1).max(100);
const descriptionSchema = z.string().trim().max(1_000).nullable();

export const createGroupBodySchema = z.strictObject({
  name: nameSchema,
  description: descriptionSchema.default(null),
  expression: tagExpressionSchema,
});
export type CreateGroupBody = z.infer<typeof createGroupBodySchema>;

export const updateGroupBodySchema = z.strictObject({
  name: nameSchema.optional(),
  description: descriptionSchema.optional(),
  expression: tagExpressionSchema.optional(),
});
export type UpdateGroupBody = z.infer<typeof updateGroupBodySchema>;

const shared = { family: 'house', tags: ['agents'], auth: 'user', resource: 'agent' } as const;
const one = { path: '/v1/agent-groups/{groupId}', params: z.object({ groupId: z.uuid() }) } as const;

export const createGroupRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/agent-groups',
  summary: 'Make a group of agents by a tag expression',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'update',
  body: createGroupBodySchema,
  replies: { 201: agentGroupSchema },
  errors: ['conflict', 'idempotency_conflict', 'service_unavailable', 'not_found'],
});

export const listGroupsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/agent-groups',
  summary: 'List groups of agents, newest first',
  rateClass: 'read',
  verb: 'list',
  query: z.strictObject(pageQuery),
  replies: { 200: pageOf(agentGroupSchema) },
  errors: ['invalid_cursor'],
});

export const getGroupRoute = defineRoute({
  ...shared,
  ...one,
  method: 'GET',
  summary: 'Read a group of agents',
  rateClass: 'read',
  verb: 'read',
  replies: { 200: agentGroupSchema },
  errors: ['not_found'],
});

export const updateGroupRoute = defineRoute({
  ...shared,
  ...one,
  method: 'PATCH',
  summary: 'Change a group of agents',
  rateClass: 'write',
  verb: 'update',
  body: updateGroupBodySchema,
  replies: { 200: agentGroupSchema },
  errors: ['not_found', 'conflict'],
});

export const deleteGroupRoute = defineRoute({
  ...shared,
  ...one,
  method: 'DELETE',
  summary: 'Forget a group of agents',
  description: 'Its agents stay as they are.',
  rateClass: 'write',
  verb: 'update',
  replies: { 204: empty() },
  errors: ['not_found'],
});

export const listGroupAgentsRoute = defineRoute({
  ...shared,
  ...one,
  path: '/v1/agent-groups/{groupId}/agents',
  method: 'GET',
  summary: 'List the agents that are in a group now, newest first',
  rateClass: 'read',
  verb: 'list',
  query: agentListQuerySchema.omit({ match: true }),
  replies: { 200: agentPageSchema },
  errors: ['not_found', 'invalid_cursor'],
});
