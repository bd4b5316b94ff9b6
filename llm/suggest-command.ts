/** The tool by which a model hands over a command that it was asked to write. */
import { z } from 'zod';
import { parameterNameSchema } from '../contracts/saved-commands.ts';
import { issuesText } from './anthropic-message.ts';
import type { SuggestedCommand, SuggestedParameterType } from './assistant-port.ts';
import { maxCommandLength, maxProseLength } from './tools.ts';
import { showInvisible } from './untrusted-text.ts';

/** Longest name, category and estimate, characters. */
const MAX_NAME_LENGTH = 200;
const MAX_PARAMETERS = 16;
const MAX_TAGS = 16;
const MAX_TAG_LENGTH = 64;

const parameterTypes = [
  'string',
  'name',
  'host',
  'path',
  'integer',
  'number',
  'boolean',
] as const satisfies readonly SuggestedParameterType[];

const prose = (maxLength: number) => z.string().trim().min(1).max(maxLength);

const suggestCommandInput = z.object({
  command: z
    .string()
    .trim()
    .min(1)
    .max(maxCommandLength)
    // No argument list can hold one, so such a command could never run.
    .refine((text) => !text.includes('\0') && text.isWellFormed(), 'command is no text for a process')
    .describe('The command or short script, for the shell that was named.'),
  name: prose(MAX_NAME_LENGTH).describe('A few words to find it again by.'),
  description: prose(maxProseLength).describe('What it does, in a sentence.'),
  category: prose(MAX_NAME_LENGTH).nullish().describe('For example system, network, disk, security.'),
  parameters: z
    .array(
      z.object({
        name: parameterNameSchema,
        type: z.enum(parameterTypes).default('string'),
        description: z.string().trim().max(maxProseLength).default(''),
        required: z.boolean().default(false),
        default: z.union([z.string().max(MAX_NAME_LENGTH), z.number(), z.boolean()]).nullish(),
      }),
    )
    .max(MAX_PARAMETERS)
    .nullish()
    .describe('Only what the user left open. The command reads each as a variable of its shell.'),
  tags: z.array(prose(MAX_TAG_LENGTH)).max(MAX_TAGS).nullish(),
  explanation: prose(maxProseLength).describe('How it works and what to heed, for the person who decides.'),
  estimated_execution_time: prose(MAX_NAME_LENGTH).nullish().describe('For example "1-3 seconds".'),
});

/** What a model sent, or what is wrong with it. */
export function readSuggestedCommand(input: unknown): { suggestion: SuggestedCommand } | { problem: string } {
  const parsed = suggestCommandInput.safeParse(input);
  if (!parsed.success) return { problem: issuesText(parsed.error) };
  const { data } = parsed;
  return {
    suggestion: {
      command: data.command,
      name: showInvisible(data.name),
      description: showInvisible(data.description),
      category: showInvisible(data.category ?? 'general'),
      parameters: (data.parameters ?? []).map((one) => ({
        ...one,
        description: showInvisible(one.description),
        default: one.default === undefined || one.default === null ? null : showInvisible(`${one.default}`),
      })),
      tags: (data.tags ?? []).map(showInvisible),
      explanation: showInvisible(data.explanation),
      estimatedTime: data.estimated_execution_time ? showInvisible(data.estimated_execution_time) : null,
    },
  };
}

const { $schema: _dialect, ...schema } = z.toJSONSchema(suggestCommandInput, { io: 'input' });

/** In the form that the Messages protocol takes. */
export const suggestCommandTool = {
  name: 'suggest_command' as const,
  description: 'Hand over the command. It runs nothing: the user reads it and decides.',
  input_schema: { ...schema, type: 'object' as const },
};
