/**
 * A JSON value as the text that Postgres prints for it as jsonb: what seals hash. Keys are ordered by their length in
 * bytes, then by their bytes; numbers are as we write them, plain decimals.
 */
export function jsonbText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(jsonbText).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const entries = Object.entries(value).sort(([a], [b]) => compareKeys(a, b));
  return `{${entries.map(([name, entry]) => `${JSON.stringify(name)}: ${jsonbText(entry)}`).join(', ')}}`;
}

function compareKeys(a: string, b: string): number {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length - right.length || left.compare(right);
}
