import { type Dialect, parseLine, type Redirect, type Segment, segmentFromArgv, type Word } from './parse.ts';
import { isHarmlessSink, isNetworkPath, isSecretPath, isSystemPath } from './paths.ts';
import {
  type Args,
  aliases,
  type DangerLabel,
  downloads,
  harmlessVariable,
  type Rule,
  readers,
  rules,
  sources,
} from './rules.ts';
import { secretCmdlet, windowsReaders, windowsRules } from './rules-windows.ts';
import { listHidden } from './unseen.ts';
import {
  closingKeywords,
  codeRunners,
  type Interpreter,
  interpreters,
  leadingKeywords,
  unwrap,
  wrappers,
} from './wrappers.ts';

export type { DangerLabel } from './rules.ts';

export interface DangerQuestion {
  /** `shell`: `text` is a command line. `argv`: `argv` is a program and its arguments, nothing is expanded. */
  mode: 'shell' | 'argv';
  /** `sh`, `bash`, `pwsh`, `powershell`, `cmd` …; unknown or absent: read as a POSIX shell, and Windows rules warn too. */
  shell?: string | null;
  text: string;
  argv?: readonly string[];
}

export interface DangerAnswer {
  label: DangerLabel;
  /** Sentences for people, most serious first, at most `maxReasons`; empty when `safe`. */
  reasons: string[];
}

/** Longest command line that is read, in bytes of UTF-8. Longer ones are `caution`. */
export const maxTextBytes = 64 * 1024;

/** Command lines inside of command lines (`bash -c`, `sudo`, `find -exec`) that are followed. */
const maxNesting = 16;

/** Reasons that are told. */
const maxReasons = 12;

const severity: Record<DangerLabel, number> = { safe: 0, caution: 1, dangerous: 2 };

type Note = (label: DangerLabel, reason: string) => void;

interface Context {
  dialect: Dialect;
  depth: number;
  functions: readonly string[];
  note: Note;
}

/**
 * Labels a command line for the person who decides on it: `safe` (only well-known readers), `caution` (changes
 * something, or not understood), `dangerous`.
 *
 * **It only labels and never permits.** Nothing may run because of `safe`: shells are too rich to be judged by text,
 * and what a program does depends on files that this function never sees. Approval and policy decide.
 *
 * Never throws; time is linear in the length of the text.
 */
export function classifyCommand({ mode, shell, text, argv }: DangerQuestion): DangerAnswer {
  const found = new Map<string, DangerLabel>();
  let label: DangerLabel = 'safe';
  const note: Note = (noted, reason) => {
    if (noted === 'safe') return;
    if (severity[noted] > severity[label]) label = noted;
    if (severity[noted] > severity[found.get(reason) ?? 'safe']) found.set(reason, noted);
  };
  const answer = (): DangerAnswer => ({
    label,
    reasons: [...found]
      .sort(([, left], [, right]) => severity[right] - severity[left])
      .slice(0, maxReasons)
      .map(([reason]) => reason),
  });

  const whole = mode === 'argv' ? (argv ?? [text]).join(' ') : text;
  const unseen = listHidden(whole);
  if (unseen !== undefined)
    note('dangerous', `it holds characters that hide or reorder what is shown: ${unseen}`);
  if (Buffer.byteLength(whole) > maxTextBytes) {
    note('caution', 'it is too long to read');
    return answer();
  }
  if (whole.trim() === '') note('caution', 'it is empty');
  if (hasOddCharacters(whole)) note('caution', 'it holds invisible or control characters');

  const dialect = dialectOf(shell);
  if (mode === 'argv') {
    const context: Context = { dialect: 'posix', depth: 0, functions: [], note };
    classifySegments([segmentFromArgv(argv ?? [text])], context);
    return answer();
  }
  classifyText(text, dialect ?? 'posix', 0, note);
  if (dialect === null) {
    // The agent's default shell may be a Windows one: what is dangerous there is told as well.
    const warn: Note = (noted, reason) => noted === 'dangerous' && note(noted, reason);
    classifyText(text, 'powershell', 0, warn);
    classifyText(text, 'cmd', 0, warn);
  }
  return answer();
}

function dialectOf(shell: string | null | undefined): Dialect | null {
  if (!shell) return null;
  return interpreters[programName(shell)]?.dialect ?? null;
}

function hasOddCharacters(text: string): boolean {
  return /[^\P{C}\n\t\r]|\r(?!\n)|[\ufe00-\ufe0f]/u.test(text);
}

function classifyText(text: string, dialect: Dialect, depth: number, note: Note): void {
  if (depth > maxNesting) {
    note('caution', 'it is nested too deeply to be read');
    return;
  }
  const { segments, problems, functions } = parseLine(text, dialect);
  for (const problem of problems) note('caution', problem);
  if (functions.length > 0) note('caution', 'it defines functions');
  classifySegments(segments, { dialect, depth, functions, note });
}

