/** Saved commands: scripts that people keep, with typed parameters and their history. */
import { z } from 'zod';
import { shellNames } from './act.ts';
import { agentIdSchema } from './agent-protocol.ts';
import { actRequestSchema, batchSchema, MAX_BATCH_AGENTS } from './commands.ts';
import { actorRefSchema, pageOf, pageQuery, timeSchema } from './shared.ts';

/** Saved commands beside those the system brings. */
export const MAX_SAVED_COMMANDS = 1_000;
/** Longest script, characters. */
export const MAX_SAVED_SCRIPT_LENGTH = 32 * 1024;
/** Most parameters of one saved command. */
export const MAX_PARAMETERS = 32;
/** Longest text value of a parameter, characters. */
export const MAX_PARAMETER_VALUE_LENGTH = 4_096;
/** Longest name, category, author and version, characters. */
export const MAX_SAVED_NAME_LENGTH = 200;
/** Longest description, characters. */
export const MAX_SAVED_DESCRIPTION_LENGTH = 2_000;
/** Most tags of one saved command, and their longest length, characters. */
export const MAX_SAVED_TAGS = 20;
export const MAX_SAVED_TAG_LENGTH = 64;
/** Most options of a `choice`. */
export const MAX_CHOICE_OPTIONS = 100;

/**
 * For which shell a script is written. `sh` also runs in bash and `powershell` also in pwsh; `any` runs in whatever
 * shell the agent has, after all others.
 */
export const scriptKinds = [...shellNames, 'any'] as const;
export type ScriptKind = (typeof scriptKinds)[number];

/**
 * `string`: any text. `name`: one word of letters, digits and `. _ - @ + :`. `host`: a host name or address. `path`: a
 * path without `..`. No `name`, `host` or `path` begins with `-`, so none can become an option.
 */
export const parameterTypes = [
  'string',
  'name',
  'host',
  'path',
  'integer',
  'number',
  'boolean',
  'choice',
] as const;
export type ParameterType = (typeof parameterTypes)[number];

/** One line of text that shows all that is in it. */
const lineSchema = (maxLength: number) =>
  z
    .string()
    .max(maxLength)
    .refine((text) => !/[\p{Cc}\p{Cs}]/u.test(text), { error: 'must not hold control characters' });

const textSchema = (maxLength: number) =>
  z
    .string()
    .max(maxLength)
    .refine((text) => !text.includes('\0') && text.isWellFormed(), {
      error: 'must be well-formed text without NUL characters',
    });

export const parameterValueSchema = z.union([
  textSchema(MAX_PARAMETER_VALUE_LENGTH),
  z.number(),
  z.boolean(),
]);
export type ParameterValue = z.infer<typeof parameterValueSchema>;

/** Also the name of a shell variable. */
export const parameterNameSchema = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, { error: 'must be a name of letters, digits and _' });

export const savedParameterSchema = z
  .strictObject({
    name: parameterNameSchema,
    type: z.enum(parameterTypes).default('string'),
    description: textSchema(MAX_SAVED_DESCRIPTION_LENGTH).nullable().default(null),
    required: z.boolean().default(false),
    default: parameterValueSchema
      .nullable()
      .default(null)
      .meta({ description: 'null: empty when it is not given' }),
    options: z
      .array(lineSchema(MAX_SAVED_NAME_LENGTH).min(1))
      .max(MAX_CHOICE_OPTIONS)
      .default([])
      .meta({ description: 'Only of a `choice`' }),
    min: z.number().nullable().default(null).meta({ description: 'Only of numbers' }),
    max: z.number().nullable().default(null).meta({ description: 'Only of numbers' }),
  })
  .refine((one) => (one.type === 'choice') === one.options.length > 0, {
    error: 'are what a choice has, and nothing else',
    path: ['options'],
  })
  .refine(
    (one) => (one.min === null && one.max === null) || one.type === 'integer' || one.type === 'number',
    { error: 'is only for numbers', path: ['min'] },
  );
export type SavedParameter = z.infer<typeof savedParameterSchema>;

const scriptSchema = textSchema(MAX_SAVED_SCRIPT_LENGTH).refine((text) => text.trim() !== '', {
  error: 'must not be empty',
});

const scriptsSchema = z
  .strictObject({
    sh: scriptSchema,
    bash: scriptSchema,
    pwsh: scriptSchema,
    powershell: scriptSchema,
    cmd: scriptSchema,
    any: scriptSchema,
  } satisfies Record<ScriptKind, z.ZodType>)
  .partial()
  .refine((scripts) => Object.values(scripts).some((script) => script !== undefined), {
    error: 'must hold at least one script',
  })
  .meta({
    description:
      'A script by shell. It reads its parameters as variables of that shell: `"$name"` in sh and bash, `$name` in ' +
      'PowerShell, `%name%` in cmd.',
  });
