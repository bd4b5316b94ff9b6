/**
 * Turns the events of a streamed answer into its parts.
 *
 *  A. A tool call is told only when the message says that it stopped for it: one cut off may look complete.
 */
import { inputTokensOf, outputTokensOf, readChatEvent } from './chat-events.ts';
import type { ChatPart, ChatStop } from './chat-port.ts';
import { createTextPieces } from './chat-text.ts';
import type { Tally } from './chat-usage.ts';
import { LlmError } from './port.ts';
import { proposeTaskTool, readProposedTask } from './propose-task.ts';

/** Most calls of tools in one answer. */
const MAX_CALLS = 20;

/** Longest answer, UTF-16 units: more than the most tokens an answer can be given. What says more is no model. */
const MAX_ANSWER_LENGTH = 1024 * 1024;
/** Longest input of a tool call, UTF-16 units. */
const MAX_TOOL_INPUT_LENGTH = 64 * 1024;

export interface AnswerReader {
  /** The parts that an event completes; mostly one text. @throws LlmError llm_bad_answer */
  take(name: string | null, data: string): Iterable<ChatPart>;
  /** The last event was taken. */
  isWhole(): boolean;
}

interface StartedCall {
  name: string;
  index: number;
  json: string;
}

/**
 * For one answer. What it counts goes to `tally`.
 * @param tools names of the tools that may be called beside `propose_task`, several of them in one answer
 */
export function createAnswerReader(
  configuredModel: string,
  tally: Tally,
  tools: ReadonlySet<string> = new Set(),
): AnswerReader {
  const text = createTextPieces();
  let model = configuredModel;
  let length = 0;
  const calls: StartedCall[] = [];
  let stopReason: string | null | undefined;
  let isWhole = false;

  function* say(piece: string): Generator<ChatPart> {
    if (piece === '') return;
    length += piece.length;
    if (length > MAX_ANSWER_LENGTH) throw badAnswer('it is too long');
    yield { type: 'text', text: piece };
  }

  function extend(index: number, piece: string): void {
    const call = calls.find((one) => one.index === index);
    if (call === undefined) return;
    call.json += piece;
    if (call.json.length > MAX_TOOL_INPUT_LENGTH) throw badAnswer('the input of its tool call is too long');
  }

  function* finish(): Generator<ChatPart> {
    yield* say(text.end());
    if (stopReason === 'tool_use') for (const call of calls) yield toTool(call, tools); // A
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
            const isFull = calls.length >= (tools.size === 0 ? 1 : MAX_CALLS);
            if (isFull)
              throw badAnswer(tools.size === 0 ? 'it calls more than one tool' : 'it calls too many tools');
            calls.push({ name: block.name ?? '', index, json: '' });
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

function toTool({ name, json }: StartedCall, tools: ReadonlySet<string>): ChatPart {
  const isGiven = tools.has(name);
  if (!isGiven && name !== proposeTaskTool.name) throw badAnswer('it calls an unknown tool');
  let input: unknown;
  try {
    // A tool without arguments may be called without a word.
    input = isGiven && json === '' ? {} : JSON.parse(json);
  } catch {
    throw badAnswer('the input of its tool call is not JSON');
  }
  if (isGiven) {
    if (!isObject(input)) throw badAnswer('the input of its tool call is no object');
    return { type: 'call', name, input };
  }
  const read = readProposedTask(input);
  if ('problem' in read) throw badAnswer(read.problem);
  return { type: 'tool', name: proposeTaskTool.name, input: read.task };
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function stopOf(reason: string | null | undefined): ChatStop {
  if (reason === 'refusal') return 'refusal';
  return reason === 'max_tokens' || reason === 'model_context_window_exceeded' ? 'length' : 'complete';
}

const badAnswer = (why: string): LlmError =>
  new LlmError('llm_bad_answer', `the model's answer cannot be used: ${why}`);