/** Goes through the commands in order and carries what flows through pipes. */
function classifySegments(segments: readonly Segment[], context: Context): void {
  // A download anywhere before it may be what a shell later runs from a file or a pipe.
  let downloaded = false;
  let upstream: { source: boolean; documents: string[]; name: string } = {
    source: false,
    documents: [],
    name: '',
  };
  for (const segment of segments) {
    if (!segment.piped) upstream = { source: false, documents: [], name: '' };
    const documents = [...upstream.documents, ...segment.documents];
    const name = classifySegment(
      segment.words,
      { source: upstream.source || downloaded, documents },
      context,
    );
    downloaded ||= downloads.has(name);
    for (const redirect of segment.redirects) classifyRedirect(redirect, context);
    if (segment.piped && name === upstream.name && context.functions.includes(name)) {
      context.note('dangerous', 'it multiplies itself without end (fork bomb)');
    }
    upstream = {
      source: upstream.source || sources.has(name),
      documents:
        name === 'echo' || name === 'printf' || name === 'cat' || name === 'write-output'
          ? [...segment.documents, joinWords(segment.words.slice(1))]
          : [],
      name,
    };
  }
}

interface Input {
  /** Something before it in the pipe brings foreign or decoded data. */
  source: boolean;
  /** Literal texts that it reads. */
  documents: readonly string[];
}

/** Classifies one simple command; answers the name of the program that it comes down to. */
function classifySegment(allWords: readonly Word[], input: Input, context: Context): string {
  const { note } = context;
  const words = stripLead(allWords, context);
  const head = words[0];
  if (!head) return '';
  if (context.dialect === 'posix' && !head.quoted && /^\{[^{}]*,[^{}]*\}$/.test(head.text)) {
    note('caution', 'it hides a command in braces');
    const parts = head.text.slice(1, -1).split(',');
    return classifyNested(
      parts.map((text) => ({ ...head, text })),
      input,
      context,
    );
  }
  if ((head.dynamic && head.text !== '[' && head.text !== '[[') || head.text === '') {
    note('caution', 'which program it runs cannot be told beforehand');
    if (head.inner.some((segment) => sources.has(nameOf(segment)))) {
      note('dangerous', 'it runs what it fetched or decoded');
    }
    return '';
  }
  let name = programName(head.text);
  let rest = words.slice(1);
  // cmd takes switches without a space: del/s/q
  if (context.dialect === 'cmd' && /^\w+\//.test(head.text)) {
    const [command = '', ...switches] = head.text.split('/');
    name = programName(command);
    rest = [...switches.map((text) => ({ ...head, text: `/${text}` })), ...rest];
  }
  name =
    (Object.hasOwn(aliases, name) ? aliases[name] : undefined) ??
    (/^(?:python|ruby|perl|php|node)[\d.]+$/.test(name) ? name.replace(/[\d.]+$/, '') : name);
  if (context.functions.includes(name)) return name;

  if (name === 'command' && /^-[vV]$/.test(rest[0]?.text ?? '')) return name;
  const interpreter = Object.hasOwn(interpreters, name) ? interpreters[name] : undefined;
  if (interpreter) {
    classifyInterpreter(name, interpreter, rest, input, context);
    return name;
  }
  if (codeRunners.has(name) && input.source && rest.every((word) => word.text.startsWith('-'))) {
    note('dangerous', 'it runs what it fetched or decoded');
  }
  if (name === 'at' || name === 'batch') {
    for (const document of input.documents) classifyText(document, 'posix', context.depth + 1, note);
  }
  if (name === '.' || name === 'source') {
    note('caution', 'it runs a script file');
    if (fetched(rest)) note('dangerous', 'it runs what it fetched or decoded');
    return name;
  }
  const wrapper = Object.hasOwn(wrappers, name) ? wrappers[name] : undefined;
  if (wrapper) {
    if (name === 'env' && rest.some((word) => /^-(?:S|-sp)/.test(word.text))) {
      note('caution', 'it splits a text into a command');
      const text = joinWords(rest).replace(/^.*?(?:-S|--sp[\w-]*=?)/s, '');
      classifyText(text, 'posix', context.depth + 1, note);
      return name;
    }
    const wrapped = unwrap(wrapper, words);
    if (wrapper.atLeast) note(wrapper.atLeast.label, wrapper.atLeast.reason);
    if (wrapped.length > 0) {
      for (const word of words.slice(0, -wrapped.length)) classifyAssignment(word, context);
      if (wrapper.joined) {
        if (fetched(wrapped)) note('dangerous', 'it runs what it fetched or decoded');
        if (wrapped.some((word) => word.dynamic))
          note('caution', 'it runs text that cannot be told beforehand');
        const line = joinWords(wrapped);
        classifyText(
          name === 'alias' ? line.replace(/^[^=]*=/, '') : line,
          wrapper.joined,
          context.depth + 1,
          note,
        );
        return name;
      }
      const repeats = name === 'xargs' || name === 'parallel';
      const inner = classifyNested(repeats ? [...wrapped.map(fillIn), unknownWord] : wrapped, input, context);
      return inner || name;
    }
    if (name === 'xargs') return name;
  }
  if (name === 'find' || name === 'fd') classifyExec(rest, input, context);
  if (
    (name === 'docker' || name === 'podman' || name === 'kubectl') &&
    /^(?:exec|run)$/.test(rest[0]?.text ?? '')
  ) {
    classifyContainerCommand(rest, input, context);
  }
  classifyProgram(name, rest, input, context);
  return name;
}

