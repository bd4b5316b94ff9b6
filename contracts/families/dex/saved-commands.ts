/** Saved commands as dex clients know them: one PowerShell text, times in seconds, a view of `contracts/saved-commands.ts`. */
import { z } from 'zod';
import { agentIdSchema } from '../../agent-protocol.ts';
import { defineRoute } from '../../route.ts';
import {
  MAX_PARAMETERS,
  type ParameterType,
  parameterNameSchema,
  parameterTypes,
  parameterValueSchema,
  savedContentShape,
  savedParameterSchema,
} from '../../saved-commands.ts';
import { timeSchema } from '../../shared.ts';
import { laxBoolean, laxFloat } from './lax.ts';

/** Most agents of one request. */
const MAX_AGENTS = 1_000;

/** Words of dex clients for the types of parameters. */
const typeAliases: Readonly<Record<string, ParameterType>> = {
  text: 'string',
  str: 'string',
  int: 'integer',
  float: 'number',
  decimal: 'number',
  bool: 'boolean',
  select: 'choice',
  enum: 'choice',
};

const parameterSchema = z
  .object({
    name: parameterNameSchema,
    type: z
      .string()
      .default('string')
      .transform((text) => typeAliases[text.toLowerCase()] ?? text.toLowerCase())
      .pipe(z.enum(parameterTypes)),
    description: z.string().max(2_000).nullish(),
    default: parameterValueSchema.nullish(),
    required: laxBoolean().nullish(),
    options: savedParameterSchema.shape.options.unwrap().nullish(),
  })
  .meta({ description: 'A parameter; the command reads it as `$name`' });

const scriptText = z
  .string()
  .max(32 * 1024)
  .refine((text) => text.trim() !== '', { error: 'must not be empty' });

/** What clients have read and send back; the server's own, so it goes nowhere. */
const readOnly = z.unknown().optional().meta({ description: 'Ignored: the server knows' });

export const dexSavedBodySchema = z.object({
  name: savedContentShape.name,
  command: scriptText,
  description: savedContentShape.description.optional(),
  category: savedContentShape.category.nullish(),
  parameters: z.array(parameterSchema).max(MAX_PARAMETERS).nullish(),
  tags: savedContentShape.tags.nullish(),
  version: savedContentShape.version.nullish(),
  author: savedContentShape.author.optional(),
  is_system: laxBoolean().nullish().meta({ description: 'Ignored: only what comes with the system is' }),
  id: readOnly,
  created_at: readOnly,
  updated_at: readOnly,
});
export type DexSavedBody = z.infer<typeof dexSavedBodySchema>;

/** What is not given stays as it is. */
export const dexSavedChangeSchema = dexSavedBodySchema.partial();

export const dexSavedCommandSchema = z
  .object({
    id: z.uuid(),
    name: z.string(),
    command: z.string(),
    description: z.string().nullable(),
    category: z.string(),
    parameters: z.array(
      z.object({
        name: z.string(),
        type: z.enum(parameterTypes),
        default: parameterValueSchema.nullable(),
        description: z.string().nullable(),
        required: z.boolean(),
        options: z.array(z.string()),
      }),
    ),
    tags: z.array(z.string()),
    version: z.string(),
    author: z.string().nullable(),
    is_system: z.boolean(),
    created_at: timeSchema,
    updated_at: timeSchema,
  })
  .meta({ id: 'DexSavedCommand' });
export type DexSavedCommand = z.infer<typeof dexSavedCommandSchema>;

export const dexExecuteSavedBodySchema = z.object({
  agent_ids: z.array(agentIdSchema).min(1).max(MAX_AGENTS),
  parameters: z.record(z.string().max(64), parameterValueSchema.nullable()).nullish(),
  timeout: laxFloat(z.number().min(1))
    .nullish()
    .meta({ description: 'Seconds; default 30, at most MAX_TIMEOUT' }),
  queue: laxBoolean().nullish().meta({ description: 'Wait for agents that are not connected' }),
});

const sentSchema = z.object({
  agent_id: z.string(),
  command_id: z.uuid(),
  status: z.enum(['sent', 'queued']),
  message: z.string(),
  shell: z.string(),
});
const refusedSchema = z.object({ agent_id: z.string(), success: z.literal(false), error: z.string() });

export const dexSavedRunSchema = z
  .object({
    command_id: z.uuid().meta({ description: 'Of the saved command' }),
    command_name: z.string(),
    executed_command: z
      .string()
      .meta({ description: 'Its text with the values in front; of the first shell where there are several' }),
    results: z.array(z.union([sentSchema, refusedSchema])),
  })
  .meta({ id: 'DexSavedCommandRun' });
export type DexSavedRun = z.infer<typeof dexSavedRunSchema>;

const shared = { family: 'dex', tags: ['dex'], auth: 'user', resource: 'saved_command' } as const;
const params = z.object({ savedCommandId: z.string().max(128) });
const byId = { ...shared, path: '/api/v1/commands/saved/{savedCommandId}', params } as const;
const protectedText = { system_command_protected: { message: 'Cannot {verb} system commands' } } as const;

export const dexListSavedRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/commands/saved',
  summary: 'List all saved commands, newest first',
  rateClass: 'read',
  verb: 'list',
  replies: { 200: z.array(dexSavedCommandSchema) },
});

export const dexCreateSavedRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/commands/saved',
  summary: 'Save a command',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: dexSavedBodySchema,
  replies: { 201: dexSavedCommandSchema },
  errors: ['conflict', 'idempotency_conflict', 'saved_command_not_found'],
});

export const dexGetSavedRoute = defineRoute({
  ...byId,
  method: 'GET',
  summary: 'Read a saved command',
  rateClass: 'read',
  verb: 'read',
  replies: { 200: dexSavedCommandSchema },
  errors: ['saved_command_not_found'],
});

export const dexUpdateSavedRoute = defineRoute({
  ...byId,
  method: 'PUT',
  summary: 'Change a saved command',
  rateClass: 'write',
  verb: 'update',
  body: dexSavedChangeSchema,
  replies: { 200: dexSavedCommandSchema },
  errors: ['saved_command_not_found', 'system_command_protected', 'conflict'],
  errorTexts: protectedText,
});

export const dexDeleteSavedRoute = defineRoute({
  ...byId,
  method: 'DELETE',
  summary: 'Delete a saved command',
  rateClass: 'write',
  verb: 'delete',
  replies: { 200: z.object({ message: z.string() }) },
  errors: ['saved_command_not_found', 'system_command_protected'],
  errorTexts: protectedText,
});

export const dexExecuteSavedRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/commands/saved/{savedCommandId}/execute',
  summary: 'Run a saved command on agents',
  description:
    'In PowerShell where the agent has it, else in its default shell; `shell` says which. Agents that are not connected ' +
    'are refused unless `queue` is set (in the body, or as `?queue=true`).',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'execute',
  params,
  query: z.object({ queue: laxBoolean().optional() }),
  body: dexExecuteSavedBodySchema,
  replies: { 200: dexSavedRunSchema },
  errors: ['saved_command_not_found', 'conflict', 'idempotency_conflict', 'not_found'],
});
