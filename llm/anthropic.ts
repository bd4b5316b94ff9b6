import { randomBytes } from 'node:crypto';
import type Anthropic from '@anthropic-ai/sdk';
import { createAnthropicClient } from './anthropic-client.ts';
import { issuesText, usageOfMessage, withDeadline } from './anthropic-message.ts';
import { estimateTokens } from './chat-window.ts';
import {
  LlmError,
  type LlmPort,
  type ProposeAnswer,
  type ProposeOptions,
  type ProposeRequest,
} from './port.ts';
import { defaultPrices, type ModelPrice, priceUsage } from './prices.ts';
import { buildUserMessage, systemPrompt, withInstructions } from './prompt.ts';
import { proposalTools, proposeCommandInput, taskDoneInput } from './tools.ts';

/** Time one call may take from first byte sent to last byte read, in milliseconds. */
const defaultTimeoutMs = 60_000;

/** Tokens an answer may have. Models that always think count their thinking into it, so it is not small. */
const defaultMaxTokens = 8_192;

/** Random bytes of a fence id: not to be guessed by whoever writes the output. */
const fenceIdBytes = 12;

export interface AnthropicPortOptions {
  apiKey: string;
  model: string;
  /** Default: the provider's public address. */
  baseUrl?: string;
  /** Default 60,000. */
  timeoutMs?: number;
  /** Default 8,192. */
  maxTokens?: number;
  /** 0 to 1. Not sent unless given: some models refuse it. */
  temperature?: number;
  /** What the installation's administrators want every proposal to heed; stands behind the standing rules. */
  instructions?: string;
  /**
   * `auto` (default): the model is told to call a tool, and an answer without a call is a bad answer.
   * `any`: the provider forces a call; models that always think refuse such requests.
   */
  toolChoice?: 'auto' | 'any';
  /** Default: `defaultPrices`. */
  prices?: readonly ModelPrice[];
}

/**
 * Claude behind the port, by the Messages protocol. One attempt per call and no retries of its own: whoever calls
 * decides (the workflow's retry policy), so that attempts are counted in one place.
 *
 * `propose` throws `LlmError`; when `signal` is aborted it rejects with the signal's reason.
 */
export function createAnthropicPort(options: AnthropicPortOptions): LlmPort {
  const {
    model,
    timeoutMs = defaultTimeoutMs,
    maxTokens = defaultMaxTokens,
    prices = defaultPrices,
  } = options;
  const toolChoice = options.toolChoice ?? 'auto';
  const baseUrl = options.baseUrl ?? 'https://api.anthropic.com';
  const client = createAnthropicClient({ apiKey: options.apiKey, baseUrl }, timeoutMs);

  async function propose(
    request: ProposeRequest,
    { signal, model: askedModel = model, onAbandoned }: ProposeOptions,
  ): Promise<ProposeAnswer> {
    signal.throwIfAborted();
    const content = buildUserMessage(request, randomBytes(fenceIdBytes).toString('hex'));
    const question = {
      system: options.instructions === undefined ? systemPrompt : withInstructions(options.instructions),
      tools: proposalTools,
      messages: [{ role: 'user' as const, content }],
    };
    const message = await withDeadline(signal, { timeoutMs, apiKey: options.apiKey }, (callSignal) =>
      client.messages.create(
        {
          ...question,
          model: askedModel,
          max_tokens: maxTokens,
          ...(options.temperature !== undefined && { temperature: options.temperature }),
          tool_choice: { type: toolChoice, disable_parallel_tool_use: true },
        },
        { signal: callSignal },
      ),
    ).catch((error: unknown) => {
      const isAbandoned = signal.aborted || (error instanceof LlmError && error.code === 'llm_timeout');
      const input = estimateTokens(JSON.stringify(question));
      if (isAbandoned) onAbandoned?.(priceUsage(askedModel, { input, output: 0 }, prices));
      throw error;
    });
    return readAnswer(message, askedModel, request.agent.shells);
  }

  function readAnswer(
    message: Anthropic.Message,
    askedModel: string,
    shells: readonly string[],
  ): ProposeAnswer {
    const usage = usageOfMessage(message, askedModel, prices);
    const bad = (why: string, cause?: unknown) =>
      new LlmError('llm_bad_answer', `the model's answer cannot be used: ${why}`, { usage, cause });

    if (message?.stop_reason === 'refusal') {
      throw new LlmError('llm_refused', 'the model refused to plan this task', { usage });
    }
    if (!Array.isArray(message?.content)) throw bad('it is not a message');
    // Asked before the tool call: an answer cut off in the middle may still look complete.
    if (message.stop_reason === 'max_tokens') throw bad(`it was cut off at ${maxTokens} tokens`);
    const calls = message.content.filter((block) => block?.type === 'tool_use');
    const call = calls[0];
    if (!call) throw bad('it calls no tool');
    if (calls.length > 1) throw bad('it calls more than one tool');

    if (call.name === 'propose_command') {
      const input = proposeCommandInput.safeParse(call.input);
      if (!input.success) throw bad(issuesText(input.error), input.error);
      const { command, reason, expected_effect: expectedEffect } = input.data;
      const shell = input.data.shell ?? null;
      if (shell !== null && !shells.includes(shell)) throw bad(`the machine has no shell "${shell}"`);
      return { kind: 'command', command, shell, reason, expectedEffect, usage };
    }
    if (call.name === 'task_done') {
      const input = taskDoneInput.safeParse(call.input);
      if (!input.success) throw bad(issuesText(input.error), input.error);
      return { kind: 'done', success: input.data.success, summary: input.data.summary, usage };
    }
    throw bad('it calls an unknown tool');
  }

  return { name: 'anthropic', isMock: false, propose };
}
