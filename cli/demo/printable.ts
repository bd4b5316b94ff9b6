/** Text of commands, outputs and models as a terminal may show it. */

// biome-ignore lint/complexity/useRegexLiterals: the literal would hold control characters
const NOT_PRINTABLE = new RegExp(
  '[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u202a-\\u202e\\u2066-\\u2069]',
  'g',
);

/** Control characters become dots: whoever wrote the text must not steer the terminal. Tabs and line feeds stay. */
export function printable(text: string): string {
  return text.replaceAll('\r\n', '\n').replaceAll(NOT_PRINTABLE, '·');
}

/** `12 ms`, `1.5 s`, `2 min 3 s`. */
export function describeDuration(durationMs: number): string {
  if (durationMs < 1_000) return `${durationMs} ms`;
  if (durationMs < 60_000) return `${(durationMs / 1_000).toFixed(1)} s`;
  return `${Math.floor(durationMs / 60_000)} min ${Math.round((durationMs % 60_000) / 1_000)} s`;
}

/** At most `length` characters on one line, the rest as `…`. */
export function oneLine(text: string, length: number): string {
  const line = printable(text).replaceAll(/\s+/g, ' ').trim();
  return line.length <= length ? line : `${line.slice(0, length - 1)}…`;
}
