/**
 * What agents of other dialects say of their machine: free JSON, of which we know some names. It is kept as it came, within
 * bounds and as plain text, and the shares in it go into the history of metrics.
 */
import { plainText } from './plain-text.ts';

/** Longest stored, characters of JSON. */
export const MAX_SYSTEM_INFO_CHARACTERS = 16 * 1024;
/** Deepest nesting that is kept. */
const MAX_DEPTH = 6;

type Json = Record<string, unknown>;

/** Within bounds and free of control characters; what is too large is left out from the end. */
export function storableSystemInfo(info: Readonly<Json>): Json {
  const kept: Json = {};
  let length = 2;
  for (const [name, value] of Object.entries(info)) {
    const plainName = plainText(name);
    const plain = plainJson(value, 1);
    const added = JSON.stringify({ [plainName]: plain })?.length ?? 0;
    if (length + added > MAX_SYSTEM_INFO_CHARACTERS) continue;
    length += added;
    kept[plainName] = plain;
  }
  return kept;
}

function plainJson(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return plainText(value);
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (typeof value === 'boolean' || value === null) return value;
  if (typeof value !== 'object' || depth >= MAX_DEPTH) return null;
  if (Array.isArray(value)) return value.map((item) => plainJson(item, depth + 1));
  const entries = Object.entries(value);
  return Object.fromEntries(entries.map(([name, item]) => [plainText(name), plainJson(item, depth + 1)]));
}

/** The shares in it, percent; null where the name is missing. */
export function sharesOfSystemInfo(info: Readonly<Json>): {
  cpuPercent: number | null;
  memoryPercent: number | null;
  diskPercent: number | null;
} {
  return {
    cpuPercent: numberOf(info, 'cpu_percent', 'cpu_usage'),
    memoryPercent: numberOf(info, 'memory_percent', 'memory_usage'),
    diskPercent: numberOf(info, 'disk_percent') ?? fullestDisk(info.disk_usage),
  };
}

function numberOf(info: Readonly<Json>, ...names: string[]): number | null {
  for (const name of names) {
    const value = info[name];
    if (isShare(value)) return value;
  }
  return null;
}

/** A share alone, or one by mount. */
function fullestDisk(usage: unknown): number | null {
  if (isShare(usage)) return usage;
  if (typeof usage !== 'object' || usage === null) return null;
  const shares = Object.values(usage).filter(isShare);
  return shares.length === 0 ? null : Math.max(...shares);
}

const isShare = (value: unknown): value is number => typeof value === 'number' && value >= 0 && value <= 100;
