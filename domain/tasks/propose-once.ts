/** A proposal for no task: one question, one answer, nothing kept. For the machine of the server. */
import { DEFAULT_MAX_STEPS } from '../../contracts/tasks.ts';
import { listCommandTargets } from '../../db/agents.ts';
import type { LlmPort, ProposeRequest } from '../../llm/port.ts';
import type { LocalAgentDeps } from '../commands/run-local.ts';
import type { Actor } from '../deps.ts';
import { toModelProblem } from '../model-problem.ts';
import { assertCan } from '../policy.ts';
import type { StepWish } from './ask-for-step.ts';
import { type Comparison, compareModels, presentAnswer } from './compare-models.ts';
import { fitAnswer } from './model-answer.ts';

export interface LooseProposal {
  reason: string;
  command: string | null;
  raw: string;
  comparisons: Record<string, Comparison> | null;
}

/**
 * @param wish `prompt` is what is to be done
 * @throws forbidden, budget_exceeded, model_unavailable; the reason of the signal
 */
export async function proposeOnce(
  deps: LocalAgentDeps & { llm: LlmPort },
  actor: Actor,
  wish: StepWish & { prompt: string },
  signal: AbortSignal,
): Promise<LooseProposal> {
  assertCan(actor.principal, 'propose', 'command');
  const request = await requestFor(deps, actor, wish.prompt);
  const options = { signal, model: wish.modelName ?? undefined };
  const failing = new AbortController();
  try {
    const whileAsked = AbortSignal.any([signal, failing.signal]);
    const others =
      wish.compared.length === 0 ? undefined : compareModels(deps, wish.compared, request, whileAsked);
    others?.catch(() => undefined);
    const answer = fitAnswer(await deps.llm.propose(request, options));
    const comparisons = others === undefined ? null : (await others)(answer);
    const { reason, command, raw } = presentAnswer(answer);
    return { reason, command, raw, comparisons };
  } catch (error) {
    failing.abort(error);
    throw toModelProblem(error);
  }
}

async function requestFor(deps: LocalAgentDeps, actor: Actor, prompt: string): Promise<ProposeRequest> {
  const [agent] = await listCommandTargets(deps.db, [deps.localAgentId]);
  return {
    task: { id: null, runNo: 1, title: prompt.split('\n', 1)[0]?.slice(0, 200) ?? '', goal: prompt },
    step: 1,
    maxSteps: DEFAULT_MAX_STEPS,
    agent: {
      id: deps.localAgentId,
      hostname: agent?.hostname ?? 'localhost',
      os: agent?.os ?? 'unknown',
      shells: agent === undefined || agent.shells.length === 0 ? ['sh'] : agent.shells,
      defaultShell: agent?.defaultShell ?? 'sh',
    },
    history: [],
    actor: { principalId: actor.principal.id },
  };
}
