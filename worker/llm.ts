import type { Config } from '../config.ts';
import type { Db } from '../db/database.ts';
import { createBudget } from '../domain/budget.ts';
import type { Log } from '../domain/deps.ts';
import { createAnthropicPort } from '../llm/anthropic.ts';
import { createMockPort } from '../llm/mock.ts';
import type { LlmPort } from '../llm/port.ts';
import { withBudget } from '../llm/with-budget.ts';

/** Claude within its budgets when there is a key, else the labelled mock, which costs nothing and has none. */
export function createLlm(config: Config, { db, log }: { db: Db; log: Log }): LlmPort {
  if (config.anthropicApiKey === null) {
    log.warn({ event: 'llm_mock', reason: 'ANTHROPIC_API_KEY is not set: a mock model answers' });
    return createMockPort();
  }
  const port = createAnthropicPort({
    apiKey: config.anthropicApiKey,
    model: config.anthropicModel,
    baseUrl: config.anthropicBaseUrl,
  });
  const limits = {
    taskUsd: config.llmBudgetTaskUsd,
    userDayUsd: config.llmBudgetUserDayUsd,
    dayUsd: config.llmBudgetDayUsd,
  };
  return withBudget(port, createBudget({ db, limits }));
}
