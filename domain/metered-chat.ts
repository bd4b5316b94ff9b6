/**
 * Conversations with the language model: asked within the budget, counted afterwards, failing with errors of the table.
 *
 *  A. Every answer is counted once, however it ended: also one that nobody waited for.
 *  B. What went wrong between us and the provider is logged; a client learns only that the model cannot be had, or that
 *     its answer broke off after words that were passed on.
 */
import type { ChatAnswer, ChatPart, ChatPort, ChatRequest } from '../llm/chat-port.ts';
import { type Budget, type BudgetScope, type CallOutcome, LlmError } from '../llm/port.ts';
import type { Log } from './deps.ts';
import { toModelProblem } from './model-problem.ts';

/** The newest `MAX_WINDOW_MESSAGES` messages will do. */
export interface ChatStreamRequest extends ChatRequest {
  /** Who pays. */
  principalId: string;
  /** Ends the call to the model at once. */
  signal: AbortSignal;
}

export interface Chat {
  /** `anthropic` or `mock`; that of the settings in force. */
  readonly name: string;
  readonly isMock: boolean;
  /**
   * One answer, asked for when it is iterated (once). Texts, calls of tools, then `end`. Leaving the iteration
   * early, or the signal, ends the call.
   *
   * The iteration throws budget_exceeded; model_unavailable (before the first text); answer_broken_off (after it); or
   * the reason of the signal.
   */
  stream(request: ChatStreamRequest): AsyncIterable<ChatPart>;
}

/** @param deps.budget absent: the model costs nothing, and its calls are not recorded */
export function createMeteredChat(deps: { port: ChatPort; budget?: Budget; log: Log }): Chat {
  const { port, budget, log } = deps;

  async function* stream(request: ChatStreamRequest): AsyncGenerator<ChatPart> {
    const { principalId, signal, ...question } = request;
    const scope: BudgetScope = { taskId: null, principalId };
    signal.throwIfAborted();
    await budget?.assertWithin(scope).catch((error: unknown) => {
      throw toModelProblem(error);
    });
    const answer = port.answer(question, { signal });
    let outcome: CallOutcome = 'aborted';
    let hasSpoken = false;
    let isCounted = false;
    try {
      for await (const part of answer) {
        if (part.type === 'end') {
          // Before it is told: an answer that is whole is counted.
          isCounted = true;
          await count(answer, scope, part.stop === 'refusal' ? 'llm_refused' : 'ok');
        } else hasSpoken = true;
        yield part;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof LlmError) {
        outcome = error.code;
        log.warn({ event: 'chat_failed', principalId, code: error.code, reason: error.message, hasSpoken });
      }
      throw toModelProblem(error, hasSpoken ? 'answer_broken_off' : 'model_unavailable'); // B
    } finally {
      if (!isCounted) {
        await count(answer, scope, outcome).catch((err: unknown) => {
          // What ended the answer matters more.
          log.error({ event: 'chat_not_counted', principalId, err });
        });
      }
    }
  }

  async function count(answer: ChatAnswer, scope: BudgetScope, outcome: CallOutcome): Promise<void> {
    const usage = answer.usage();
    if (usage !== null) await budget?.record(scope, usage, outcome);
  }

  return { name: port.name, isMock: port.isMock, stream };
}
