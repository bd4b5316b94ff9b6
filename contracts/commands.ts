/** Commands: ad-hoc requests, the ledger's rows as clients see them, output. */
import { z } from 'zod';
import { agentIdSchema, shellNameSchema, streamNames } from './agent-protocol.ts';
import { commandStates } from './command-states.ts';
import { actorRefSchema, pageOf, pageQuery, timeSchema } from './shared.ts';

/** Most agents one request may name. */
export const MAX_BATCH_AGENTS = 10_000;

/**
 * What a client writes to describe an act; everything but `command` or `argv` has a default.
 * `command` runs in a shell (the agent's default one unless named), `argv` runs a program directly.
 */
export const actRequestSchema = z
  .strictObject({
    command: z
      .string()
      .min(1)
      .max(120 * 1024)
      .optional()
      .meta({ description: 'Script for a shell' }),
    argv: z
      .array(z.string())
      .min(1)
      .max(1024)
      .optional()
      .meta({ description: 'Program and arguments, run without a shell' }),
    shell: shellNameSchema.optional().meta({ description: "Default: the agent's default shell" }),
    stdin: z.base64().optional().meta({ description: 'Standard input, base64' }),
    workingDirectory: z.string().min(1).max(4096).optional(),
    environment: z.record(z.string(), z.string()).optional(),
    user: z.string().min(1).max(256).optional(),
    elevated: z.boolean().optional(),
    timeoutMs: z.int().min(100).optional().meta({ description: 'Run time limit; at most MAX_TIMEOUT' }),
    outputCapBytes: z
      .int()
      .min(0)
      .optional()
      .meta({ description: 'Bytes kept per stream; at most OUTPUT_CAP_BYTES' }),
    expiryMs: z.int().min(1000).optional().meta({ description: 'How long it may wait for an offline agent' }),
  })
  .refine((value) => (value.command === undefined) !== (value.argv === undefined), {
    message: 'give exactly one of command and argv',
    path: ['command'],
  })
  .refine((value) => value.argv === undefined || value.shell === undefined, {
    message: 'shell only goes with command',
    path: ['shell'],
  });
export type ActRequest = z.infer<typeof actRequestSchema>;

export const runCommandsBodySchema = z.strictObject({
  agentIds: z.array(agentIdSchema).min(1).max(MAX_BATCH_AGENTS),
  act: actRequestSchema,
  commandId: z.uuid().optional().meta({
    description: 'Only with one agent: the id to use; the same id and act again is the same command',
  }),
  /** Wait for the outcome of a single command, at most this long. */
  waitMs: z
    .int()
    .min(0)
    .max(310_000)
    .default(0)
    .meta({ description: 'Wait this long for all outcomes before answering' }),
});
export type RunCommandsBody = z.infer<typeof runCommandsBodySchema>;

/** How a command may have ended so that it can be run again. */
export const rerunOutcomes = ['failed', 'timed_out', 'rejected', 'expired', 'canceled', 'unknown'] as const;

export const rerunBodySchema = z.strictObject({
  outcomes: z
    .array(z.enum(rerunOutcomes))
    .min(1)
    .max(rerunOutcomes.length)
    .default(['failed', 'timed_out', 'rejected', 'expired'])
    .meta({
      description:
        'Which commands are run again. `canceled` and `unknown` only when named: the one was wanted, of the other ' +
        'nobody knows whether it has run',
    }),
});
export type RerunBody = z.infer<typeof rerunBodySchema>;

export const outputSummarySchema = z.object({
  bytes: z.int().meta({ description: 'Bytes stored so far' }),
  totalBytes: z.int().meta({ description: 'Bytes the process wrote (final once finished)' }),
  sha256: z.string().nullable().meta({ description: 'sha256 of the stored bytes, once finished' }),
  truncated: z.boolean(),
  url: z.string(),
});

export const commandSchema = z
  .object({
    commandId: z.uuid(),
    batchId: z.uuid(),
    agentId: z.string(),
    taskId: z.string().nullable(),
    step: z.int().nullable(),
    attempt: z.int(),
    state: z.enum(commandStates),
    digest: z.string(),
    text: z.string().meta({ description: 'The command as a person reads it' }),
    mode: z.enum(['shell', 'argv']),
    shell: z.string().nullable(),
    stdinBytes: z.int().nullable().meta({ description: 'Length of its standard input; null for none' }),
    workingDirectory: z.string().nullable(),
    environmentNames: z.array(z.string()).meta({ description: 'Names of the variables it is given' }),
    user: z.string().nullable().meta({ description: "System user it runs as; null for the agent's own" }),
    elevated: z.boolean(),
    timeoutMs: z.int(),
    createdBy: actorRefSchema,
    createdAt: timeSchema,
    expiresAt: timeSchema,
    sentAt: timeSchema.nullable(),
    startedAt: timeSchema.nullable(),
    finishedAt: timeSchema.nullable(),
    durationMs: z.int().nullable(),
    exitCode: z.int().nullable(),
    signal: z.string().nullable(),
    reason: z.string().nullable(),
    cancelRequestedAt: timeSchema.nullable(),
    resolvedAt: timeSchema
      .nullable()
      .meta({ description: 'When late evidence resolved an `unknown` outcome' }),
    stdout: outputSummarySchema,
    stderr: outputSummarySchema,
  })
  .meta({ id: 'Command' });
export type CommandView = z.infer<typeof commandSchema>;

export const batchSchema = z
  .object({
    batchId: z.uuid(),
    size: z.int(),
    pending: z.int(),
    finishedAt: timeSchema.nullable(),
    commands: z.array(commandSchema),
  })
  .meta({ id: 'Batch' });
export type BatchView = z.infer<typeof batchSchema>;

export const commandListQuerySchema = z.strictObject({
  ...pageQuery,
  agentId: agentIdSchema.optional(),
  taskId: z.string().max(128).optional(),
  batchId: z.uuid().optional(),
  state: z.enum(commandStates).optional(),
});
export type CommandListQuery = z.infer<typeof commandListQuerySchema>;
export const commandPageSchema = pageOf(commandSchema);

export const streamParam = z.enum(streamNames);

/** `follow` answers as the command's end is reached; a range is `offset` and at most `limit` bytes. */
export const outputQuerySchema = z.strictObject({
  offset: z.coerce.number().int().min(0).default(0),
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(16 * 1024 * 1024)
    .optional(),
});
