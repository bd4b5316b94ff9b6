import { problem } from '../../contracts/errors.ts';

/** Deepest nesting of arrays and objects; JSON.parse takes millions, JSON.stringify dies at ten thousand. */
export const MAX_JSON_DEPTH = 64;

const forbiddenKeys = new Set(['__proto__', 'constructor', 'prototype']);

/** Does the key reach a prototype? */
export const isForbiddenKey = (key: string): boolean => forbiddenKeys.has(key);

/**
 * JSON.parse for bodies of strangers. Beyond the grammar it refuses what one reader takes for something else than
 * another: duplicate keys, keys that reach prototypes, nesting deeper than `MAX_JSON_DEPTH`, and text that the
 * database cannot hold (U+0000, lone surrogates).
 *
 * Throws `malformed_json`.
 */
export function parseStrictJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refusal(placeOf(cause), cause);
  }
  inspectJson(text);
  return value;
}

/** Where the grammar ends; not the parser's own words, which repeat what stands there: it may be a password. */
function placeOf(cause: unknown): string {
  const position = cause instanceof Error ? / at position (\d+)/.exec(cause.message)?.[1] : undefined;
  return position === undefined ? 'syntax error' : `syntax error at position ${position}`;
}

/** One container that is open at the scanner's position: the keys of an object, null for an array. */
type OpenContainer = Set<string> | null;

/**
 * One pass over text that is known to be JSON, which spares the scanner every check of the grammar:
 * a string is a key exactly when it follows `{` or `,` directly inside an object.
 */
function inspectJson(text: string): void {
  const open: OpenContainer[] = [];
  let isKeyNext = false;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x7b: // {
        open.push(new Set());
        assertDepth(open.length);
        isKeyNext = true;
        break;
      case 0x5b: // [
        open.push(null);
        assertDepth(open.length);
        isKeyNext = false;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        isKeyNext = false;
        break;
      case 0x2c: // ,
        isKeyNext = open.at(-1) instanceof Set;
        break;
      case 0x22: {
        const end = endOfString(text, at);
        const content = stringContent(text, at, end);
        if (isKeyNext) addKey(open.at(-1), content);
        isKeyNext = false;
        at = end;
        break;
      }
    }
  }
}

/** Index of the quote that closes the string opened at `start`. */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (isEscaped(text, end)) end = text.indexOf('"', end + 1);
  return end;
}

/** True after an odd number of backslashes. */
function isEscaped(text: string, at: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(at - 1 - backslashes) === 0x5c) backslashes++;
  return backslashes % 2 === 1;
}

function stringContent(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, end);
  if (!raw.includes('\\')) return raw;
  const content: unknown = JSON.parse(text.slice(start, end + 1));
  if (typeof content !== 'string') throw new Error('a JSON string did not parse to a string');
  // Raw text came from valid UTF-8 and JSON forbids raw control characters: only escapes can carry these two.
  if (content.includes('\u0000')) throw refusal('a string holds the character U+0000');
  if (!content.isWellFormed()) throw refusal('a string holds half of a surrogate pair');
  return content;
}

function addKey(keys: OpenContainer | undefined, key: string): void {
  if (isForbiddenKey(key)) throw refusal(`the key "${key}" is not allowed`);
  if (keys?.has(key)) throw refusal(`the key "${key.slice(0, 100)}" is there twice`);
  keys?.add(key);
}

function assertDepth(depth: number): void {
  if (depth > MAX_JSON_DEPTH) throw refusal(`nested deeper than ${MAX_JSON_DEPTH} levels`);
}

function refusal(reason: string, cause?: unknown) {
  return problem('malformed_json', { reason }, { cause });
}
