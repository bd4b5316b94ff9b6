/** Calls of the language model: what was asked by whom, and what it cost. */
import { execute, type Queryable, query, queryOne } from './database.ts';

export type LlmPurpose = 'propose' | 'chat' | 'assist';

export interface LlmCallEntry {
  purpose: LlmPurpose;
  /** Row uuid. */
  taskId: string | null;
  principalId: string;
  model: string;
  mock: boolean;
  inputTokens: number;
  outputTokens: number;
  costUsd: number;
  /** `ok`, `aborted` or an error code. */
  outcome: string;
}

export async function insertLlmCall(db: Queryable, entry: LlmCallEntry): Promise<void> {
  await execute(
    db,
    `insert into llm_calls (purpose, task_id, principal_id, model, mock, input_tokens, output_tokens, cost_usd, outcome)
     values (:purpose, :task_id, :principal_id, :model, :mock, :input_tokens, :output_tokens, :cost_usd, :outcome)`,
    {
      purpose: entry.purpose,
      task_id: entry.taskId,
      principal_id: entry.principalId,
      model: entry.model,
      mock: entry.mock,
      input_tokens: entry.inputTokens,
      output_tokens: entry.outputTokens,
      cost_usd: entry.costUsd,
      outcome: entry.outcome,
    },
  );
}

export interface Spending {
  /** US dollars. */
  taskUsd: number;
  principalDayUsd: number;
  dayUsd: number;
}

/** What was spent by the task in all, and since `dayStart` by the principal and by everybody. */
export async function readSpending(
  db: Queryable,
  scope: { taskId: string | null; principalId: string; dayStart: Date },
): Promise<Spending> {
  const row = await queryOne<Spending>(
    db,
    `select coalesce((select sum(cost_usd) from llm_calls where task_id = cast(:task_id as uuid)), 0) as "taskUsd",
            coalesce(sum(cost_usd) filter (where principal_id = :principal_id), 0) as "principalDayUsd",
            coalesce(sum(cost_usd), 0) as "dayUsd"
     from llm_calls where at >= :day_start`,
    { task_id: scope.taskId, principal_id: scope.principalId, day_start: scope.dayStart },
  );
  return row ?? { taskUsd: 0, principalDayUsd: 0, dayUsd: 0 };
}

export interface UsedModelRow {
  model: string;
  mock: boolean;
  calls: number;
  failedCalls: number;
  firstUsedAt: Date;
  lastUsedAt: Date;
}

/** Models that were asked since `days` ago, last used first. */
export const listUsedModels = (db: Queryable, days: number): Promise<UsedModelRow[]> =>
  query<UsedModelRow>(
    db,
    `select model, mock, count(*) as calls, count(*) filter (where outcome not in ('ok', 'aborted')) as "failedCalls",
            min(at) as "firstUsedAt", max(at) as "lastUsedAt"
     from llm_calls where at >= now() - make_interval(days => :days)
     group by model, mock order by max(at) desc, model`,
    { days },
  );
