/**
 * A JSON value as the text that Postgres prints for it as jsonb: what seals hash. Keys are ordered by their length in
 * bytes, then by their bytes; numbers are plain decimals.
 */
export function jsonbText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(jsonbText).join(', ')}]`;
  if (typeof value === 'number') return decimalText(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).sort(([a], [b]) => compareKeys(a, b));
  return `{${entries.map(([name, entry]) => `${JSON.stringify(name)}: ${jsonbText(entry)}`).join(', ')}}`;
}

/** The digits that we write, without the exponent that very large and very small numbers have here. */
function decimalText(value: number): string {
  const text = JSON.stringify(value);
  const [, sign = '', first, others = '', exponent] = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text) ?? [];
  if (first === undefined) return text;
  const digits = first + others;
  const place = Number(exponent) + 1;
  if (place <= 0) return `${sign}0.${'0'.repeat(-place)}${digits}`;
  return `${sign}${digits.padEnd(place, '0')}`;
}

function compareKeys(a: string, b: string): number {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length - right.length || left.compare(right);
}
