/** What a file defines, found line by line: a map for people and models, no parser. */

/** Most symbols of one file. */
const MAX_SYMBOLS = 200;
/** Longer lines are no definitions that anybody wrote. */
const MAX_LINE_LENGTH = 400;

export interface SourceSymbol {
  name: string;
  /** From 1. */
  line: number;
}

const definitions: readonly RegExp[] = [
  // JavaScript and TypeScript
  /^\s*(?:export\s+)?(?:default\s+)?(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?(?:function\*?|class|interface|type|enum|namespace)\s+([A-Za-z_$][\w$]*)/,
  /^(?:export\s+)?(?:const|let|var)\s+([A-Za-z_$][\w$]*)\s*[:=]/,
  // Python, Ruby, Scala
  /^\s*(?:async\s+)?(?:def|class|module|trait|object)\s+(?:self\.)?([A-Za-z_]\w*)/,
  // Go, Rust, Kotlin, Swift, PHP
  /^\s*(?:pub(?:\([a-z]+\))?\s+|public\s+|private\s+|protected\s+|internal\s+|static\s+|final\s+|open\s+|override\s+|suspend\s+|unsafe\s+)*(?:func|fn|fun|struct|enum|trait|impl|protocol|record|interface|class|function|type|mod)\s+(?:\([^)]{0,80}\)\s*)?([A-Za-z_]\w*)/,
  // SQL
  /^\s*create\s+(?:or\s+replace\s+)?(?:unique\s+)?(?:table|view|index|function|trigger)\s+(?:if\s+not\s+exists\s+)?([A-Za-z_][\w.]*)/i,
  // Headings
  /^#{1,4}\s+(\S.{0,79})$/,
];
const keywords: ReadonlySet<string> = new Set([
  'if',
  'for',
  'while',
  'switch',
  'return',
  'new',
  'of',
  'in',
  'is',
]);

/** In the order of their lines; of a name that is defined more than once the first. */
export function findSymbols(lines: readonly string[]): SourceSymbol[] {
  const symbols: SourceSymbol[] = [];
  const seen = new Set<string>();
  for (const [index, line] of lines.entries()) {
    if (symbols.length >= MAX_SYMBOLS) break;
    if (line.length > MAX_LINE_LENGTH) continue;
    const name = definitions
      .map((definition) => definition.exec(line)?.[1])
      .find((found) => found !== undefined);
    if (name === undefined || keywords.has(name) || seen.has(name)) continue;
    seen.add(name);
    symbols.push({ name: name.trim(), line: index + 1 });
  }
  return symbols;
}
