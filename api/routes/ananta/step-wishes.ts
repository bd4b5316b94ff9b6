/** What bodies of the step routes ask for, in the words of the domain. */
import type { ActRequest } from '../../../contracts/commands.ts';
import { problem } from '../../../contracts/errors.ts';
import {
  type AnantaExecuteBody,
  type AnantaProposeBody,
  type AnantaToolCall,
  DEFAULT_RETRY_DELAY_MS,
  DEFAULT_STEP_TIMEOUT_MS,
} from '../../../contracts/families/ananta/steps.ts';
import type { ToolCall } from '../../../domain/hub-tools/tool.ts';
import type { StepWish } from '../../../domain/tasks/ask-for-step.ts';
import { chooseModel, unknownProvider } from '../../../domain/tasks/compare-models.ts';
import { inOtherWords } from '../in-other-words.ts';

/** @throws invalid_request where no model of this installation is named */
export function wishOf(llm: { name: string }, body: AnantaProposeBody): StepWish {
  const prompt = body.prompt?.trim() ? body.prompt : null;
  const model = body.model ?? null;
  // Clients that list models as `<provider>:<model>` send either back.
  const modelName = (model === null ? null : chooseModel(llm, model)?.model) ?? model;
  const names = [...new Set(body.providers ?? [])];
  if (names.length > 0) {
    const first = names.map((name) => chooseModel(llm, name)).find((choice) => choice !== undefined);
    if (first === undefined) {
      const comparisons = Object.fromEntries(names.map((name) => [name, unknownProvider(name)]));
      throw problem('invalid_request', { reason: 'No known provider' }, { details: { comparisons } });
    }
    return { prompt, modelName: first.model ?? modelName, compared: names };
  }
  if (body.provider == null) return { prompt, modelName, compared: [] };
  const chosen = chooseModel(llm, body.provider);
  if (chosen === undefined)
    throw problem('invalid_request', { reason: unknownProvider(body.provider).error });
  return { prompt, modelName: chosen.model ?? modelName, compared: [] };
}

export interface ExecutionWish {
  command: string | null;
  toolCalls: ToolCall[];
  timeoutMs: number;
  retries: number;
  retryDelayMs: number;
}

export function executionOf(body: AnantaExecuteBody): ExecutionWish {
  return {
    command: body.command?.trim() ? body.command : null,
    toolCalls: toolCallsOf(body.tool_calls),
    timeoutMs: body.timeout == null ? DEFAULT_STEP_TIMEOUT_MS : Math.round(body.timeout * 1000),
    retries: body.retries ?? 0,
    retryDelayMs: body.retry_delay == null ? DEFAULT_RETRY_DELAY_MS : Math.round(body.retry_delay * 1000),
  };
}

export const toolCallsOf = (calls: readonly AnantaToolCall[] | null | undefined): ToolCall[] =>
  (calls ?? []).map(({ name, tool_name, args, arguments: more }) => ({
    name: name ?? tool_name ?? '<missing>',
    args: args ?? more ?? {},
  }));

export const actOf = (command: string, { timeoutMs }: Pick<ExecutionWish, 'timeoutMs'>): ActRequest => ({
  command,
  timeoutMs,
});

const wordOf: Readonly<Record<string, string>> = { timeoutMs: 'timeout', expiryMs: 'timeout' };

/** Complaints about the act point to where this family's bodies have it. */
export const inAnantaWords = <T>(run: () => Promise<T>): Promise<T> =>
  inOtherWords(wordOf, (path) => path.filter((part) => part !== 'act' && typeof part !== 'number'), run);
