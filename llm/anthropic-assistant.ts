/** Claude as an assistant, by the Messages protocol: whole answers, one attempt. */
import { randomBytes } from 'node:crypto';
import type Anthropic from '@anthropic-ai/sdk';
import { type AnthropicAddress, createAnthropicClient } from './anthropic-client.ts';
import { usageOfMessage, withDeadline } from './anthropic-message.ts';
import type {
  AssistantOptions,
  AssistantPort,
  ExplainAnswer,
  ExplainRequest,
  SuggestAnswer,
  SuggestRequest,
} from './assistant-port.ts';
import {
  describeOutcome,
  describeTarget,
  explainRules,
  suggestRules,
  withAdministrators,
} from './assistant-prompt.ts';
import { estimateTokens, fitWindow } from './chat-window.ts';
import { LlmError, type Usage } from './port.ts';
import { defaultPrices, type ModelPrice, priceUsage } from './prices.ts';
import { readSuggestedCommand, suggestCommandTool } from './suggest-command.ts';
import { showInvisible } from './untrusted-text.ts';

/** For a whole exchange, milliseconds: somebody waits for it. */
const DEFAULT_TIMEOUT_MS = 60_000;
/** Tokens an answer may have. Models that always think count their thinking into it. */
const DEFAULT_MAX_TOKENS = 8_192;
/** Random bytes of a fence id: not to be guessed by whoever writes the output. */
const FENCE_ID_BYTES = 12;

export interface AnthropicAssistantOptions extends AnthropicAddress {
  model: string;
  /** Default 60,000. */
  timeoutMs?: number;
  /** Default 8,192. */
  maxTokens?: number;
  /** 0 to 1. Not sent unless given: some models refuse it. */
  temperature?: number;
  /** Of the installation's administrators; stands behind the standing rules. */
  instructions?: string;
  /** Default: `defaultPrices`. */
  prices?: readonly ModelPrice[];
}

export function createAnthropicAssistant(options: AnthropicAssistantOptions): AssistantPort {
  const { apiKey, model, temperature, instructions, prices = defaultPrices } = options;
  const { timeoutMs = DEFAULT_TIMEOUT_MS, maxTokens = DEFAULT_MAX_TOKENS } = options;
  const client = createAnthropicClient(options, timeoutMs);

  async function ask(
    question: Pick<Anthropic.MessageCreateParamsNonStreaming, 'messages' | 'tools' | 'tool_choice'>,
    rules: string,
    { signal, onAbandoned }: AssistantOptions,
  ): Promise<Whole> {
    signal.throwIfAborted();
    const system = withAdministrators(rules, instructions);
    const message = await withDeadline(signal, { timeoutMs, apiKey }, (callSignal) =>
      client.messages.create(
        {
          ...question,
          model,
          max_tokens: maxTokens,
          system,
          ...(temperature !== undefined && { temperature }),
        },
        { signal: callSignal },
      ),
    ).catch((error: unknown) => {
      const isAbandoned = signal.aborted || (error instanceof LlmError && error.code === 'llm_timeout');
      const input = estimateTokens(system + JSON.stringify(question));
      if (isAbandoned) onAbandoned?.(priceUsage(model, { input, output: 0 }, prices));
      throw error;
    });
    return readWhole(message, usageOfMessage(message, model, prices), maxTokens);
  }

  return {
    async suggest({ messages, target }: SuggestRequest, options): Promise<SuggestAnswer> {
      const window = fitWindow(messages).messages;
      const facts = describeTarget(target, newFenceId());
      const question = window.map((message, index) =>
        index === window.length - 1
          ? { ...message, content: `${facts}\n\nThe user asks:\n${message.content}` }
          : message,
      );
      const answer = await ask(
        {
          messages: question,
          tools: [suggestCommandTool],
          tool_choice: { type: 'auto', disable_parallel_tool_use: true },
        },
        suggestRules,
        options,
      );
      const { usage, text, calls, isRefusal } = answer;
      const [call, ...others] = calls;
      if (call === undefined || isRefusal) {
        if (text === '' && !isRefusal) throw badAnswer('it says nothing', usage);
        return { suggestion: null, raw: text, isRefusal, usage };
      }
      if (others.length > 0) throw badAnswer('it calls more than one tool', usage);
      if (call.name !== suggestCommandTool.name) throw badAnswer('it calls an unknown tool', usage);
      const read = readSuggestedCommand(call.input);
      if ('problem' in read) throw badAnswer(read.problem, usage);
      return {
        suggestion: read.suggestion,
        raw: showInvisible(JSON.stringify(call.input)),
        isRefusal,
        usage,
      };
    },

    async explain(request: ExplainRequest, options): Promise<ExplainAnswer> {
      const content = describeOutcome(request, newFenceId());
      const answer = await ask({ messages: [{ role: 'user', content }] }, explainRules, options);
      const { text, usage, isRefusal } = answer;
      if (isRefusal) throw new LlmError('llm_refused', 'the model refused to explain this result', { usage });
      if (text === '') throw badAnswer('it says nothing', usage);
      return { text, usage };
    },
  };
}

const newFenceId = (): string => randomBytes(FENCE_ID_BYTES).toString('hex');

interface Whole {
  text: string;
  calls: { name: unknown; input: unknown }[];
  isRefusal: boolean;
  usage: Usage;
}

function readWhole(message: Anthropic.Message, usage: Usage, maxTokens: number): Whole {
  const isRefusal = message?.stop_reason === 'refusal';
  if (!Array.isArray(message?.content)) throw badAnswer('it is not a message', usage);
  // An answer cut off in the middle may still look complete.
  if (message.stop_reason === 'max_tokens') throw badAnswer(`it was cut off at ${maxTokens} tokens`, usage);
  const texts = message.content.flatMap((block) =>
    block?.type === 'text' && typeof block.text === 'string' ? [block.text] : [],
  );
  const calls = message.content.flatMap((block) =>
    block?.type === 'tool_use' ? [{ name: block.name, input: block.input }] : [],
  );
  return { text: showInvisible(texts.join('\n').trim()), calls, isRefusal, usage };
}

const badAnswer = (why: string, usage: Usage): LlmError =>
  new LlmError('llm_bad_answer', `the model's answer cannot be used: ${why}`, { usage });
