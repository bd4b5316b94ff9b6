/** The language model for conversations, put together for the API. */

import type { Db } from '../db/database.ts';
import { createBudget } from '../domain/budget.ts';
import type { Log } from '../domain/deps.ts';
import { type Chat, createMeteredChat } from '../domain/metered-chat.ts';
import { createAnthropicChat } from '../llm/anthropic-chat.ts';
import { createLive } from '../llm/live.ts';
import { createMockChat } from '../llm/mock-chat.ts';
import { modelOptions } from './model-options.ts';
import type { RunningConfig } from './running-config.ts';

/**
 * Claude within its budgets when there is a key, else the labelled mock, which costs nothing and has none. Follows the
 * settings: each answer is asked for with what is in force then.
 */
export function createChat(
  running: Pick<RunningConfig, 'model' | 'modelBudget'>,
  { db, log }: { db: Db; log: Log },
): Chat {
  const budget = createBudget({ db, limits: running.modelBudget, purpose: 'chat' });
  const current = createLive(running.model, (settings) => {
    const { apiKey, model } = settings;
    if (apiKey === null) {
      log.warn({ event: 'chat_mock', reason: 'ANTHROPIC_API_KEY is not set: a mock model answers' });
      return createMeteredChat({ port: createMockChat(), log });
    }
    log.info({ event: 'chat_ready', model });
    const port = createAnthropicChat(modelOptions(settings, apiKey));
    return createMeteredChat({ port, budget, log });
  });
  return {
    get name() {
      return current().name;
    },
    get isMock() {
      return current().isMock;
    },
    stream: (request) => current().stream(request),
  };
}
