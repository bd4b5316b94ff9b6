/**
 * Cuts a command line into the simple commands it would run, in one pass over the text.
 *
 * It is no interpreter: it knows quotes, escapes, separators, substitutions, redirections and here-documents well
 * enough that nothing that would run is taken for data. Where it is unsure it takes text for a command, and says so
 * in `problems`.
 *
 * Invariants
 * (A) Every character is read once per nesting level, and nesting is bounded by `maxDepth`: linear time.
 * (B) No text is dropped silently: unclosed quotes, stray brackets and unfinished here-documents are problems.
 */

export type Dialect = 'posix' | 'powershell' | 'cmd';

export interface Word {
  /** The text after quotes and escapes were taken off; expansions stay as written (`$HOME`, `$()`). */
  text: string;
  /** Holds a variable, substitution or glob, so the text is not what the program will get. */
  dynamic: boolean;
  /** At least a part was quoted or escaped. */
  quoted: boolean;
  /** Commands of the substitutions in this word; they are also in `ParsedLine.segments`. */
  inner: Segment[];
  /** Offsets in `text` where a bare `$IFS` splits it. */
  splits?: number[];
}

export interface Redirect {
  /** `>`, `>>`, `<`, `<>`, `>&`, `<<<` … */
  operator: string;
  target: Word;
}

/** One simple command. */
export interface Segment {
  words: Word[];
  redirects: Redirect[];
  /** Its standard input is the previous segment's output. */
  piped: boolean;
  /** Text of here-documents and here-strings that it reads. */
  documents: string[];
}

export interface ParsedLine {
  segments: Segment[];
  /** What could not be understood, for people. */
  problems: string[];
  /** Names of functions that the line defines. */
  functions: string[];
}

/** Nesting of brackets and substitutions that is followed. */
export const maxDepth = 32;

interface Heredoc {
  delimiter: string;
  stripTabs: boolean;
  literal: boolean;
  segment: Segment;
}

/** Parses `text` as `dialect` would. Never throws. */
export function parseLine(text: string, dialect: Dialect = 'posix', depth = 0): ParsedLine {
  return parse(text, dialect, depth, false);
}

