/** Text of commands, outputs and models as a terminal may show it. */

/** All but tab and line feed that is not drawn, or that moves what is: controls, format characters, separators. */
const NOT_PRINTABLE = /[^\P{Cc}\t\n]|[\p{Cf}\p{Cs}\u2028\u2029]/gu;

/** What must not be shown becomes dots: whoever wrote the text must not steer the terminal. Tabs and line feeds stay. */
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
