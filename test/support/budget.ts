import type { BudgetLimits } from '../../domain/budget.ts';

/** Calls are recorded and never refused. */
export const noLimits: BudgetLimits = {
  taskUsd: Number.POSITIVE_INFINITY,
  userDayUsd: Number.POSITIVE_INFINITY,
  dayUsd: Number.POSITIVE_INFINITY,
};
