/** The house routes of commands, batches and output; the shapes are in `commands.ts`. */
import { z } from 'zod';
import { commandIdSchema, streamNames } from './agent-protocol.ts';
import { commandStates } from './command-states.ts';
import {
  batchSchema,
  commandListQuerySchema,
  commandPageSchema,
  commandSchema,
  outputQuerySchema,
  outputSummarySchema,
  rerunBodySchema,
  runCommandsBodySchema,
  streamParam,
} from './commands.ts';
import { bytes, defineRoute, events, json } from './route.ts';
import { resumeQuery } from './shared.ts';
import { cancelBodySchema } from './tasks.ts';

const shared = { family: 'house', tags: ['commands'], auth: 'user', resource: 'command' } as const;
const commandParams = z.object({ commandId: commandIdSchema });
const batchParams = z.object({ batchId: z.uuid() });
const location = { headers: { Location: 'Path of the batch' } };

export const runCommandsRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/commands',
  summary: 'Run one act on one or many agents',
  description:
    'Waits for offline agents until `expiryMs`. The same Idempotency-Key with the same body, or the same ' +
    '`commandId` with the same act, is the same batch; without either, two requests are two commands. With ' +
    '`waitMs` the answer comes when every command is final, or the time is over (202).',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'execute',
  body: runCommandsBodySchema,
  replies: {
    201: json(batchSchema, location),
    200: json(batchSchema, { ...location, description: 'Made by an earlier request' }),
    202: json(batchSchema, { ...location, description: 'Not final within `waitMs`: the batch as it stands' }),
  },
  errors: [
    'agent_not_found',
    'agent_revoked',
    'conflict',
    'command_conflict',
    'idempotency_conflict',
    'service_unavailable',
    'not_found',
  ],
});

export const listCommandsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/commands',
  summary: 'List commands, newest first',
  description: 'Whoever may not see all commands is shown those of their own tasks and requests.',
  rateClass: 'read',
  verb: 'list',
  query: commandListQuerySchema,
  replies: { 200: commandPageSchema },
  errors: ['invalid_cursor'],
});

export const getCommandRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/commands/{commandId}',
  summary: 'Read a command',
  rateClass: 'read',
  verb: 'read',
  params: commandParams,
  replies: { 200: commandSchema },
  errors: ['command_not_found'],
});

export const cancelCommandRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/commands/{commandId}/cancel',
  summary: 'Cancel a command',
  description:
    'Ends now when it is queued; when it is out, its agent is told to kill it and says how it ended. An ended ' +
    'command stays as it is.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'cancel',
  params: commandParams,
  body: cancelBodySchema.prefault({}),
  replies: { 200: commandSchema },
  errors: ['command_not_found', 'idempotency_conflict', 'service_unavailable'],
});

export const getBatchRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/batches/{batchId}',
  summary: 'Read a batch with its commands',
  rateClass: 'read',
  verb: 'read',
  params: batchParams,
  replies: { 200: batchSchema },
  errors: ['not_found'],
});

export const cancelBatchRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/batches/{batchId}/cancel',
  summary: 'Cancel every open command of a batch',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'cancel',
  params: batchParams,
  body: cancelBodySchema.prefault({}),
  replies: { 200: batchSchema },
  errors: ['not_found', 'idempotency_conflict', 'service_unavailable'],
});

export const rerunBatchRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/batches/{batchId}/rerun-failed',
  summary: 'Run a batch again on the agents where it failed',
  description:
    'A new batch of the very same act, with `attempt` raised by one. Agents that were revoked meanwhile are left out. A ' +
    'batch of a task is run again by the task alone (409).',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'execute',
  params: batchParams,
  body: rerunBodySchema.prefault({}),
  replies: {
    201: json(batchSchema, location),
    200: json(batchSchema, { ...location, description: 'Made by an earlier request' }),
  },
  errors: ['not_found', 'conflict', 'command_conflict', 'idempotency_conflict', 'service_unavailable'],
});

export const readOutputRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/commands/{commandId}/output/{stream}',
  summary: 'Read stored output, byte for byte',
  description:
    'From `offset` on, at most `limit` bytes; everything stored without a limit. While the command runs, ask ' +
    'again from `X-Output-Next-Offset`.',
  rateClass: 'read',
  verb: 'read',
  resource: 'output',
  params: z.object({ commandId: commandIdSchema, stream: streamParam }),
  query: outputQuerySchema,
  replies: {
    200: bytes('application/octet-stream', {
      headers: {
        'X-Output-Offset': 'Offset of the first byte of the body',
        'X-Output-Next-Offset': 'Offset of the byte after the last: where to go on',
        'X-Output-Stored-Bytes': 'Bytes stored of this stream so far',
        'X-Output-Complete': '`true` when the command is final',
        'X-Output-Truncated': '`true` when the process wrote more than was kept',
      },
    }),
  },
  errors: ['command_not_found'],
});

/** Data of `event: output`: bytes of one stream, in order, each byte once in one connection. */
export const outputEventSchema = z.object({
  stream: z.enum(streamNames),
  offset: z.int().meta({ description: 'Of the first byte' }),
  bytes: z.base64(),
  text: z
    .string()
    .optional()
    .meta({ description: 'The same as text; left out when these bytes alone are no valid UTF-8' }),
});
export type OutputEvent = z.infer<typeof outputEventSchema>;

const streamEndSchema = outputSummarySchema.omit({ url: true });
/** Data of `event: end`: the command is final and all its stored output was sent. */
export const outputEndSchema = z.object({
  commandId: z.uuid(),
  state: z.enum(commandStates),
  exitCode: z.int().nullable(),
  signal: z.string().nullable(),
  reason: z.string().nullable(),
  durationMs: z.int().nullable(),
  stdout: streamEndSchema,
  stderr: streamEndSchema,
});
export type OutputEnd = z.infer<typeof outputEndSchema>;

export const followOutputRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/commands/{commandId}/output',
  summary: 'Follow the output of a command as it comes',
  description:
    'Events `output` and, last, `end`. Each id is `<stdout offset>.<stderr offset>`: give it back as ' +
    'Last-Event-ID (or `lastEventId`) and the stream goes on there, without a gap and without a repeat.',
  rateClass: 'read',
  verb: 'read',
  resource: 'output',
  params: commandParams,
  query: z.strictObject(resumeQuery),
  replies: { 200: events(z.union([outputEventSchema, outputEndSchema])) },
  errors: ['command_not_found', 'invalid_cursor'],
});
