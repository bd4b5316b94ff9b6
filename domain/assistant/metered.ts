/**
 * The assistant within its budget: every call is counted, however it ended, and an identical question of the same
 * principal is answered from memory for a while.
 *
 *  A. What went wrong between us and the provider is logged; a client learns only that the model cannot be had.
 *  B. An answer from memory costs nothing, so it is given whatever the budget says.
 */
import { problem } from '../../contracts/errors.ts';
import type {
  AssistantOptions,
  AssistantPort,
  ExplainAnswer,
  ExplainRequest,
  SuggestAnswer,
  SuggestRequest,
} from '../../llm/assistant-port.ts';
import { type Budget, type BudgetScope, type CallOutcome, LlmError, type Usage } from '../../llm/port.ts';
import type { Log } from '../deps.ts';
import { toModelProblem } from '../model-problem.ts';
import { createRecentAnswers } from './recent-answers.ts';

export interface AssistantCaller {
  /** Who pays. */
  principalId: string;
  /** Ends the call to the model at once. */
  signal: AbortSignal;
}

export interface Assistant {
  /** false: no model is configured, and every question is refused. */
  readonly isAvailable: boolean;
  /** Of the settings in force; null without one. */
  readonly model: string | null;
  /** @throws budget_exceeded, model_unavailable, model_not_configured, or the reason of the signal */
  suggest(request: SuggestRequest, caller: AssistantCaller): Promise<SuggestAnswer & { isCached: boolean }>;
  /** @throws as `suggest` */
  explain(request: ExplainRequest, caller: AssistantCaller): Promise<ExplainAnswer>;
}

export function createMeteredAssistant(deps: {
  port: AssistantPort;
  model: string;
  budget: Budget;
  log: Log;
  /** Milliseconds of the clock by which answers are remembered. */
  now?: () => number;
}): Assistant {
  const { port, model, budget, log } = deps;
  const recent = createRecentAnswers<SuggestAnswer>(deps.now);

  async function meter<Answer extends { usage: Usage }>(
    { principalId, signal }: AssistantCaller,
    call: (options: AssistantOptions) => Promise<Answer>,
    outcomeOf: (answer: Answer) => CallOutcome,
  ): Promise<Answer> {
    const scope: BudgetScope = { taskId: null, principalId };
    let estimated: Usage | undefined;
    const onAbandoned = (usage: Usage): void => {
      estimated = usage;
    };
    try {
      signal.throwIfAborted();
      await budget.assertWithin(scope);
      const answer = await call({ signal, onAbandoned });
      await budget.record(scope, answer.usage, outcomeOf(answer));
      return answer;
    } catch (error) {
      const failure = error instanceof LlmError ? error : undefined;
      if (failure !== undefined) {
        log.warn({ event: 'assistant_failed', principalId, code: failure.code, reason: failure.message }); // A
      }
      const usage = failure?.usage ?? estimated;
      if (usage !== undefined) await budget.record(scope, usage, failure?.code ?? 'aborted');
      throw toModelProblem(error);
    }
  }

  return {
    isAvailable: true,
    model,
    async suggest(request, caller) {
      const question = [caller.principalId, request];
      const known = recent.find(question);
      if (known !== undefined) return { ...known, isCached: true }; // B
      const answer = await meter(
        caller,
        (options) => port.suggest(request, options),
        ({ isRefusal }) => (isRefusal ? 'llm_refused' : 'ok'),
      );
      if (answer.suggestion !== null) recent.keep(question, answer);
      return { ...answer, isCached: false };
    },
    explain: (request, caller) =>
      meter(
        caller,
        (options) => port.explain(request, options),
        () => 'ok',
      ),
  };
}

/** Where no model is configured. */
export const absentAssistant: Assistant = {
  isAvailable: false,
  model: null,
  suggest: () => Promise.reject(problem('model_not_configured')),
  explain: () => Promise.reject(problem('model_not_configured')),
};
