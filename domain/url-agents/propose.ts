/** The next step of a task as its agent proposes it, which has a model of its own. */
import { z } from 'zod';
import { MAX_SCRIPT_BYTES } from '../../contracts/act.ts';
import type { StepPlanRow } from '../../db/step-plans.ts';
import type { TaskRow } from '../../db/tasks.ts';
import type { UrlProposalAnswer } from '../../db/url-proposals.ts';
import { LlmError, type ProposeAnswer, type Usage } from '../../llm/port.ts';
import { fitAnswer, plainProse } from '../tasks/model-answer.ts';
import { askForTask } from './ask-for-task.ts';
import type { UrlAgentDeps } from './deps.ts';
import { storable } from './storable.ts';

/** An agent may think for this long, milliseconds; below the timeout of the activity by an introduction. */
export const URL_PROPOSAL_TIMEOUT_MS = 90_000;
/** Words of an agent that are kept, characters. */
const MAX_WORDS = 64 * 1024;

const answerSchema = z
  .object({
    reason: z.string().max(MAX_WORDS).nullish(),
    command: z.string().max(MAX_SCRIPT_BYTES).nullish(),
    tool_calls: z.array(z.unknown()).max(100).nullish(),
    raw: z.string().max(MAX_WORDS).nullish(),
    comparisons: z.record(z.string(), z.unknown()).nullish(),
  })
  .refine((answer) => 'command' in answer || 'tool_calls' in answer, 'holds no proposal');

export type UrlProposal =
  /** A command, or the word that nothing is left to do. */
  | { kind: 'answer'; answer: ProposeAnswer; comparisons: Record<string, unknown> | null }
  /** Nothing that could be decided on. */
  | { kind: 'other'; answer: UrlProposalAnswer };

/** What the engine asks in place of the model, for agents with an address. Never throws for what the agent does. */
export interface UrlAgentsPort {
  propose(
    agentId: string,
    task: TaskRow,
    plan: StepPlanRow | undefined,
    signal: AbortSignal,
  ): Promise<UrlProposal>;
}

export const createUrlAgents = (deps: UrlAgentDeps, timeoutMs = URL_PROPOSAL_TIMEOUT_MS): UrlAgentsPort => ({
  async propose(agentId, task, plan, signal) {
    const body = {
      task_id: task.publicId,
      ...(plan?.prompt != null && { prompt: plan.prompt }),
      ...(plan?.modelName != null && { model: plan.modelName }),
      ...(plan !== undefined && plan.compared.length > 0 && { providers: plan.compared }),
    };
    const told = await askForTask(deps, agentId, task, '/step/propose', {
      body,
      timeoutMs,
      signal,
      isOneDeadline: true,
    });
    signal.throwIfAborted();
    if (told.kind === 'refused') return failed(`it said ${told.status}: ${told.message}`);
    if (told.kind !== 'answered') return failed(told.reason);
    const read = answerSchema.safeParse(told.data);
    if (!read.success) return failed('an answer that holds no proposal');
    return proposalOf(agentId, read.data);
  },
});

/** Whose proposal it is; what its model costs is its own business. */
export const usageOfUrlAgent = (agentId: string): Usage => ({
  model: `agent:${agentId}`,
  inputTokens: 0,
  outputTokens: 0,
  costUsd: 0,
  mock: false,
});

const failed = (reason: string): UrlProposal => ({
  kind: 'other',
  answer: { kind: 'failed', reason: plainProse(reason) },
});

function proposalOf(agentId: string, said: z.infer<typeof answerSchema>): UrlProposal {
  const reason = plainProse(said.reason ?? '');
  const toolCalls = said.tool_calls?.map((call) => storable(call)) ?? null;
  const comparisons = (storable(said.comparisons ?? null) ?? null) as Record<string, unknown> | null;
  const usage = usageOfUrlAgent(agentId);
  if (said.command != null && said.command.trim() !== '') {
    try {
      const answer = fitAnswer({
        kind: 'command',
        command: said.command,
        shell: null,
        reason,
        expectedEffect: '',
        usage,
      });
      return { kind: 'answer', answer, comparisons };
    } catch (error) {
      if (error instanceof LlmError) return failed(error.message);
      throw error;
    }
  }
  if (toolCalls === null || toolCalls.length === 0)
    return { kind: 'answer', answer: { kind: 'done', success: true, summary: reason, usage }, comparisons };
  const raw = plainProse(said.raw ?? '');
  return { kind: 'other', answer: { kind: 'told', reason, raw, toolCalls, comparisons } };
}
