import { storableText } from '../../db/storable-text.ts';

/** Deeper than this nothing of an answer is kept: what is nested without end can be read, but not written again. */
const MAX_DEPTH = 64;

/**
 * JSON of a stranger as a column can hold it, its names too; what lies too deep becomes null.
 */
export function storable(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return storableText(value);
  if (typeof value !== 'object' || value === null) return value;
  if (depth === MAX_DEPTH) return null;
  if (Array.isArray(value)) return value.map((item) => storable(item, depth + 1));
  const entries = Object.entries(value);
  return Object.fromEntries(entries.map(([name, item]) => [storableText(name), storable(item, depth + 1)]));
}
