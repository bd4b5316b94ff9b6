/** The language model as dex clients ask it: write a command, try one out, is it there at all? */
import { z } from 'zod';
import { shellNameSchema } from '../../act.ts';
import { agentIdSchema } from '../../agent-protocol.ts';
import { defineRoute } from '../../route.ts';
import { atAgent, dexOutcomeSchema } from './commands.ts';
import { laxFloat } from './lax.ts';

/** Longest wish, and longest message of a history, characters. */
const MAX_MESSAGE_LENGTH = 32 * 1024;
/** Messages of a history that are read; the model is shown the newest of them. */
const MAX_HISTORY = 1_000;
/** Longest name of an operating system, characters. */
const MAX_OS_LENGTH = 255;
/** Longest name of a shell, characters. */
const MAX_SHELL_LENGTH = 64;

const messageSchema = z.string().trim().min(1).max(MAX_MESSAGE_LENGTH);

/** Some clients say `prompt` where others say `message`. What else they send of a message of the history is read over. */
export const dexGenerateBodySchema = z
  .object({
    message: messageSchema.nullish(),
    prompt: messageSchema.nullish(),
    conversation_history: z
      .array(
        z.object({
          role: z.enum(['user', 'assistant', 'system']),
          content: z.string().max(MAX_MESSAGE_LENGTH),
        }),
      )
      .max(MAX_HISTORY)
      .nullish(),
    agent_id: agentIdSchema
      .or(z.literal(''))
      .nullish()
      .meta({ description: 'Write for this agent: its system and its shells' }),
    agent_context: z
      .object({
        os: z.string().max(MAX_OS_LENGTH).nullish(),
        shell: z.string().max(MAX_SHELL_LENGTH).nullish().meta({
          description: 'One of our names of shells, in any case; another is read over',
        }),
      })
      .nullish()
      .meta({ description: 'Where no agent is named. Default: PowerShell' }),
  })
  .refine((body) => typeof (body.message ?? body.prompt) === 'string', {
    error: 'Field required',
    path: ['message'],
  });

export const dexSafetyLevels = ['safe', 'caution', 'dangerous'] as const;

const safety = {
  safety_level: z
    .enum(dexSafetyLevels)
    .nullable()
    .meta({ description: 'Of our classifier, never of the model. A label: it permits nothing' }),
  safety_reasons: z.array(z.string()),
};

export const dexCommandDataSchema = z
  .object({
    command: z.string(),
    name: z.string(),
    description: z.string(),
    category: z.string(),
    parameters: z.array(
      z.object({
        name: z.string(),
        type: z.string(),
        default: z.string().nullable(),
        description: z.string(),
        required: z.boolean(),
      }),
    ),
    tags: z.array(z.string()),
    explanation: z.string(),
    shell: shellNameSchema.meta({ description: 'For which it is written' }),
    ...safety,
  })
  .meta({ id: 'DexCommandData' });

export const dexGeneratedSchema = z
  .object({
    success: z.boolean().meta({ description: 'false: the model answered without a command; see `note`' }),
    command_data: dexCommandDataSchema.nullable(),
    command: z.string().nullable(),
    explanation: z.string(),
    shell: shellNameSchema,
    ...safety,
    estimated_execution_time: z.string().nullable().meta({ description: "The model's guess" }),
    raw_response: z.string(),
    note: z.string().optional(),
    model: z.string(),
    cached: z.boolean().meta({ description: 'The same question of the same user, answered minutes ago' }),
  })
  .meta({ id: 'DexGeneratedCommand' });
export type DexGenerated = z.infer<typeof dexGeneratedSchema>;

/** What is missing is told by the handler: as 400, not as 422. */
export const dexTestBodySchema = z
  .object({
    command: z.string().nullish(),
    agent_id: z.string().nullish(),
    timeout: laxFloat(z.number().positive())
      .nullish()
      .meta({ description: 'Seconds; default DEFAULT_TIMEOUT' }),
    working_directory: z.string().nullish(),
  })
  .nullish();

/** As the sync execute answers, with the model's reading of it. */
export const dexTestedSchema = z
  .object({
    success: z.boolean(),
    command_id: z.string(),
    agent_id: z.string(),
    status: z.enum(['completed', 'timeout']),
    shell: z.string().nullable(),
    error: z
      .string()
      .nullable()
      .meta({ description: 'What the command wrote to its error output, or what befell it' }),
    message: z.string().optional(),
    result: dexOutcomeSchema.nullable().meta({ description: 'null: it has not ended yet' }),
    ...safety,
    analysis: z
      .string()
      .nullable()
      .meta({ description: "The model's reading of the outcome; null without one" }),
    analysis_error: z.string().nullable().meta({ description: 'Why there is none' }),
  })
  .meta({ id: 'DexTestedCommand' });
export type DexTested = z.infer<typeof dexTestedSchema>;

const shared = { family: 'dex', tags: ['dex'], auth: 'user' } as const;
const modelErrors = ['budget_exceeded', 'model_unavailable', 'model_not_configured'] as const;

export const dexGenerateRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/commands/ai/generate',
  summary: 'Have the language model write a command',
  description:
    'It runs nothing. The same question of the same user within 10 minutes is answered again, marked `cached`.',
  rateClass: 'model',
  verb: 'propose',
  resource: 'command',
  body: dexGenerateBodySchema,
  replies: { 200: dexGeneratedSchema },
  errors: ['agent_not_found', ...modelErrors],
});

export const dexTestRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/commands/ai/test',
  summary: 'Run a command on an agent and have its outcome explained',
  description:
    'The command runs as by the sync execute. Without a model the outcome is told all the same, without `analysis`.',
  rateClass: 'model',
  verb: 'execute',
  resource: 'command',
  takesIdempotencyKey: true,
  body: dexTestBodySchema,
  replies: { 200: dexTestedSchema },
  errors: [
    'invalid_request',
    'agent_not_found',
    'agent_not_connected',
    'agent_revoked',
    'idempotency_conflict',
  ],
  errorTexts: { ...atAgent, agent_not_connected: { status: 404, message: 'Agent not connected' } },
});

export const dexModelStatusRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/commands/ai/status',
  summary: 'Is there a language model?',
  rateClass: 'read',
  verb: 'read',
  resource: 'system',
  replies: {
    200: z.object({ available: z.boolean(), message: z.string(), model: z.string().nullable() }),
  },
});
