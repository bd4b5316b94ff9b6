/**
 * Claude as a partner in a conversation, by the streaming Messages protocol.
 *
 *  A. Pieces are passed on as they arrive; nothing is collected but the input of a tool call.
 *  B. An answer counts as whole only with `message_stop`: a body that just ends has broken off.
 *  C. A tool call is told only when the message says that it stopped for it: one cut off may look complete.
 *  D. However the iteration ends, the request to the provider has ended with it.
 */
import { APIConnectionError, APIError } from '@anthropic-ai/sdk';
import { Stream } from '@anthropic-ai/sdk/streaming';
import { type AnthropicAddress, createAnthropicClient } from './anthropic-client.ts';
import { mapAnthropicError, mapErrorEvent } from './anthropic-errors.ts';
import { inputTokensOf, outputTokensOf, readChatEvent } from './chat-events.ts';
import type { ChatAnswer, ChatPart, ChatPort, ChatRequest, ChatStop } from './chat-port.ts';
import { buildChatPrompt } from './chat-prompt.ts';
import { createTextPieces } from './chat-text.ts';
import { createTally, type Tally } from './chat-usage.ts';
import { CHAT_CONTEXT_TOKENS, estimateTokens, fitWindow } from './chat-window.ts';
import { LlmError } from './port.ts';
import { defaultPrices, type ModelPrice } from './prices.ts';
import { proposeTaskTool, readProposedTask } from './propose-task.ts';
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
/** Longest answer, UTF-16 units: more than the most tokens an answer can be given. What says more is no model. */
const MAX_ANSWER_LENGTH = 1024 * 1024;
/** Longest input of a tool call, UTF-16 units. */
const MAX_TOOL_INPUT_LENGTH = 64 * 1024;

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
      const reader = createAnswerReader(model, tally);
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
      guard.close(); // D
    }
  }

  function buildQuestion(request: ChatRequest) {
    const { mayProposeTasks = true, system } = request;
    const window = fitWindow(request.messages, { maxTokens: options.contextTokens ?? CHAT_CONTEXT_TOKENS });
    const { instructions } = options;
    const prompt = buildChatPrompt({ instructions, system, mayProposeTasks, isCut: window.isCut });
    return {
      estimatedTokens: window.estimatedTokens + estimateTokens(prompt),
      params: {
        model,
        max_tokens: maxTokens,
        system: prompt,
        messages: window.messages,
        ...(temperature !== undefined && { temperature }),
        ...(mayProposeTasks && {
          tools: [proposeTaskTool],
          tool_choice: { type: 'auto' as const, disable_parallel_tool_use: true },
        }),
      },
    };
  }

  return {
    name: 'anthropic',
    isMock: false,
    answer(request, { signal }): ChatAnswer {
      const tally = createTally(model, prices);
      return {
        usage: tally.read,
        [Symbol.asyncIterator]: () => converse(request, signal, tally),
      };
    },
  };
}

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

/** Turns the events of one answer into its parts. */
function createAnswerReader(configuredModel: string, tally: Tally) {
  const text = createTextPieces();
  let model = configuredModel;
  let length = 0;
  let call: { name: string; index: number; json: string } | undefined;
  let stopReason: string | null | undefined;
  let isWhole = false;

  function* say(piece: string): Generator<ChatPart> {
    if (piece === '') return;
    length += piece.length;
    if (length > MAX_ANSWER_LENGTH) throw badAnswer('it is too long');
    yield { type: 'text', text: piece };
  }

  function extend(index: number, piece: string): void {
    if (call?.index !== index) return;
    call.json += piece;
    if (call.json.length > MAX_TOOL_INPUT_LENGTH) throw badAnswer('the input of its tool call is too long');
  }

  function* finish(): Generator<ChatPart> {
    yield* say(text.end());
    if (call !== undefined && stopReason === 'tool_use') yield toTool(call); // C
    isWhole = true;
    tally.finished();
    const used = tally.read();
    yield {
      type: 'end',
      model,
      mock: false,
      inputTokens: used?.inputTokens ?? 0,
      outputTokens: used?.outputTokens ?? 0,
      stop: stopOf(stopReason),
    };
  }

  return {
    isWhole: () => isWhole,
    *take(name: string | null, data: string): Generator<ChatPart> {
      const event = readEvent(name, data);
      switch (event?.name) {
        case 'message_start': {
          const { message } = event.data;
          model = message.model;
          tally.told({
            model,
            input: inputTokensOf(message.usage),
            output: outputTokensOf(message.usage),
          });
          return;
        }
        case 'content_block_start': {
          const { index, content_block: block } = event.data;
          if (block.type === 'tool_use') {
            if (call !== undefined) throw badAnswer('it calls more than one tool');
            call = { name: block.name ?? '', index, json: '' };
          } else if (block.type === 'text' && block.text) {
            tally.heard(block.text);
            yield* say(text.push(block.text));
          }
          return;
        }
        case 'content_block_delta': {
          const { index, delta } = event.data;
          tally.heard(delta.text ?? delta.partial_json ?? delta.thinking ?? '');
          if (delta.type === 'text_delta' && delta.text) yield* say(text.push(delta.text));
          else if (delta.type === 'input_json_delta') extend(index, delta.partial_json ?? '');
          return;
        }
        case 'message_delta':
          stopReason = event.data.delta.stop_reason ?? stopReason;
          tally.told({
            input: inputTokensOf(event.data.usage),
            output: outputTokensOf(event.data.usage),
          });
          return;
        case 'message_stop':
          yield* finish();
      }
    },
  };
}

function readEvent(name: string | null, data: string) {
  try {
    return readChatEvent(name, data);
  } catch {
    // No cause: it would quote the conversation, and causes are logged.
    throw new LlmError('llm_bad_answer', 'the model provider sent an event that cannot be read');
  }
}

function toTool({ name, json }: { name: string; json: string }): ChatPart {
  if (name !== proposeTaskTool.name) throw badAnswer('it calls an unknown tool');
  let input: unknown;
  try {
    input = JSON.parse(json);
  } catch {
    throw badAnswer('the input of its tool call is not JSON');
  }
  const read = readProposedTask(input);
  if ('problem' in read) throw badAnswer(read.problem);
  return { type: 'tool', name: proposeTaskTool.name, input: read.task };
}

function stopOf(reason: string | null | undefined): ChatStop {
  if (reason === 'refusal') return 'refusal';
  return reason === 'max_tokens' || reason === 'model_context_window_exceeded' ? 'length' : 'complete';
}

const badAnswer = (why: string): LlmError =>
  new LlmError('llm_bad_answer', `the model's answer cannot be used: ${why}`);
