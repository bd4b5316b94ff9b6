/**
 * Numbers and booleans as the server of dex took them: its models were pydantic's (version 2) in lax mode, and clients
 * rely on it. A number may come as a text, a boolean as a word or as 1 and 0. The other way round it was strict, and is:
 * a text is never made of a number.
 *
 * What the conversions cannot read is left as it is, so that the schema behind them refuses it.
 */
import { z } from 'zod';

/** Longer texts are no numbers, characters. */
const MAX_NUMBER_LENGTH = 4_300;

/**
 * One underscore between digits, zeros behind the point: `1_000`, `30.0`. There is one way to read any text, so that
 * one that is no number is not tried in as many ways as it has digits.
 */
const integerText = /^[+-]?\d+(?:_\d+)*(?:\.0*)?$/;
const floatText = /^[+-]?(?:\d+(?:_\d+)*(?:\.(?:\d+(?:_\d+)*)?)?|\.\d+(?:_\d+)*)(?:[eE][+-]?\d+)?$/;

const trueWords: ReadonlySet<string> = new Set(['1', 't', 'y', 'on', 'yes', 'true']);
const falseWords: ReadonlySet<string> = new Set(['0', 'f', 'n', 'no', 'off', 'false']);

/** True and false are 1 and 0. */
function numberOf(value: unknown, text: RegExp): unknown {
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (typeof value !== 'string' || value.length > MAX_NUMBER_LENGTH) return value;
  const trimmed = value.trim();
  return text.test(trimmed) ? Number(trimmed.replaceAll('_', '')) : value;
}

/** In any case, but with nothing around them. */
function booleanOf(value: unknown): unknown {
  if (value === 1 || value === 0) return value === 1;
  if (typeof value !== 'string') return value;
  const word = value.toLowerCase();
  if (trueWords.has(word)) return true;
  return falseWords.has(word) ? false : value;
}

/** `30`, `30.0`, `"30"`, `"30.0"`, `true`; not `30.5`. @param schema what holds for the number */
export const laxInt = (schema: z.ZodNumber = z.int()) =>
  z.preprocess((value) => numberOf(value, integerText), schema);

/** `1.5`, `"1.5"`, `"1e3"`, `true`. Neither infinity nor NaN. @param schema what holds for the number */
export const laxFloat = (schema: z.ZodNumber = z.number()) =>
  z.preprocess((value) => numberOf(value, floatText), schema);

/** `true`, `"true"`, `"yes"`, `"on"`, `"t"`, `"y"`, `"1"`, `1`, and their opposites. */
export const laxBoolean = () => z.preprocess(booleanOf, z.boolean());
