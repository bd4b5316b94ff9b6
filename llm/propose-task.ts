/** The tool by which a chat model suggests a task. It only describes one; whoever holds the conversation makes it, or not. */
import { z } from 'zod';
import { agentIdSchema } from '../contracts/agent-protocol.ts';
import { MAX_GOAL_LENGTH, MAX_TITLE_LENGTH } from '../contracts/tasks.ts';
import type { ProposedTask } from './chat-port.ts';

/** Tags that a machine may be asked for. */
const MAX_TAGS = 16;
const MAX_TAG_LENGTH = 64;

const proposeTaskInput = z.object({
  title: z.string().trim().min(1).max(MAX_TITLE_LENGTH).nullish().describe('A short name for the task.'),
  goal: z
    .string()
    .trim()
    .min(1)
    .max(MAX_GOAL_LENGTH)
    .describe('What shall be reached, in plain words that make sense without this conversation.'),
  agent_id: agentIdSchema
    .nullish()
    .describe('The machine, only if the user named it by its id. Leave out to let the server choose.'),
  tags: z
    .array(z.string().trim().min(1).max(MAX_TAG_LENGTH))
    .max(MAX_TAGS)
    .nullish()
    .describe('Tags the machine must have, only if the user named them.'),
});

/** What a model sent, or what is wrong with it. */
export function readProposedTask(input: unknown): { task: ProposedTask } | { problem: string } {
  const parsed = proposeTaskInput.safeParse(input);
  if (!parsed.success) {
    const { issues } = parsed.error;
    return {
      problem: issues.map(({ path, message }) => `${path.join('.') || 'input'}: ${message}`).join('; '),
    };
  }
  const { title, goal, agent_id: agentId, tags } = parsed.data;
  return { task: { title: title ?? null, goal, agentId: agentId ?? null, tags: tags ?? [] } };
}

const { $schema: _dialect, ...schema } = z.toJSONSchema(proposeTaskInput, { io: 'input' });

/** In the form that the Messages protocol takes. */
export const proposeTaskTool = {
  name: 'propose_task' as const,
  description:
    'Suggest a task: work on a machine of this installation. It runs nothing. The task is planned step by step, and every command waits for the decision of a person.',
  input_schema: { ...schema, type: 'object' as const },
};