function parse(text: string, dialect: Dialect, depth: number, isDocument: boolean): ParsedLine {
  const segments: Segment[] = [];
  const problems = new Set<string>();
  const functions: string[] = [];
  const heredocs: Heredoc[] = [];
  const posix = dialect === 'posix';
  const escape = posix ? '\\' : dialect === 'powershell' ? '`' : '^';
  let at = 0;
  let arithmetic = 0;
  let documentsBroken = false;

  if (isDocument) readDoubleQuotes({ text: '', dynamic: false, quoted: true, inner: [] }, depth, null);
  else parseList(null, depth);
  if (heredocs.length > 0) problems.add('a here-document is not finished');
  return { segments, problems: [...problems], functions };

  /** Reads commands up to `closer` (consumed) or the end; answers the segments read, with nested ones. */
  function parseList(closer: string | null, level: number): Segment[] {
    const first = segments.length;
    if (level > maxDepth) {
      problems.add('it is nested too deeply to be read');
      at = text.length;
      return [];
    }
    let segment = newSegment(false);
    const finish = (piped: boolean) => {
      if (segment.words.length > 0 || segment.redirects.length > 0) segments.push(segment);
      segment = newSegment(piped);
    };
    while (at < text.length) {
      const char = text.charAt(at);
      if (closer !== null && char === closer) {
        at += 1;
        finish(false);
        return segments.slice(first);
      }
      if (char === '\n') {
        at += 1;
        finish(false);
        readHeredocs(level);
      } else if (char === ' ' || char === '\t' || char === '\r') at += 1;
      else if (char === '#' && dialect !== 'cmd') skipComment();
      else if (char === ';' && dialect !== 'cmd') {
        at += 1;
        finish(false);
      } else if (char === '|') {
        at += text.startsWith('||', at) || text.startsWith('|&', at) ? 2 : 1;
        finish(text.charAt(at - 1) !== '|' || text.charAt(at - 2) !== '|');
      } else if (char === '&') readAmpersand(segment, finish, level);
      else if (posix && (char === '<' || char === '>') && text.charAt(at + 1) === '(') {
        segment.words.push(readWord(level));
      } else if (char === '<' || char === '>') readRedirect(segment, level);
      else if (char === '(') {
        readGroup(segment, finish, level);
      } else if (char === ')' || (dialect === 'powershell' && (char === '{' || char === '}'))) {
        // A stray bracket ends a command: what follows is still read as commands (B).
        if (char === ')') problems.add('brackets do not match');
        at += 1;
        finish(false);
      } else {
        const before = at;
        readWords(segment, level);
        if (at === before) at += 1;
      }
    }
    if (closer !== null) problems.add('brackets do not match');
    finish(false);
    return segments.slice(first);
  }

  function readGroup(segment: Segment, finish: (piped: boolean) => void, level: number): void {
    at += 1;
    const name = segment.words.length === 1 ? segment.words[0] : undefined;
    if (posix && name && /^[ \t]*\)/.test(text.slice(at, at + 8))) {
      at = text.indexOf(')', at) + 1;
      functions.push(name.text);
      segment.words.length = 0;
      finish(false);
      return;
    }
    const isArithmetic = posix && text.charAt(at) === '(';
    if (isArithmetic) arithmetic += 1;
    const piped = segment.words.length === 0 && segment.piped;
    const start = segments.length;
    const inner = parseList(')', level + 1);
    if (isArithmetic) arithmetic -= 1;
    const firstInner = segments[start];
    if (piped && firstInner) firstInner.piped = true;
    // In PowerShell a bracket is an argument of the command around it.
    if (dialect === 'powershell' && segment.words.length > 0) {
      segment.words.push({ text: '()', dynamic: true, quoted: false, inner });
    } else finish(false);
  }

  function readAmpersand(segment: Segment, finish: (piped: boolean) => void, level: number): void {
    if (posix && text.charAt(at + 1) === '>') {
      at += 1;
      readRedirect(segment, level);
      return;
    }
    at += text.startsWith('&&', at) ? 2 : 1;
    finish(false);
  }

  function readRedirect(segment: Segment, level: number): void {
    const operator =
      /^(?:<<<|<<-|<<|<>|>>|>\||>&|<&|<|>)/.exec(text.slice(at, at + 3))?.[0] ?? text.charAt(at);
    // A number right before the operator is a descriptor, not an argument.
    const last = segment.words.at(-1);
    if (
      last &&
      !last.quoted &&
      /^(?:\d{1,3}|\*)$/.test(last.text) &&
      text.charAt(at - 1) === last.text.at(-1)
    ) {
      segment.words.pop();
    }
    at += operator.length;
    while (text.charAt(at) === ' ' || text.charAt(at) === '\t') at += 1;
    const target = readWord(level);
    if (posix && (operator === '<<' || operator === '<<-') && arithmetic === 0 && !documentsBroken) {
      heredocs.push({
        delimiter: target.text,
        stripTabs: operator === '<<-',
        literal: target.quoted,
        segment,
      });
      return;
    }
    if (operator === '<<<') segment.documents.push(target.text);
    segment.redirects.push({ operator, target });
  }

  function readHeredocs(level: number): void {
    for (const heredoc of heredocs.splice(0)) {
      const start = at;
      let end = -1;
      for (let line = at; line <= text.length; ) {
        const newline = text.indexOf('\n', line);
        const stop = newline === -1 ? text.length : newline;
        const content = text.slice(line, stop);
        if ((heredoc.stripTabs ? content.replace(/^\t+/, '') : content) === heredoc.delimiter) {
          end = line;
          at = newline === -1 ? text.length : newline + 1;
          break;
        }
        if (newline === -1) break;
        line = newline + 1;
      }
      if (end === -1) {
        // Unfinished: the lines are read as commands, so that a forged `<<` hides nothing (B). From here on `<<`
        // is not searched for an end again (A).
        problems.add('a here-document is not finished');
        documentsBroken = true;
        return;
      }
      const body = text.slice(start, end);
      heredoc.segment.documents.push(body);
      if (!heredoc.literal) readDocumentSubstitutions(body, level);
    }
  }

  /** A here-document with a bare delimiter runs the substitutions in it; nothing else in it runs. */
  function readDocumentSubstitutions(body: string, level: number): void {
    if (!/\$\(|`/.test(body)) return;
    const inner = parse(body, 'posix', level + 1, true);
    segments.push(...inner.segments);
    functions.push(...inner.functions);
    for (const problem of inner.problems) problems.add(problem);
  }

  function skipComment(): void {
    const newline = text.indexOf('\n', at);
    at = newline === -1 ? text.length : newline;
  }

  /** Reads one word, or several where an unquoted `$IFS` splits it. */
  function readWords(segment: Segment, level: number): void {
    const word = readWord(level);
    if (!word.splits) {
      segment.words.push(word);
      return;
    }
    problems.add('it uses $IFS to hide spaces');
    let start = 0;
    for (const end of [...word.splits, word.text.length]) {
      const part = word.text.slice(start, end);
      if (part) segment.words.push({ ...word, text: part, dynamic: /[$*?[]/.test(part) });
      start = end;
    }
  }

  function readWord(level: number): Word {
    const word: Word = { text: '', dynamic: false, quoted: false, inner: [] };
    while (at < text.length) {
      const char = text.charAt(at);
      if (' \t\r\n|&)'.includes(char) || (char === ';' && dialect !== 'cmd')) break;
      if (char === '(' || ((char === '<' || char === '>') && text.charAt(at + 1) !== '(')) break;
      if (dialect === 'powershell' && (char === '{' || char === '}')) break;
      if (char === escape) readEscape(word);
      else if (char === "'" && dialect !== 'cmd') readSingleQuotes(word);
      else if (char === '"') readDoubleQuotes(word, level);
      else if (posix && char === '`') readBackticks(word, level);
      else if (char === '$' && dialect !== 'cmd') readDollar(word, level, false);
      else if (posix && (char === '<' || char === '>') && text.charAt(at + 1) === '(') {
        at += 2;
        addInner(word, level, char);
      } else if (char === '<' || char === '>') break;
      else {
        if ((posix && '*?['.includes(char)) || (dialect === 'cmd' && char === '%')) word.dynamic = true;
        word.text += char;
        at += 1;
      }
    }
    return word;
  }

  function readEscape(word: Word): void {
    const next = text.charAt(at + 1);
    at += 2;
    if (next === '\n') return;
    // PowerShell and cmd escapes inside a name hide it; the name itself is the character that follows.
    word.text += next;
    word.quoted = true;
  }

  function readSingleQuotes(word: Word): void {
    word.quoted = true;
    const end = text.indexOf("'", at + 1);
    if (end === -1) problems.add('a quote is not closed');
    word.text += text.slice(at + 1, end === -1 ? text.length : end);
    at = end === -1 ? text.length : end + 1;
  }

  /** Reads up to `closer`; `null` reads all, as in a here-document. */
  function readDoubleQuotes(word: Word, level: number, closer: '"' | null = '"'): void {
    word.quoted = true;
    if (closer !== null) at += 1;
    while (at < text.length) {
      const char = text.charAt(at);
      if (char === closer) {
        at += 1;
        return;
      }
      if (char === escape && dialect !== 'cmd') {
        const next = text.charAt(at + 1);
        if (next === '\n') at += 2;
        else if (!posix || '$`"\\'.includes(next)) {
          word.text += next;
          at += 2;
        } else {
          word.text += char;
          at += 1;
        }
      } else if (posix && char === '`') readBackticks(word, level);
      else if (char === '$' && dialect !== 'cmd') readDollar(word, level, true);
      else {
        if (dialect === 'cmd' && char === '%') word.dynamic = true;
        word.text += char;
        at += 1;
      }
    }
    if (closer !== null) problems.add('a quote is not closed');
  }

  function readBackticks(word: Word, level: number): void {
    let end = at + 1;
    let inner = '';
    while (end < text.length && text.charAt(end) !== '`') {
      if (text.charAt(end) === '\\' && '$`\\'.includes(text.charAt(end + 1))) end += 1;
      inner += text.charAt(end);
      end += 1;
    }
    if (end >= text.length) problems.add('a backtick is not closed');
    at = end + 1;
    const parsed = parseLine(inner, 'posix', level + 1);
    segments.push(...parsed.segments);
    functions.push(...parsed.functions);
    for (const problem of parsed.problems) problems.add(problem);
    word.inner.push(...parsed.segments);
    word.text += '$()';
    word.dynamic = true;
  }

  function readDollar(word: Word, level: number, inQuotes: boolean): void {
    const next = text.charAt(at + 1);
    if (next === '(') {
      at += 2;
      const isArithmetic = text.charAt(at) === '(';
      if (isArithmetic) arithmetic += 1;
      addInner(word, level, '$');
      if (isArithmetic) arithmetic -= 1;
    } else if (posix && next === "'" && !inQuotes) readAnsiQuotes(word);
    else if (posix && next === '"' && !inQuotes) at += 1;
    else if (next === '{') readBraces(word, level, inQuotes);
    else {
      const name = /^\$(?:\w+|[@*#?$!-])/.exec(text.slice(at, at + 64))?.[0] ?? '$';
      at += name.length;
      if (posix && name === '$IFS' && !inQuotes) splitWord(word);
      else {
        word.dynamic ||= name !== '$';
        word.text += name;
      }
    }
  }

  function splitWord(word: Word): void {
    word.splits ??= [];
    word.splits.push(word.text.length);
    // `$IFS$9`: an empty variable is put behind to end the name.
    if (/^\$\d/.test(text.slice(at, at + 2))) at += 2;
  }

  function addInner(word: Word, level: number, sign: string): void {
    word.inner.push(...parseList(')', level + 1));
    word.text += `${sign}()`;
    word.dynamic = true;
  }

  /** `${name:-default}`: the default may hold substitutions, so it is read and not skipped. */
  function readBraces(word: Word, level: number, inQuotes: boolean): void {
    const start = word.text.length;
    word.dynamic = true;
    word.text += '${';
    at += 2;
    while (at < text.length && text.charAt(at) !== '}') {
      const char = text.charAt(at);
      if (posix && char === '`') readBackticks(word, level);
      else if (char === '$' && text.charAt(at + 1) === '(') readDollar(word, level, true);
      else if (posix && char === '"' && !inQuotes) readDoubleQuotes(word, level);
      else if (posix && char === "'" && !inQuotes) readSingleQuotes(word);
      else {
        word.text += char;
        at += char === escape ? 2 : 1;
      }
    }
    if (at >= text.length) problems.add('brackets do not match');
    word.text += '}';
    at += 1;
    if (!inQuotes && posix && /^\$\{IFS\b/.test(word.text.slice(start, start + 6))) {
      word.text = word.text.slice(0, start);
      splitWord(word);
    }
  }

  function readAnsiQuotes(word: Word): void {
    word.quoted = true;
    at += 2;
    const start = at;
    while (at < text.length && text.charAt(at) !== "'") at += text.charAt(at) === '\\' ? 2 : 1;
    if (at >= text.length) problems.add('a quote is not closed');
    word.text += decodeAnsi(text.slice(start, at));
    at += 1;
  }
}

function newSegment(piped: boolean): Segment {
  return { words: [], redirects: [], piped, documents: [] };
}

const ansiLetters: Record<string, string> = {
  n: '\n',
  t: '\t',
  r: '\r',
  a: '\x07',
  b: '\b',
  e: '\x1b',
  f: '\f',
  v: '\v',
};

function decodeAnsi(text: string): string {
  return text.replace(
    /\\(?:x([0-9a-f]{1,2})|u([0-9a-f]{1,4})|([0-7]{1,3})|(.))/gis,
    (_all, hex?: string, unicode?: string, octal?: string, letter?: string) => {
      const code = hex ?? unicode;
      if (code !== undefined) return String.fromCharCode(Number.parseInt(code, 16));
      if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
      return ansiLetters[letter ?? ''] ?? letter ?? '';
    },
  );
}

/** A segment that was given as an argument list: nothing in it is expanded. */
export function segmentFromArgv(argv: readonly string[]): Segment {
  const words = argv.map((text) => ({ text, dynamic: false, quoted: true, inner: [] }));
  return { ...newSegment(false), words };
}