function classifyNested(words: readonly Word[], input: Input, context: Context): string {
  if (context.depth >= maxNesting) {
    context.note('caution', 'it is nested too deeply to be read');
    return '';
  }
  return classifySegment(words, input, { ...context, depth: context.depth + 1 });
}

/** Takes keywords and assignments off the front. */
function stripLead(words: readonly Word[], context: Context): readonly Word[] {
  if (context.dialect !== 'posix') {
    const head = words[0]?.text ?? '';
    return context.dialect === 'powershell' && (head === '.' || head === '&') ? words.slice(1) : words;
  }
  let index = 0;
  for (; index < words.length; index += 1) {
    const word = words[index];
    if (!word) break;
    if (!word.quoted && leadingKeywords.has(word.text)) continue;
    if (!word.quoted && closingKeywords.has(word.text)) continue;
    if (!word.quoted && (word.text === 'for' || word.text === 'select' || word.text === 'case')) {
      if (word.text === 'case') context.note('caution', 'it chooses between commands');
      return [];
    }
    if (!word.quoted && word.text === 'function') {
      context.note('caution', 'it defines functions');
      index += 1;
      continue;
    }
    if (/^[A-Za-z_]\w*\+?=/.test(word.text)) classifyAssignment(word, context);
    else break;
  }
  return words.slice(index);
}

function classifyAssignment(word: Word, { note }: Context): void {
  const name = /^([A-Za-z_]\w*)\+?=/.exec(word.text)?.[1];
  if (name && !harmlessVariable.test(name)) note('caution', `it sets the variable ${name.slice(0, 40)}`);
}

function classifyInterpreter(
  name: string,
  { dialect, inline, takesRest }: Interpreter,
  rest: readonly Word[],
  input: Input,
  { depth, note }: Context,
): void {
  if (rest.length === 1 && /^--?version$/i.test(rest[0]?.text ?? '')) return;
  note('caution', name === 'su' ? 'runs with the rights of another user' : 'it starts a shell');
  if (fetched(rest)) note('dangerous', 'it runs what it fetched or decoded');
  if (dialect === 'powershell' && rest.some((word) => /^[-/]e(?:nc?|c|nco\w*)?$/i.test(word.text))) {
    note('dangerous', 'it runs an encoded command');
  }
  const at = rest.findIndex((word) => inline.test(word.text));
  if (at >= 0) {
    const line = rest.slice(at + 1, takesRest ? undefined : at + 2);
    if (line.some((word) => word.dynamic)) note('caution', 'it runs text that cannot be told beforehand');
    classifyText(joinWords(line), dialect, depth + 1, note);
    return;
  }
  if (takesRest && dialect === 'powershell' && rest.length > 0)
    classifyText(joinWords(rest.filter((word) => !/^[-/]/.test(word.text))), dialect, depth + 1, note);
  if (input.source) note('dangerous', 'it runs what it fetched or decoded');
  for (const document of input.documents) classifyText(document, dialect, depth + 1, note);
}

/** `find … -exec command ;` and its relatives. */
function classifyExec(rest: readonly Word[], input: Input, context: Context): void {
  for (let index = 0; index < rest.length; index += 1) {
    if (!/^(?:-(?:exec|ok)(?:dir)?|-x|-X|--exec(?:-batch)?)$/.test(rest[index]?.text ?? '')) continue;
    let end = index + 1;
    while (end < rest.length && rest[end]?.text !== ';' && rest[end]?.text !== '+') end += 1;
    const command = rest.slice(index + 1, end).map(fillIn);
    classifyNested(command, input, context);
    index = end;
  }
}

/** The command in `docker exec [options] container command …` is where a known program stands. */
function classifyContainerCommand(rest: readonly Word[], input: Input, context: Context): void {
  const separator = rest.findIndex((word) => word.text === '--');
  const known = (word: Word) => isKnown(programName(word.text));
  const start = separator >= 0 ? separator + 1 : rest.findIndex((word, index) => index >= 2 && known(word));
  if (start > 0) classifyNested(rest.slice(start), input, context);
}

