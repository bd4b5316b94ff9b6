/**
 * Claude as a partner in a conversation, by the streaming Messages protocol.
 *
 *  A. Pieces are passed on as they arrive; nothing is collected but the input of a tool call.
 *  B. An answer counts as whole only with `message_stop`: a body that just ends has broken off.
 *  C. However the iteration ends, the request to the provider has ended with it.
 */
import { APIConnectionError, APIError } from '@anthropic-ai/sdk';
import { Stream } from '@anthropic-ai/sdk/streaming';
import { createAnswerReader } from './answer-reader.ts';
import { type AnthropicAddress, createAnthropicClient } from './anthropic-client.ts';
import { mapAnthropicError, mapErrorEvent } from './anthropic-errors.ts';
import type { ChatAnswer, ChatPart, ChatPort, ChatRequest, ChatTool } from './chat-port.ts';
import { buildChatPrompt } from './chat-prompt.ts';
import { createTally, type Tally } from './chat-usage.ts';
import { CHAT_CONTEXT_TOKENS, estimateTokens, fitWindow } from './chat-window.ts';
import { LlmError } from './port.ts';
import { defaultPrices, type ModelPrice } from './prices.ts';
import { proposeTaskTool } from './propose-task.ts';
import { createStallGuard, type StallGuard, type StallTimes } from './stall-guard.ts';

/** Until the first event of an answer, milliseconds. */
export const CHAT_FIRST_EVENT_TIMEOUT_MS = 60_000;
/** Between two events of an answer, milliseconds. The provider pings while its model thinks. */
export const CHAT_IDLE_TIMEOUT_MS = 30_000;
/** For a whole answer, milliseconds. */
export const CHAT_ANSWER_TIMEOUT_MS = 10 * 60_000;

/** For what follows the last event, milliseconds: a connection that is read to its end can be used again. */
const TAIL_TIMEOUT_MS = 250;

/** Tokens an answer may have. Models that always think count their thinking into it. */
const DEFAULT_MAX_TOKENS = 8_192;

export interface AnthropicChatOptions extends AnthropicAddress {
  model: string;
  /** Default 8,192. */
  maxTokens?: number;
  /** 0 to 1. Not sent unless given: some models refuse it. */
  temperature?: number;
  /** Of the installation's administrators; stands behind the standing rules. */
  instructions?: string;
  /** Estimated tokens of the conversation that are sent. Default: `CHAT_CONTEXT_TOKENS`. */
  contextTokens?: number;
  /** Default: `defaultPrices`. */
  prices?: readonly ModelPrice[];
  /** Defaults: the constants above. */
  times?: Partial<StallTimes>;
}

export function createAnthropicChat(options: AnthropicChatOptions): ChatPort {
  const { model, prices = defaultPrices, maxTokens = DEFAULT_MAX_TOKENS, temperature } = options;
  const times: StallTimes = {
    firstEventMs: CHAT_FIRST_EVENT_TIMEOUT_MS,
    idleMs: CHAT_IDLE_TIMEOUT_MS,
    answerMs: CHAT_ANSWER_TIMEOUT_MS,
    ...options.times,
  };
  // The guard is earlier; the SDK's own clock is only behind it.
  const client = createAnthropicClient(options, times.firstEventMs * 2);

  async function* converse(
    request: ChatRequest,
    caller: AbortSignal,
    tally: Tally,
  ): AsyncGenerator<ChatPart> {
    caller.throwIfAborted();
    const question = buildQuestion(request);
    const guard = createStallGuard(caller, times);
    try {
      tally.asked(question.estimatedTokens);
      const response = await guard.wait(() =>
        client.messages.create({ ...question.params, stream: true }, { signal: guard.signal }).asResponse(),
      );
      const events = Stream.rawEvents(response);
      const names = new Set(request.tools?.map(({ name }) => name));
      const reader = createAnswerReader(request.model ?? model, tally, names);
      for (;;) {
        const { done, value } = await guard.wait(() => events.next());
        if (done) break;
        guard.begin();
        if (value.event === 'error') throw mapErrorEvent(value.data, options.apiKey);
        yield* reader.take(value.event, value.data);
        if (reader.isWhole()) {
          await readTail(events, guard);
          return;
        }
      }
      throw new LlmError('llm_unavailable', 'the answer of the model provider broke off'); // B
    } catch (error) {
      caller.throwIfAborted();
      if (error instanceof APIError && isRefusal(error)) tally.refused();
      throw guard.stalled() ?? mapAnthropicError(error, times.firstEventMs, options.apiKey);
    } finally {
      guard.close(); // C
    }
  }

  function buildQuestion(request: ChatRequest) {
    const { mayProposeTasks = true, system, rules, tools: given = [] } = request;
    const window = fitWindow(request.messages, { maxTokens: options.contextTokens ?? CHAT_CONTEXT_TOKENS });
    const { instructions } = options;
    const prompt = buildChatPrompt({ rules, instructions, system, mayProposeTasks, isCut: window.isCut });
    const tools = [...(mayProposeTasks ? [proposeTaskTool] : []), ...given.map(toProtocolTool)];
    // Those of the caller only: `propose_task` was never counted and is small.
    const toolTokens = given.length === 0 ? 0 : estimateTokens(JSON.stringify(tools));
    return {
      estimatedTokens: window.estimatedTokens + estimateTokens(prompt) + toolTokens,
      params: {
        model: request.model ?? model,
        max_tokens: maxTokens,
        system: prompt,
        messages: window.messages,
        ...(temperature !== undefined && { temperature }),
        ...(tools.length > 0 && {
          tools,
          tool_choice: { type: 'auto' as const, disable_parallel_tool_use: given.length === 0 },
        }),
      },
    };
  }

  return {
    name: 'anthropic',
    isMock: false,
    answer(request, { signal }): ChatAnswer {
      const tally = createTally(request.model ?? model, prices);
      return {
        usage: tally.read,
        [Symbol.asyncIterator]: () => converse(request, signal, tally),
      };
    },
  };
}

const toProtocolTool = ({ name, description, parameters }: ChatTool) => ({
  name,
  description,
  input_schema: { ...parameters, type: 'object' as const },
});

async function readTail(events: AsyncIterator<unknown>, guard: StallGuard): Promise<void> {
  const timer = setTimeout(guard.close, TAIL_TIMEOUT_MS);
  try {
    while (!(await events.next()).done);
  } catch {
    // Everything that was said is here.
  } finally {
    clearTimeout(timer);
  }
}

/** Answered with an error status, or never reached: the provider does not charge for that. */
const isRefusal = (error: APIError): boolean =>
  error.status !== undefined || error instanceof APIConnectionError;
