/** Running commands as dex clients know it: times in seconds, output in the answer; the ledger of `contracts/commands.ts`. */
import { z } from 'zod';
import { agentIdSchema } from '../../agent-protocol.ts';
import { commandStates } from '../../command-states.ts';
import { rerunOutcomes } from '../../commands.ts';
import { defineRoute, json, type RouteContract } from '../../route.ts';
import { DEFAULT_PAGE_SIZE, timeSchema } from '../../shared.ts';
import { laxBoolean, laxFloat, laxInt } from './lax.ts';

/** Most commands of one batch request. */
export const MAX_DEX_BATCH = 100;

export const dexCommandBodySchema = z.object({
  command: z
    .string()
    .max(120 * 1024)
    .refine((text) => text.trim() !== '', { error: 'must not be empty' }),
  timeout: laxFloat(z.number().min(0.1))
    .nullish()
    .meta({ description: 'Seconds; default DEFAULT_TIMEOUT, at most MAX_TIMEOUT' }),
  working_directory: z.string().max(4096).nullish(),
  run_as_admin: laxBoolean()
    .nullish()
    .meta({ description: 'With the rights of an administrator; rejected by an agent that cannot give them' }),
});
export type DexCommandBody = z.infer<typeof dexCommandBodySchema>;

const queueableBodySchema = dexCommandBodySchema.extend({
  queue: laxBoolean().nullish().meta({ description: 'Wait for an agent that is not connected' }),
});

/** What every answer with an outcome tells. */
const outcomeShape = {
  success: z.boolean(),
  command_id: z.uuid(),
  agent_id: z.string(),
  output: z.string(),
  error: z.string().nullable(),
  exit_code: z.int().nullable().meta({ description: '-1 where it was killed after its time' }),
  execution_time: z.number().meta({ description: 'Seconds' }),
  shell: z.string().nullable().meta({ description: 'What it ran in' }),
  outcome: z.enum(commandStates).meta({ description: 'How it ended, or how it stands' }),
  output_truncated: z.boolean().meta({ description: 'The process wrote more than this answer holds' }),
  output_url: z.string().meta({ description: 'All that is stored of its output' }),
  error_url: z.string().meta({ description: 'All that is stored of its error output' }),
};

export const dexCommandResponseSchema = z
  .object({ ...outcomeShape, timestamp: timeSchema, command: z.string() })
  .meta({ id: 'DexCommandResponse' });
export type DexCommandResponse = z.infer<typeof dexCommandResponseSchema>;

export const dexExecutedSchema = z
  .object({
    ...outcomeShape,
    status: z.enum(['completed', 'timeout', 'queued']),
    message: z.string().optional().meta({ description: 'Where it is not completed' }),
  })
  .meta({ id: 'DexExecuted' });
export type DexExecuted = z.infer<typeof dexExecutedSchema>;

const sentSchema = z.object({
  message: z.string(),
  command_id: z.uuid(),
  agent_id: z.string(),
  status: z.enum(['sent', 'queued']),
  shell: z.string().nullable(),
});
export type DexSent = z.infer<typeof sentSchema>;

const { command_id, agent_id, ...resultShape } = outcomeShape;
export const dexOutcomeSchema = z.object({
  ...resultShape,
  return_code: z.int().nullable(),
  timestamp: timeSchema,
});
export const dexCommandResultSchema = z
  .union([
    z.object({ status: z.literal('pending'), command_id, agent_id, message: z.string() }),
    z.object({
      status: z.literal('completed'),
      command_id,
      agent_id,
      result: dexOutcomeSchema,
    }),
  ])
  .meta({ id: 'DexCommandResult' });
export type DexCommandResult = z.infer<typeof dexCommandResultSchema>;

const shared = { family: 'dex', tags: ['dex'], auth: 'user', resource: 'command' } as const;
const running = {
  ...shared,
  method: 'POST',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'execute',
} as const;
const onAgent = { params: z.object({ agentId: agentIdSchema }) };
const queueing = { query: z.object({ queue: laxBoolean().optional() }), body: queueableBodySchema };
const shells = 'In PowerShell where the agent has it, else in its default shell; `shell` says which. ';
const away =
  'An agent that is not connected is an error unless `queue` is set (in the body, or as `?queue=true`).';
const reachErrors = [
  'agent_not_found',
  'agent_revoked',
  'agent_not_connected',
  'conflict',
  'idempotency_conflict',
  'service_unavailable',
  'not_found',
] as const;
/** To dex an agent that was revoked is deleted. */
const deleted = { status: 404, message: 'Agent not found', code: 'AGENT_NOT_FOUND' };
export const atAgent = { agent_revoked: deleted } as const satisfies RouteContract['errorTexts'];
const absent = { status: 404, message: 'Agent not connected' };
const absentTexts = {
  agent_not_connected: absent,
  agent_not_found: { message: absent.message },
  agent_revoked: { ...deleted, message: absent.message },
} as const satisfies RouteContract['errorTexts'];

export const dexAgentCommandRoute = defineRoute({
  ...running,
  ...onAgent,
  ...queueing,
  path: '/api/v1/agents/{agentId}/command',
  summary: 'Run a command on an agent and wait for its end',
  description: `${shells}Without an end within the timeout and 5 s the answer says so. ${away}`,
  replies: { 200: dexCommandResponseSchema },
  errors: reachErrors,
  errorTexts: atAgent,
});

