/** The language model as an operator's assistant, put together for the API. */
import type { Db } from '../db/database.ts';
import { type Assistant, absentAssistant, createMeteredAssistant } from '../domain/assistant/metered.ts';
import { createBudget } from '../domain/budget.ts';
import type { Log } from '../domain/deps.ts';
import { createAnthropicAssistant } from '../llm/anthropic-assistant.ts';
import { createLive } from '../llm/live.ts';
import { modelOptions } from './model-options.ts';
import type { RunningConfig } from './running-config.ts';

/**
 * Claude within its budgets; without a key there is no assistant, and it says so. Follows the settings: each question
 * goes to what is in force then, and answers under other settings are not remembered.
 */
export function createAssistant(
  running: Pick<RunningConfig, 'model' | 'modelBudget'>,
  { db, log }: { db: Db; log: Log },
): Assistant {
  const budget = createBudget({ db, limits: running.modelBudget, purpose: 'assist' });
  const current = createLive(running.model, (settings) => {
    const { apiKey, model } = settings;
    if (apiKey === null) return absentAssistant;
    const port = createAnthropicAssistant(modelOptions(settings, apiKey));
    return createMeteredAssistant({ port, model, budget, log });
  });
  return {
    get isAvailable() {
      return current().isAvailable;
    },
    get model() {
      return current().model;
    },
    suggest: (request, caller) => current().suggest(request, caller),
    explain: (request, caller) => current().explain(request, caller),
  };
}
