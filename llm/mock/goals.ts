/** Reads a goal in plain English into one of the few things the mock planner can do. */

export type Goal =
  | { kind: 'literal'; commands: string[] }
  | { kind: 'largest'; count: number; files: FileKind; countLines: boolean }
  | { kind: 'count-lines'; files: FileKind }
  | { kind: 'count-files'; files: FileKind }
  | { kind: 'search'; text: string }
  | { kind: 'disk' }
  | { kind: 'memory' }
  | { kind: 'uptime' }
  | { kind: 'processes' }
  | { kind: 'list'; path: string }
  | { kind: 'unknown' };

/** Which files are meant: a name for people and the endings; no endings = every file. */
export interface FileKind {
  label: string;
  extensions: readonly string[];
}

const languages: Record<string, readonly string[]> = {
  typescript: ['ts', 'tsx', 'mts', 'cts'],
  javascript: ['js', 'jsx', 'mjs', 'cjs'],
  python: ['py'],
  rust: ['rs'],
  golang: ['go'],
  java: ['java'],
  ruby: ['rb'],
  shell: ['sh', 'bash'],
  sql: ['sql'],
  markdown: ['md'],
  json: ['json'],
  yaml: ['yaml', 'yml'],
};

const sourceExtensions =
  'ts tsx mts js jsx mjs cjs py go rs java kt c h cpp hpp cs rb php swift sh sql vue css html'.split(' ');

const numberWords: Record<string, number> = {
  one: 1,
  two: 2,
  three: 3,
  four: 4,
  five: 5,
  six: 6,
  seven: 7,
  eight: 8,
  nine: 9,
  ten: 10,
  dozen: 12,
  twenty: 20,
};

/** Files listed when the goal names no number. */
const defaultCount = 5;

/** Most files listed, so that the next command line stays short. */
const maxCount = 50;

interface GoalRule {
  pattern: RegExp;
  read(goal: string, match: RegExpMatchArray): Goal | undefined;
}

/** Asked in order; the first that matches and can be read wins. */
const goalRules: readonly GoalRule[] = [
  { pattern: /`[^`]+`/, read: readQuotedCommands },
  {
    pattern: /^\s*(?:please\s+)?(?:run|execute|command)\s*:\s*(.+)$/is,
    read: (_goal, match) => literal(splitThen(match[1] ?? '')),
  },
  {
    pattern: /\b(?:largest|biggest|longest)\b/i,
    read: (goal) => ({
      kind: 'largest',
      count: readCount(goal),
      files: readFileKind(goal),
      countLines: /\blines?\b/i.test(goal),
    }),
  },
  {
    pattern: /\b(?:count|how many|number of|total)\b.*\blines?\b/i,
    read: (goal) => ({ kind: 'count-lines', files: readFileKind(goal) }),
  },
  {
    pattern: /\b(?:count|how many|number of)\b.*\bfiles?\b/i,
    read: (goal) => ({ kind: 'count-files', files: readFileKind(goal) }),
  },
  {
    pattern:
      /\b(?:search|grep|look|find)\b.*?(?:\bfor\b|\bcontain\w*|\bmention\w*)\s+(?:the\s+)?(?:text|word|string)?\s*(?:"([^"]+)"|'([^']+)'|(\S+))/i,
    read: (_goal, match) => ({ kind: 'search', text: match[1] ?? match[2] ?? match[3] ?? '' }),
  },
  {
    pattern: /\bdisks?\b|\bfile ?systems?\b|\b(?:free|used) space\b|\bstorage\b/i,
    read: () => ({ kind: 'disk' }),
  },
  { pattern: /\bmemory\b|\bram\b/i, read: () => ({ kind: 'memory' }) },
  { pattern: /\buptime\b|\bload\b|\bhow long\b.*\b(?:up|running)\b/i, read: () => ({ kind: 'uptime' }) },
  { pattern: /\bprocess(?:es)?\b/i, read: () => ({ kind: 'processes' }) },
  {
    pattern:
      /\b(?:list|show)\b.*?\b(?:files|directory|folder|contents?)\b(?:.*?\b(?:in|of|under)\s+((?:\/|\.{1,2}\/|~\/)\S*))?/i,
    read: (_goal, match) => ({ kind: 'list', path: match[1]?.replace(/[.,;!?]+$/, '') || '.' }),
  },
];

/** Never throws; a goal that no rule reads is `unknown`. */
export function readGoal(goal: string): Goal {
  for (const rule of goalRules) {
    const match = goal.match(rule.pattern);
    const read = match ? rule.read(goal, match) : undefined;
    if (read) return read;
  }
  return { kind: 'unknown' };
}

/** Commands in backticks, in the order written, when the goal asks to run them (or is nothing else). */
function readQuotedCommands(goal: string): Goal | undefined {
  const asked = /\b(?:run|execute|runs|try|start|use|call)\b/i.test(goal.replace(/`[^`]*`/g, ' '));
  if (!asked && !/^\s*`[^`]+`\s*$/.test(goal)) return undefined;
  return literal([...goal.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ''));
}

function splitThen(text: string): string[] {
  return text.split(/\s*[,;]?\s+(?:and\s+)?then\s+(?:run\s*:?\s+)?/i);
}

function literal(commands: string[]): Goal | undefined {
  const trimmed = commands.map((command) => command.trim()).filter(Boolean);
  return trimmed.length > 0 ? { kind: 'literal', commands: trimmed } : undefined;
}

function readCount(goal: string): number {
  const digits = /\b(\d{1,4})\b/.exec(goal)?.[1];
  const word = goal
    .toLowerCase()
    .match(/[a-z]+/g)
    ?.find((candidate) => Object.hasOwn(numberWords, candidate));
  const count = digits
    ? Number(digits)
    : word
      ? (numberWords[word] ?? defaultCount)
      : /\b(?:largest|biggest|longest)\s+\w*\s*file\b/i.test(goal)
        ? 1
        : defaultCount;
  return Math.min(Math.max(1, count), maxCount);
}

function readFileKind(goal: string): FileKind {
  const dotted = /(?:\*?\.)([a-z0-9]{1,8})\s+files?\b/i.exec(goal)?.[1];
  if (dotted) return { label: `.${dotted} files`, extensions: [dotted] };
  const language = Object.keys(languages).find((name) => new RegExp(`\\b${name}\\b`, 'i').test(goal));
  if (language) return { label: `${language} files`, extensions: languages[language] ?? [] };
  if (/\bsources?\b|\bcode\b/i.test(goal)) return { label: 'source files', extensions: sourceExtensions };
  return { label: 'files', extensions: [] };
}
