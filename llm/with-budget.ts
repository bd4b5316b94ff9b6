import { type Budget, type BudgetScope, LlmError, type LlmPort } from './port.ts';

/**
 * Wraps a port so that every call is checked against the budget before and counted after, also when the call
 * failed but the provider reported (and charged) tokens.
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
      try {
        const answer = await port.propose(request, options);
        await budget.record(scope, answer.usage, 'ok');
        return answer;
      } catch (error) {
        if (error instanceof LlmError && error.usage) await budget.record(scope, error.usage, error.code);
        throw error;
      }
    },
  };
}
