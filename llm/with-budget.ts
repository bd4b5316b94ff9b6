import { type Budget, type BudgetScope, LlmError, type LlmPort, type Usage } from './port.ts';

/**
 * Wraps a port so that every call is checked against the budget before and counted after, also when the call
 * failed but the provider reported (and charged) tokens, and by estimate when nobody waited for its answer any more.
 *
 * The check comes before the call and the sum after it, so parallel calls may overshoot by one call each.
 * Throws what the port throws, and `LlmError` `llm_budget_exceeded` from the budget; then nothing was asked.
 */
export function withBudget(port: LlmPort, budget: Budget): LlmPort {
  return {
    name: port.name,
    isMock: port.isMock,
    async propose(request, options) {
      const scope: BudgetScope = { taskId: request.task.id, principalId: request.actor.principalId };
      await budget.assertWithin(scope);
      let abandoned: Usage | undefined;
      const onAbandoned = (estimated: Usage): void => {
        abandoned = estimated;
      };
      try {
        const answer = await port.propose(request, { ...options, onAbandoned });
        await budget.record(scope, answer.usage, 'ok');
        return answer;
      } catch (error) {
        const failure = error instanceof LlmError ? error : undefined;
        const usage = failure?.usage ?? abandoned;
        if (usage) await budget.record(scope, usage, failure?.code ?? 'aborted');
        throw error;
      }
    },
  };
}
