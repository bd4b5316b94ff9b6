/** Prompts to the language model, with the tools of the hub, as clients of ananta know it. */
import { z } from 'zod';
import { messageRoles } from '../../conversations.ts';
import { defineRoute, jsonOrEvents } from '../../route.ts';
import { anantaSuccess } from '../ananta.ts';
import { anantaToolCallSchema, MAX_TOOL_CALLS } from './steps.ts';

/** Longest prompt, and longest message of the history, UTF-16 units. */
export const MAX_PROMPT_LENGTH = 100_000;
/** Most messages of the history; the model sees the newest that fit. */
export const MAX_HISTORY = 200;

const modelNameField = z.string().trim().max(200).nullish();

export const anantaGenerateBodySchema = z
  .object({
    prompt: z.string().max(MAX_PROMPT_LENGTH).nullish(),
    tool_calls: z.array(anantaToolCallSchema).max(MAX_TOOL_CALLS).nullish().meta({
      description:
        'The calls of an earlier answer, to be run: only for administrators, within the guardrails',
    }),
    confirm_tool_calls: z.boolean().nullish().meta({ description: 'Run the `tool_calls` of this request' }),
    confirmed: z.boolean().nullish().meta({ description: 'As `confirm_tool_calls`' }),
    stream: z.boolean().nullish().meta({ description: 'Answer server-sent events' }),
    history: z
      .array(z.object({ role: z.enum(messageRoles), content: z.string().max(MAX_PROMPT_LENGTH) }))
      .max(MAX_HISTORY)
      .nullish()
      .meta({ description: 'Oldest first. What a `system` message says is a note, not a rule' }),
    config: z.object({ provider: modelNameField, model: modelNameField }).nullish().meta({
      description: 'As `GET /providers` names them. Addresses and keys are never taken from a request',
    }),
  })
  .meta({ id: 'AnantaPrompt' });
export type AnantaGenerateBody = z.infer<typeof anantaGenerateBodySchema>;

const callsSchema = z.array(z.object({ name: z.string(), args: z.record(z.string(), z.unknown()) }));
const unconfirmedFields = {
  requires_confirmation: z.literal(true),
  thought: z.string(),
  tool_calls: callsSchema,
};
const ranFields = {
  tool_results: z.array(
    z.object({
      tool: z.string(),
      success: z.boolean(),
      output: z.unknown(),
      error: z.string().nullable(),
    }),
  ),
  blocked_tools: z.array(z.string()).meta({ description: 'Names that no tool has' }),
};

const generatedSchema = z
  .union([
    z.object({ response: z.string(), ...unconfirmedFields }),
    z.object({ response: z.string(), ...ranFields }),
    z.object({ response: z.string() }),
  ])
  .meta({ id: 'AnantaGenerated' });
export type AnantaGenerated = z.input<typeof generatedSchema>;

export const anantaGenerateRoute = defineRoute({
  family: 'ananta',
  tags: ['ananta models'],
  auth: 'user',
  rateClass: 'model',
  method: 'POST',
  path: '/llm/generate',
  summary: 'Ask the language model, which may ask for tools of the hub',
  description:
    'Tools never run by the model alone: an answer with `requires_confirmation` names the calls, which an administrator ' +
    'sends again with `confirm_tool_calls`. With `stream`: `data:` for each piece of the response, then `event: confirmation` ' +
    'or `event: tool_results` with the further members of the answer where there are any, then `event: done` with `[DONE]`; ' +
    'an answer that breaks off ends with `event: error`. With an `Idempotency-Key` that was used, tools are not run again: 409.',
  takesIdempotencyKey: true,
  verb: 'propose',
  resource: 'command',
  body: anantaGenerateBodySchema.nullish(),
  replies: {
    200: jsonOrEvents(
      anantaSuccess(generatedSchema),
      z.union([
        z.string(),
        z.object(unconfirmedFields),
        z.object(ranFields),
        z.object({ message: z.string() }),
      ]),
    ),
  },
  errors: [
    'invalid_request',
    'tool_guardrail_blocked',
    'conflict',
    'idempotency_conflict',
    'budget_exceeded',
    'model_unavailable',
    'answer_broken_off',
  ],
});
