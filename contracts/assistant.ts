/** The language model at the desk of an operator: it writes commands for people, and says what outputs mean. */
import { z } from 'zod';
import { shellNameSchema } from './act.ts';
import { agentIdSchema } from './agent-protocol.ts';
import { defineRoute } from './route.ts';

/** Longest message, characters, and most messages; of these the model is shown the newest that fit. */
const MAX_MESSAGE_LENGTH = 32 * 1024;
const MAX_MESSAGES = 200;
/** Longest name of an operating system, characters. */
const MAX_OS_LENGTH = 255;

export const suggestionBodySchema = z.strictObject({
  messages: z
    .array(
      z.strictObject({
        role: z.enum(['user', 'assistant']),
        content: z.string().trim().min(1).max(MAX_MESSAGE_LENGTH),
      }),
    )
    .min(1)
    .max(MAX_MESSAGES)
    .refine((messages) => messages.at(-1)?.role === 'user', { error: "must end with the user's" })
    .meta({ description: 'Oldest first; the last one says what is wanted' }),
  agentId: agentIdSchema.optional().meta({ description: 'The machine: its system and shells are heeded' }),
  shell: shellNameSchema.optional().meta({ description: "Default: the agent's, or `sh`" }),
  os: z.string().max(MAX_OS_LENGTH).optional().meta({ description: 'Where no agent is named' }),
});

export const suggestionSchema = z
  .object({
    command: z
      .object({
        command: z.string(),
        name: z.string(),
        description: z.string(),
        category: z.string(),
        parameters: z.array(
          z.object({
            name: z.string(),
            type: z.string(),
            description: z.string(),
            required: z.boolean(),
            default: z.string().nullable(),
          }),
        ),
        tags: z.array(z.string()),
        explanation: z.string(),
        estimatedTime: z.string().nullable().meta({ description: "The model's guess" }),
        label: z
          .enum(['safe', 'caution', 'dangerous'])
          .meta({ description: 'Of our classifier, never of the model. It permits nothing' }),
        labelReasons: z.array(z.string()),
      })
      .nullable()
      .meta({ description: 'null: the model answered in words, see `text`' }),
    shell: shellNameSchema,
    text: z.string().meta({ description: 'All that the model said' }),
    isRefusal: z.boolean(),
    isCached: z.boolean().meta({ description: 'The same question of the same user, answered minutes ago' }),
    model: z.string(),
  })
  .meta({ id: 'CommandSuggestion' });

const shared = { family: 'house', method: 'POST', tags: ['assistant'], auth: 'user' } as const;
const modelErrors = ['budget_exceeded', 'model_unavailable', 'model_not_configured'] as const;

export const suggestCommandRoute = defineRoute({
  ...shared,
  path: '/v1/assistant/suggestions',
  summary: 'Have the language model write a command',
  description:
    'It runs nothing. The same question of the same user within 10 minutes is answered again (`isCached`).',
  rateClass: 'model',
  verb: 'propose',
  resource: 'command',
  body: suggestionBodySchema,
  replies: { 200: suggestionSchema },
  errors: ['agent_not_found', ...modelErrors],
});

export const explainCommandRoute = defineRoute({
  ...shared,
  path: '/v1/commands/{commandId}/explanation',
  summary: 'Have the language model say what the outcome of a command means',
  description:
    'Of each stream it is shown 8 KiB, head and tail. What it says is for people: nothing acts upon it.',
  rateClass: 'model',
  verb: 'propose',
  resource: 'command',
  params: z.object({ commandId: z.uuid() }),
  replies: { 200: z.object({ text: z.string() }) },
  errors: ['command_not_found', 'command_running', ...modelErrors],
});
