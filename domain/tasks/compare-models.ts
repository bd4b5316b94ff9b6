/** The same question to several models. What they say is shown, and nothing else: one of them is asked for the proposal. */
import { LlmError, type LlmPort, type ProposeAnswer, type ProposeRequest } from '../../llm/port.ts';
import type { DomainDeps } from '../deps.ts';
import { fitAnswer } from './model-answer.ts';
import { rawAnswer } from './step-history.ts';

/** Whoever is asked for a step: what routes and other folders are handed. */
export type StepModel = LlmPort;

/** How long answers that are only compared are waited for, milliseconds. */
const MAX_COMPARING_MS = 45_000;
const modelName = /^[A-Za-z0-9][A-Za-z0-9._@/-]{0,127}$/;

/** What a model said, or why it said nothing. */
export type Comparison =
  | { raw: string; reason: string; command: string | null; tool_calls: null }
  | { error: string };

/**
 * The model that a name stands for: `<provider>` (its configured model) or `<provider>:<model>`. Undefined when this
 * installation has no such provider; there is one at a time.
 */
export function chooseModel(
  llm: Pick<LlmPort, 'name'>,
  name: string,
): { model: string | undefined } | undefined {
  const [, provider, model] = /^([^:]+)(?::(.+))?$/s.exec(name.trim()) ?? [];
  if (provider?.toLowerCase() !== llm.name) return undefined;
  if (model !== undefined && !modelName.test(model)) return undefined;
  return { model };
}

export const unknownProvider = (name: string): { error: string } => ({ error: `Unknown provider: ${name}` });

/** As a comparison shows it. */
export const presentAnswer = (answer: ProposeAnswer): Exclude<Comparison, { error: string }> => {
  const { reason, command } = answer.kind === 'command' ? answer : { reason: answer.summary, command: null };
  return { raw: rawAnswer(reason, command), reason, command, tool_calls: null };
};

/**
 * Ask all of them but the first known one, whose answer is the proposal and comes from elsewhere.
 * @returns what all of them said, in their order, once the first one's answer is known
 */
export async function compareModels(
  deps: Pick<DomainDeps, 'log'> & { llm: LlmPort },
  names: readonly string[],
  request: ProposeRequest,
  signal: AbortSignal,
): Promise<(first: ProposeAnswer | { kind: 'failed'; error: LlmError }) => Record<string, Comparison>> {
  const choices = names.map((name) => ({ name, choice: chooseModel(deps.llm, name) }));
  const first = choices.find(({ choice }) => choice !== undefined)?.name;
  const limited = AbortSignal.any([signal, AbortSignal.timeout(MAX_COMPARING_MS)]);
  const asked = await Promise.all(
    choices
      .filter(({ name }) => name !== first)
      .map(async ({ name, choice }): Promise<[string, Comparison]> => {
        if (choice === undefined) return [name, unknownProvider(name)];
        return [name, await askOne(deps, request, { ...choice, signal: limited })];
      }),
  );
  const answers = new Map(asked);
  return (answer) =>
    Object.fromEntries(
      names.map((name) => {
        const said = answers.get(name);
        if (said !== undefined) return [name, said];
        return [name, answer.kind === 'failed' ? { error: answer.error.code } : presentAnswer(answer)];
      }),
    );
}

/** What is no answer is told as such: it ends nothing. */
async function askOne(
  deps: Pick<DomainDeps, 'log'> & { llm: LlmPort },
  request: ProposeRequest,
  options: { model: string | undefined; signal: AbortSignal },
): Promise<Comparison> {
  try {
    return presentAnswer(fitAnswer(await deps.llm.propose(request, options)));
  } catch (error) {
    if (error instanceof LlmError) return { error: error.code };
    if (options.signal.aborted) return { error: 'llm_timeout' };
    deps.log.warn({ event: 'model_comparison_failed', err: error });
    return { error: 'internal_error' };
  }
}