export const dexHistoryRoute = defineRoute({
  ...shared,
  ...onAgent,
  method: 'GET',
  path: '/api/v1/agents/{agentId}/commands',
  summary: 'List the commands of an agent, newest first',
  description: 'Of the output only the beginning (4 KiB). `X-Next-Cursor` is there where the list goes on.',
  rateClass: 'read',
  verb: 'list',
  query: z.object({
    limit: laxInt(z.int().min(1)).default(DEFAULT_PAGE_SIZE).meta({ description: 'At most 200' }),
    cursor: z.string().max(512).optional(),
  }),
  replies: {
    200: json(z.array(dexCommandResponseSchema), {
      headers: { 'X-Next-Cursor': '`cursor` of the next page; absent on the last one' },
    }),
  },
  errors: ['agent_not_found', 'invalid_cursor'],
});

export const dexExecuteLocalRoute = defineRoute({
  ...running,
  path: '/api/v1/commands/execute',
  summary: 'Run a command on the machine of the server',
  description: `By its local agent (LOCAL_AGENT_ID). ${shells}`,
  body: dexCommandBodySchema,
  replies: { 200: dexCommandResponseSchema },
  errors: ['local_agent_unavailable', 'conflict', 'idempotency_conflict', 'not_found'],
});

export const dexExecuteBatchRoute = defineRoute({
  ...running,
  path: '/api/v1/commands/execute/batch',
  summary: 'Run commands side by side on the machine of the server',
  description: `All are accepted or none; the answer has their order. ${shells}`,
  body: z.array(dexCommandBodySchema).max(MAX_DEX_BATCH),
  replies: { 200: z.array(dexCommandResponseSchema) },
  errors: ['local_agent_unavailable', 'conflict', 'idempotency_conflict', 'not_found'],
});

export const dexExecuteRoute = defineRoute({
  ...running,
  ...onAgent,
  ...queueing,
  path: '/api/v1/commands/agent/{agentId}/execute',
  summary: 'Run a command on an agent and wait for its end, or for its time to be over',
  description: `${shells}${away}`,
  replies: { 200: dexExecutedSchema },
  errors: reachErrors,
  errorTexts: absentTexts,
});

export const dexExecuteAsyncRoute = defineRoute({
  ...running,
  ...onAgent,
  ...queueing,
  path: '/api/v1/commands/agent/{agentId}/execute/async',
  summary: 'Send a command to an agent',
  description: `${shells}${away}`,
  replies: { 200: sentSchema },
  errors: reachErrors,
  errorTexts: absentTexts,
});

export const dexResultRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/commands/agent/{agentId}/result/{commandId}',
  summary: 'Read how a command ended',
  rateClass: 'read',
  verb: 'read',
  params: z.object({ agentId: agentIdSchema, commandId: z.string().min(1).max(128) }),
  replies: { 200: dexCommandResultSchema },
  errors: ['command_not_found'],
});

const ofCommand = { params: z.object({ commandId: z.string().min(1).max(128) }) };

export const dexCancelRoute = defineRoute({
  ...shared,
  ...ofCommand,
  method: 'POST',
  path: '/api/v1/commands/{commandId}/cancel',
  summary: 'Cancel a command',
  description: 'What waits ends now; what is out is asked to stop. A command that has ended stays as it is.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'cancel',
  replies: {
    200: z.object({
      message: z.string(),
      command_id: z.uuid(),
      agent_id: z.string(),
      outcome: z.enum(commandStates),
    }),
  },
  errors: ['command_not_found', 'idempotency_conflict', 'service_unavailable'],
});

export const dexRerunRoute = defineRoute({
  ...running,
  ...ofCommand,
  path: '/api/v1/commands/{commandId}/rerun-failed',
  summary: 'Run again what failed of the commands that were sent together with this one',
  description: 'On the same agents, the very same command. Agents that were deleted meanwhile are left out.',
  body: z.object({ outcomes: z.array(z.enum(rerunOutcomes)).min(1).optional() }).nullish(),
  replies: {
    200: z.object({ executed_command: z.string(), results: z.array(sentSchema) }),
  },
  errors: [
    'command_not_found',
    'not_found',
    'conflict',
    'command_conflict',
    'idempotency_conflict',
    'service_unavailable',
  ],
});

const sendRoute = (path: RouteContract['path']) =>
  defineRoute({
    ...running,
    ...onAgent,
    ...queueing,
    path,
    summary: 'Send a command to an agent',
    description: `As /api/v1/commands/agent/{agentId}/execute/async. ${shells}${away}`,
    replies: { 200: sentSchema },
    errors: reachErrors,
    errorTexts: absentTexts,
  });
export const dexSendRoutes = [
  sendRoute('/api/v1/send/{agentId}/command'),
  sendRoute('/websocket/send/{agentId}/command'),
] as const;

const connectedRoute = (path: RouteContract['path']) =>
  defineRoute({
    ...shared,
    method: 'GET',
    path,
    summary: 'List the ids of the agents that have a socket',
    resource: 'agent',
    rateClass: 'read',
    verb: 'list',
    replies: { 200: z.object({ connected_agents: z.array(z.string()), count: z.int() }) },
  });
export const dexConnectedRoutes = [
  connectedRoute('/api/v1/connected'),
  connectedRoute('/websocket/connected'),
] as const;
