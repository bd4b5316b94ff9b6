/** Reading JSON that nobody vouches for, without a schema: every field may be missing or of another kind. */

export type Fields = Readonly<Record<string, unknown>>;

/** An object's own fields; undefined for everything else. */
export const fieldsOf = (value: unknown): Fields | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;

/** The first that is a text with something in it, cut to `maxLength`. Numbers count as their text. */
export function firstText(maxLength: number, ...values: readonly unknown[]): string | undefined {
  for (const value of values) {
    const text = typeof value === 'number' ? String(value) : value;
    if (typeof text === 'string' && text.trim() !== '') return text.slice(0, maxLength);
  }
  return undefined;
}

/** The first that is not null or undefined. */
export const firstGiven = (...values: readonly unknown[]): unknown =>
  values.find((value) => value !== undefined && value !== null);

/** A finite number, also where it came as text. */
export function numberOf(value: unknown): number | undefined {
  if (typeof value !== 'number' && (typeof value !== 'string' || value.trim() === '')) return undefined;
  const number = Number(value);
  return Number.isFinite(number) ? number : undefined;
}

/** Text as it is; anything else as JSON. Undefined where it cannot be said (nested deeper than the engine goes). */
export function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (value === undefined || value === null) return undefined;
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}