export type SavedScripts = z.infer<typeof scriptsSchema>;

/** What a person writes of a saved command; everything but name and scripts has a default. */
export const savedContentShape = {
  name: lineSchema(MAX_SAVED_NAME_LENGTH).refine((text) => text.trim() !== '', {
    error: 'must not be empty',
  }),
  description: textSchema(MAX_SAVED_DESCRIPTION_LENGTH).nullable(),
  category: lineSchema(MAX_SAVED_NAME_LENGTH).min(1),
  tags: z.array(lineSchema(MAX_SAVED_TAG_LENGTH).min(1)).max(MAX_SAVED_TAGS),
  scripts: scriptsSchema,
  parameters: z.array(savedParameterSchema).max(MAX_PARAMETERS),
  version: lineSchema(MAX_SAVED_NAME_LENGTH)
    .min(1)
    .meta({ description: "The author's own; `revision` is ours" }),
  author: lineSchema(MAX_SAVED_NAME_LENGTH)
    .nullable()
    .meta({ description: 'As written; who really changed it is in `editedBy`' }),
  autoApprove: z.boolean().meta({
    description:
      'Tasks in mode `auto` may run it undecided. Takes the right to decide, and no parameter of type `string`.',
  }),
};

export const createSavedCommandBodySchema = z.strictObject({
  ...savedContentShape,
  description: savedContentShape.description.default(null),
  category: savedContentShape.category.default('general'),
  tags: savedContentShape.tags.default([]),
  parameters: savedContentShape.parameters.default([]),
  version: savedContentShape.version.default('1.0'),
  author: savedContentShape.author.default(null),
  autoApprove: savedContentShape.autoApprove.default(false),
});
export type SavedContent = z.infer<typeof createSavedCommandBodySchema>;

/** What is not given stays as it is. */
export const updateSavedCommandBodySchema = z.strictObject({
  ...z.object(savedContentShape).partial().shape,
  revision: z
    .int()
    .min(1)
    .optional()
    .meta({ description: 'The revision that was read: the change is refused when there is a newer one' }),
});
export type SavedChange = z.infer<typeof updateSavedCommandBodySchema>;

export const savedCommandSchema = z
  .object({
    id: z.uuid(),
    ...savedContentShape,
    isSystem: z.boolean().meta({ description: 'Comes with the system: it can be copied, not changed' }),
    revision: z.int(),
    editedBy: actorRefSchema,
    createdAt: timeSchema,
    updatedAt: timeSchema,
  })
  .meta({ id: 'SavedCommand' });
export type SavedCommandView = z.infer<typeof savedCommandSchema>;

export const savedCommandPageSchema = pageOf(savedCommandSchema);

export const savedRevisionSchema = z
  .object({
    ...savedContentShape,
    revision: z.int(),
    editedBy: actorRefSchema,
    createdAt: timeSchema,
  })
  .meta({ id: 'SavedCommandRevision' });
export type SavedRevisionView = z.infer<typeof savedRevisionSchema>;

export const savedListQuerySchema = z.strictObject({
  ...pageQuery,
  category: lineSchema(MAX_SAVED_NAME_LENGTH).optional(),
  tag: lineSchema(MAX_SAVED_TAG_LENGTH).optional(),
});
export type SavedListQuery = z.infer<typeof savedListQuerySchema>;

const act = actRequestSchema.shape;
export const executeSavedBodySchema = z.strictObject({
  agentIds: z.array(agentIdSchema).min(1).max(MAX_BATCH_AGENTS),
  parameters: z.record(parameterNameSchema, parameterValueSchema).default({}),
  shell: act.shell.meta({ description: 'Default: the first of its scripts that fits each agent' }),
  workingDirectory: act.workingDirectory,
  user: act.user,
  elevated: act.elevated,
  timeoutMs: act.timeoutMs,
  expiryMs: act.expiryMs,
  waitMs: z
    .int()
    .min(0)
    .max(310_000)
    .default(0)
    .meta({ description: 'Wait this long for all outcomes before answering' }),
});
export type ExecuteSavedBody = z.infer<typeof executeSavedBodySchema>;

/** Agents that got no command, and why. */
export const refusedAgentSchema = z.object({
  agentId: z.string(),
  code: z.string().meta({ description: 'An error code: `agent_not_found`, `agent_revoked` …' }),
  message: z.string(),
});

export const savedRunSchema = z
  .object({
    runId: z.uuid(),
    savedCommandId: z.uuid(),
    revision: z.int(),
    batches: z
      .array(batchSchema)
      .meta({ description: 'One for each shell: agents with the same shell run the same act' }),
    refused: z.array(refusedAgentSchema),
  })
  .meta({ id: 'SavedCommandRun' });
