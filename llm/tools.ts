import { z } from 'zod';

/** Length a proposed command may have (UTF-16 units). Longer ones are bad answers. */
export const maxCommandLength = 32 * 1024;

/** Length of the prose fields of an answer (UTF-16 units). */
export const maxProseLength = 8 * 1024;

export const proposeCommandInput = z.object({
  command: z
    .string()
    .trim()
    .min(1)
    .max(maxCommandLength)
    // A NUL can be in no argument list, so such a command could never run as approved.
    .refine((text) => !text.includes('\0'), 'command holds a NUL character')
    .describe('The exact command line to run, once, as one step.'),
  shell: z
    .string()
    .trim()
    .min(1)
    .max(64)
    .nullish()
    .describe('One of the shells of the target machine; leave out for its default shell.'),
  reason: z
    .string()
    .trim()
    .min(1)
    .max(maxProseLength)
    .describe('Why this is the right next step, in one or two sentences, for the person who decides.'),
  expected_effect: z
    .string()
    .trim()
    .min(1)
    .max(maxProseLength)
    .describe('What it will read, change or print.'),
});

export const taskDoneInput = z.object({
  success: z.boolean().describe('Whether the goal was reached.'),
  summary: z
    .string()
    .trim()
    .min(1)
    .max(maxProseLength)
    .describe('The result for the person who stated the goal, with the facts found, or why it failed.'),
});

/** The two tools in the JSON schema form that the Messages protocol takes. */
export const proposalTools = [
  {
    name: 'propose_command',
    description: 'Propose the next single command. A person or a policy decides whether it runs.',
    input_schema: inputSchema(proposeCommandInput),
  },
  {
    name: 'task_done',
    description: 'End the task: the goal is reached (success true), or cannot be reached (success false).',
    input_schema: inputSchema(taskDoneInput),
  },
];

function inputSchema(schema: z.ZodType): { type: 'object'; [key: string]: unknown } {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io: 'input' });
  return { ...rest, type: 'object' };
}
