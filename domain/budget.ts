/** What the language model may cost: sums over `llm_calls`, asked before a call, added to after it. */
import type { Db } from '../db/database.ts';
import { insertLlmCall, type LlmPurpose, readSpending } from '../db/llm-calls.ts';
import { type Budget, LlmError } from '../llm/port.ts';

/** US dollars; a day is one of UTC. */
export interface BudgetLimits {
  taskUsd: number;
  userDayUsd: number;
  dayUsd: number;
}

/**
 * `scope.taskId` is the task's row uuid. Parallel calls may overshoot a limit by one call each.
 * @param purpose what its calls are recorded as; the sums are over all purposes
 */
export function createBudget({
  db,
  limits,
  purpose = 'propose',
}: {
  db: Db;
  limits: BudgetLimits;
  purpose?: LlmPurpose;
}): Budget {
  return {
    async assertWithin(scope) {
      const spent = await readSpending(db, { ...scope, dayStart: startOfDay(new Date()) });
      const used =
        (spent.taskUsd >= limits.taskUsd && 'task') ||
        (spent.principalDayUsd >= limits.userDayUsd && 'user') ||
        (spent.dayUsd >= limits.dayUsd && 'day');
      if (used) {
        const message = `The ${used} budget for the model is used up`;
        throw new LlmError('llm_budget_exceeded', message, { budget: used });
      }
    },
    async record(scope, usage, outcome) {
      const { taskId, principalId } = scope;
      await insertLlmCall(db, { ...usage, purpose, taskId, principalId, outcome });
    },
  };
}

function startOfDay(now: Date): Date {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate()));
}