function isKnown(name: string): boolean {
  return readers.has(name) || [rules, wrappers, interpreters].some((table) => Object.hasOwn(table, name));
}

function classifyProgram(
  name: string,
  rest: readonly Word[],
  input: Input,
  { dialect, note }: Context,
): void {
  const args = createArgs(rest, dialect, input.documents);
  const windows = dialect !== 'posix';
  const table: Record<string, readonly Rule[]> =
    windows && Object.hasOwn(windowsRules, name) ? windowsRules : rules;
  const shown = name.slice(0, 60);
  if (rest.some((word) => isSecretPath(word.text))) note('caution', `${shown}: may read or change secrets`);
  if (rest.some((word) => isNetworkPath(word.text)))
    note('dangerous', 'it opens a network connection by file name');
  if (name.startsWith('mkfs'))
    return note('dangerous', `${shown}: makes a new file system over what is there`);

  const known = Object.hasOwn(table, name)
    ? table[name]
    : Object.hasOwn(windowsRules, name)
      ? windowsRules[name]
      : undefined;
  const rule = known?.find((candidate) => candidate.when(args));
  if (rule) return note(rule.label, `${shown}: ${rule.reason}`);
  if (known) return note('caution', `${shown}: not understood`);
  if (windows && (windowsReaders.has(name) || (/^get-\w+$/.test(name) && !secretCmdlet.test(name)))) return;
  if (!windows && readers.has(name)) return;
  if (windows && /^(?:remove|uninstall|disable|clear|reset|stop|format)-\w+$/.test(name)) {
    return note('dangerous', `${shown}: removes or disables something`);
  }
  note('caution', `${shown}: not a program that is known to only read`);
}

const dangerousSinkReason = 'it writes to a device or a file of the operating system';

function classifyRedirect({ operator, target }: Redirect, { note }: Context): void {
  const path = target.text;
  if (isNetworkPath(path)) return note('dangerous', 'it opens a network connection by file name');
  if (operator.startsWith('<') && operator !== '<>') {
    if (isSecretPath(path)) note('caution', 'it reads secrets');
    return;
  }
  if (operator === '>&' && /^(?:\d+|-)$/.test(path)) return;
  // `2>&1` of the other dialects is cut at the ampersand.
  if (path === '' || isHarmlessSink(path)) return;
  if (isSystemPath(path)) return note('dangerous', dangerousSinkReason);
  if (/(?:^|\/)(?:authorized_keys|\.(?:bash|zsh)(?:rc|_profile|env)|\.profile)$/.test(path)) {
    return note('dangerous', 'it changes who may log in or what runs at login');
  }
  note('caution', 'it writes to a file');
}

function createArgs(words: readonly Word[], dialect: Dialect, documents: readonly string[]): Args {
  const all = words.map((word) => word.text);
  const line = [...all, ...documents].join(' ').toLowerCase();
  return {
    all,
    line,
    operands: all.filter((arg) => !/^-./.test(arg)),
    dynamic: words.some((word) => word.dynamic),
    has: (...options) => all.some((arg) => options.some((option) => isOption(arg, option, dialect))),
  };
}

function isOption(arg: string, option: string, dialect: Dialect): boolean {
  if (option.startsWith('--')) {
    // GNU programs take any unambiguous start of a long option.
    const name = arg.split('=', 1)[0] ?? '';
    return name === option || (name.length > 3 && name.startsWith('--') && option.startsWith(name));
  }
  if (dialect !== 'posix') return arg.toLowerCase() === option.toLowerCase();
  return /^-[a-z0-9]/i.test(arg) && arg.includes(option.slice(1), 1);
}

/** The bare name of a program: no folder, no `.exe`, lower case. */
function programName(text: string): string {
  const base = text.slice(Math.max(text.lastIndexOf('/'), text.lastIndexOf('\\')) + 1) || text;
  return base.toLowerCase().replace(/\.(?:exe|com|bat|cmd)$/, '');
}

function nameOf(segment: Segment): string {
  return programName(segment.words[0]?.text ?? '');
}

/** A substitution in these words fetches or decodes something. */
function fetched(words: readonly Word[]): boolean {
  return words.some((word) => word.inner.some((segment) => sources.has(nameOf(segment))));
}

/** What `xargs` appends and `find` puts in is not known: a variable stands for it. */
const unknownWord: Word = { text: '$input', dynamic: true, quoted: false, inner: [] };

function fillIn(word: Word): Word {
  if (!word.text.includes('{}')) return word;
  return { ...word, text: word.text.replaceAll('{}', unknownWord.text), dynamic: true };
}

function joinWords(words: readonly Word[]): string {
  return words.map((word) => word.text).join(' ');
}
