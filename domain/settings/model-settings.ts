/** How the language model is asked, as far as it is no variable of the environment: namespace `model`. */
import type { SettingDefinition, SettingTexts } from './port.ts';
import { settingName } from './port.ts';

/** Answers with fewer tokens are cut off in the middle of a tool call: a smaller limit is raised to this. */
export const MIN_ANSWER_TOKENS = 1_024;
export const MAX_ANSWER_TOKENS = 64_000;
/** The scale of other providers; what the model does not know is cut to its own (1). */
export const MAX_TEMPERATURE = 2;
const MODEL_MAX_TEMPERATURE = 1;
/** Longest standing instructions, characters. */
export const MAX_INSTRUCTIONS_LENGTH = 8_192;

export interface ModelTuning {
  /** Tokens an answer may have; null: the adapter's default. */
  maxTokens: number | null;
  /** 0 to 1; null: not sent, which newer models ask for. */
  temperature: number | null;
  /** What the administrators of this installation want every proposal to heed; null: nothing. */
  instructions: string | null;
}

const define = (
  key: string,
  description: string,
  problemOf: (text: string) => string | null,
  unit: string | null = null,
): SettingDefinition => ({
  namespace: 'model',
  key,
  description,
  isSecret: false,
  unit,
  configured: null,
  isConfigured: false,
  problemOf,
});

const isWhole = (text: string): boolean => /^\d{1,6}$/.test(text);
const isDecimal = (text: string): boolean => /^\d(\.\d{1,4})?$/.test(text);

export const modelSettingDefinitions: readonly SettingDefinition[] = [
  define(
    'max_tokens',
    `Tokens an answer may have. Less than ${MIN_ANSWER_TOKENS} counts as ${MIN_ANSWER_TOKENS}.`,
    (text) =>
      isWhole(text) && Number(text) >= 1 && Number(text) <= MAX_ANSWER_TOKENS
        ? null
        : `must be a whole number from 1 to ${MAX_ANSWER_TOKENS}`,
    'tokens',
  ),
  define(
    'temperature',
    'How freely the model words its answers; above 1 counts as 1. Some models refuse to be given one.',
    (text) =>
      isDecimal(text) && Number(text) <= MAX_TEMPERATURE
        ? null
        : `must be a number from 0 to ${MAX_TEMPERATURE}`,
  ),
  define(
    'instructions',
    'Standing instructions of this installation, added behind the rules every proposal is made under.',
    (text) =>
      text.length <= MAX_INSTRUCTIONS_LENGTH
        ? null
        : `must have at most ${MAX_INSTRUCTIONS_LENGTH} characters`,
  ),
];

/** The texts were checked when they were stored. */
export function readModelTuning(texts: SettingTexts): ModelTuning {
  const textOf = (key: string): string | null => texts.get(settingName('model', key)) ?? null;
  const [maxTokens, temperature] = [textOf('max_tokens'), textOf('temperature')];
  return {
    maxTokens: maxTokens === null ? null : Math.max(MIN_ANSWER_TOKENS, Number(maxTokens)),
    temperature: temperature === null ? null : Math.min(MODEL_MAX_TEMPERATURE, Number(temperature)),
    instructions: textOf('instructions'),
  };
}
