/** The language model that plans tasks, put together for the worker. */
import type { Db } from '../db/database.ts';
import { createBudget } from '../domain/budget.ts';
import type { Log } from '../domain/deps.ts';
import { createAnthropicPort } from '../llm/anthropic.ts';
import { createLivePort } from '../llm/live.ts';
import { createMockPort } from '../llm/mock.ts';
import type { LlmPort } from '../llm/port.ts';
import { withBudget } from '../llm/with-budget.ts';
import { modelOptions } from './model-options.ts';
import type { ModelSettings, RunningConfig } from './running-config.ts';

/**
 * Claude within its budgets when there is a key, else the labelled mock, which costs nothing and has none. Follows the
 * settings: each call is made with what is in force then.
 */
export function createTaskModel(
  running: Pick<RunningConfig, 'model' | 'modelBudget'>,
  { db, log }: { db: Db; log: Log },
): LlmPort {
  const budget = createBudget({ db, limits: running.modelBudget });

  const build = (settings: ModelSettings): LlmPort => {
    const { apiKey, model } = settings;
    if (apiKey === null) {
      log.warn({ event: 'llm_mock', reason: 'ANTHROPIC_API_KEY is not set: a mock model answers' });
      return createMockPort();
    }
    log.info({ event: 'llm_ready', model });
    const port = createAnthropicPort(modelOptions(settings, apiKey));
    return withBudget(port, budget);
  };
  return createLivePort(running.model, build);
}
