/**
 * ETags over the canonical JSON of a body, and the headers that name them (RFC 9110 sections 8.8.3 and 13.1).
 * The canonical form is Python's `json.dumps(value, sort_keys=True)`: clients compute it again from what they received.
 */
import { createHash } from 'node:crypto';

/** A strong ETag, quoted: sha256 (hex) over the canonical JSON. */
export const etagOf = (value: unknown): string =>
  `"${createHash('sha256').update(canonicalJson(value)).digest('hex')}"`;

/**
 * As Python's `json.dumps(value, sort_keys=True)` writes what our JSON reads as there: keys in the order of their code
 * points, `", "` and `": "` between, everything but printable ASCII escaped, floats with an exponent where Python
 * has one. Members that are undefined are left out, as by `JSON.stringify`.
 */
export function canonicalJson(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return pythonString(value);
    case 'number':
      return pythonNumber(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      break;
    default:
      return 'null';
  }
  if (value === null) return 'null';
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(', ')}]`;
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => compareCodePoints(a, b))
    .map(([name, member]) => `${pythonString(name)}: ${canonicalJson(member)}`);
  return `{${members.join(', ')}}`;
}

const UNSAFE = /["\\]|[^ -~]/;
const EACH_UNSAFE = /["\\]|[^ -~]/g;
const shortEscapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\b': '\\b',
  '\f': '\\f',
};

/** Without the `u` flag of the pattern a character beyond U+FFFF is two units, each escaped, as Python does. */
function pythonString(text: string): string {
  return `"${UNSAFE.test(text) ? text.replace(EACH_UNSAFE, escapeOf) : text}"`;
}

const escapeOf = (unit: string): string =>
  shortEscapes[unit] ?? `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** Python writes a float with an exponent from 1e16 on and below 1e-4; JavaScript from 1e21 on and below 1e-6. */
function pythonNumber(value: number): string {
  const text = JSON.stringify(value);
  if (text === 'null' || /^-?\d+$/.test(text)) return text;
  const [digits = '', exponent = '0'] = value.toExponential().split('e');
  const power = Number(exponent);
  if (power >= -4 && power < 16) return String(value);
  return `${digits}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
}

/** JavaScript compares UTF-16 units, which puts U+E000 to U+FFFF behind everything beyond. */
function compareCodePoints(a: string, b: string): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const difference = rankOf(a.charCodeAt(i)) - rankOf(b.charCodeAt(i));
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** The unit's place among units when surrogates come last. */
function rankOf(unit: number): number {
  if (unit >= 0xe000) return unit - 0x800;
  return unit >= 0xd800 ? unit + 0x2000 : unit;
}

interface EtagInList {
  /** What stands between the quotes. */
  opaque: string;
  isWeak: boolean;
}

/**
 * One member of a list at the place where it begins: a quoted tag, perhaps weak, or a bare value. `rest`: what stands
 * behind it up to the comma, which must be nothing.
 */
const MEMBER =
  /[ \t,]*(?:(?<weak>W\/)?(?:"(?<quoted>[\x21\x23-\x7e\x80-\xff]*)"|(?<bare>[^",\s]+))?)(?<rest>[^,]*)/y;

/** The tags of `If-None-Match` or `If-Match`; members that are none are left out. `*` alone is any. */
export function parseEtags(header: string): '*' | EtagInList[] {
  if (header.trim() === '*') return '*';
  const tags: EtagInList[] = [];
  for (MEMBER.lastIndex = 0; MEMBER.lastIndex < header.length; ) {
    const { weak, quoted, bare, rest = '' } = MEMBER.exec(header)?.groups ?? {};
    const opaque = quoted ?? bare;
    if (opaque !== undefined && opaque !== '*' && rest.trim() === '') {
      tags.push({ opaque, isWeak: weak !== undefined });
    }
  }
  return tags;
}

/** `If-None-Match`: does the client have this already? By the weak comparison. */
export function isKnownEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  const tags = parseEtags(header);
  return tags === '*' || tags.some((tag) => `"${tag.opaque}"` === etag);
}

/** `If-Match`: is this what the client has seen? By the strong comparison; a header without a good tag names nothing. */
export function isExpectedEtag(header: string, etag: string): boolean {
  const tags = parseEtags(header);
  return tags === '*' || tags.some((tag) => !tag.isWeak && `"${tag.opaque}"` === etag);
}
