import { findFiles, gitFiles, quote, readCounts, readTotal } from './commands.ts';
import type { FileKind, Goal } from './goals.ts';

/** What the planner does for each kind of goal: stages in order, each with alternatives, and a summary. */

export interface Attempt {
  command: string;
  reason: string;
  expectedEffect: string;
}

export interface StageResult {
  /** What really ran: an edited command where a person changed it. */
  command: string;
  stdout: string;
  exitCode: number | null;
}

export interface Stage {
  /** Commands to try, best first. They may use results of earlier stages. */
  attempts(results: readonly StageResult[]): Attempt[];
  /** Whether the output is of use, beyond exit code 0; absent: any output is. */
  accepts?(result: StageResult): boolean;
}

export interface Plan {
  stages: readonly Stage[];
  summarize(results: readonly StageResult[]): { success: boolean; summary: string };
  /** The commands are meant for any shell (they are the user's own). */
  anyShell?: boolean;
}

type Planner<Kind extends Goal['kind']> = (goal: Extract<Goal, { kind: Kind }>) => Plan;

const planners: { [Kind in Goal['kind']]: Planner<Kind> } = {
  literal: ({ commands }) => ({
    anyShell: true,
    stages: commands.map((command, index) => ({
      attempts: () => [
        attempt(
          command,
          `the task asks for this command (${index + 1} of ${commands.length})`,
          'whatever the command does',
        ),
      ],
    })),
    summarize: (results) => ({
      success: true,
      summary: results
        .map(({ command, stdout }) => `"${command}" ended with exit code 0${lastLine(stdout)}.`)
        .join(' '),
    }),
  }),

  largest: ({ count, files, countLines }) => ({
    stages: [
      {
        attempts: () => listBySize(files, count),
        accepts: ({ stdout }) => readCounts(stdout).length > 0,
      },
      ...(countLines
        ? [{ attempts: countLinesOfFound, accepts: ({ stdout }: StageResult) => lineTotal(stdout) !== null }]
        : []),
    ],
    summarize: ([sizes, lines]) => {
      const found = readCounts(sizes?.stdout ?? '');
      const linesOf = new Map(
        readCounts(lines?.stdout ?? '').map(({ path, count: counted }) => [path, counted]),
      );
      const rows = found.map(({ path, count: bytes }) => {
        const counted = linesOf.get(path);
        return `${path} (${bytes} bytes${counted === undefined ? '' : `, ${counted} lines`})`;
      });
      const total = lines ? ` Together they have ${lineTotal(lines.stdout)} lines.` : '';
      return {
        success: true,
        summary: `The ${found.length} largest ${files.label}: ${rows.join(', ')}.${total}`,
      };
    },
  }),

  'count-lines': ({ files }) =>
    number(`lines of ${files.label}`, [
      attempt(
        `${gitFiles(files)} | xargs -0 cat -- | wc -l`,
        `counts the lines of ${files.label} that git knows`,
        'prints one number',
      ),
      attempt(
        `${findFiles(files)} -exec cat {} + | wc -l`,
        `counts the lines of all ${files.label} below this folder`,
        'prints one number',
      ),
    ]),

  'count-files': ({ files }) =>
    number(files.label, [
      attempt(
        `${gitFiles(files)} | tr -cd '\\000' | wc -c`,
        `counts the ${files.label} that git knows`,
        'prints one number',
      ),
      attempt(
        `${findFiles(files)} -print0 | tr -cd '\\000' | wc -c`,
        `counts all ${files.label} below this folder`,
        'prints one number',
      ),
    ]),

  search: ({ text }) => ({
    stages: [
      {
        attempts: () => [
          attempt(
            `git grep -n -I -F -e ${quote(text)} | head -n 50`,
            'searches the files that git knows',
            'prints up to 50 places',
          ),
          attempt(
            `grep -rnIF --exclude-dir=node_modules --exclude-dir=.git -e ${quote(text)} . | head -n 50`,
            'searches all files below this folder',
            'prints up to 50 places',
          ),
        ],
        // The pipe hides a failure of git (no repository), so its silence proves nothing.
        accepts: ({ command, stdout }) => stdout !== '' || !command.startsWith('git '),
      },
    ],
    summarize: ([result]) => {
      const places = (result?.stdout ?? '').split('\n').filter(Boolean);
      const shown = places.slice(0, 5).map((line) => line.slice(0, 160));
      return {
        success: true,
        summary:
          places.length === 0
            ? `"${text}" was not found.`
            : `"${text}" was found in ${places.length} places (at most 50 were asked for): ${shown.join(' | ')}`,
      };
    },
  }),

  disk: () => show('disk usage', ['df -h', 'df -k']),
  memory: () => show('memory', ['free -m', 'cat /proc/meminfo', 'vm_stat']),
  uptime: () => show('uptime and load', ['uptime', 'cat /proc/uptime /proc/loadavg']),
  processes: () => show('running processes', ['ps aux | head -n 20', 'ps -ef | head -n 20', 'ps']),
  list: ({ path }) => show(`contents of ${path}`, [`ls -la -- ${quote(path)}`, `ls -- ${quote(path)}`]),

  unknown: () => ({
    stages: [
      {
        attempts: () => [
          attempt(
            'uname -a; pwd; ls',
            'no rule for this goal is known, so it only looks where it is',
            'prints system, folder and files',
          ),
          attempt('pwd', 'no rule for this goal is known, so it only looks where it is', 'prints the folder'),
        ],
      },
    ],
    summarize: ([result]) => ({
      success: false,
      summary: `The mock model cannot plan this goal: it only knows a few simple ones. It looked at the machine${lastLine(result?.stdout ?? '')}. Set ANTHROPIC_API_KEY for a real model, or give commands in backticks.`,
    }),
  }),
};

export function planFor(goal: Goal): Plan {
  // The table is typed per kind; the compiler cannot see that key and argument have the same one.
  return (planners[goal.kind] as (goal: Goal) => Plan)(goal);
}

function listBySize(files: FileKind, count: number): Attempt[] {
  const largest = `grep -v ' total$' | sort -rn | head -n ${count}`;
  const effect = `prints size and name of the ${count} largest ${files.label}`;
  return [
    attempt(
      `${gitFiles(files)} | xargs -0 wc -c -- | ${largest}`,
      `lists the ${files.label} that git knows by size`,
      effect,
    ),
    attempt(
      `${findFiles(files)} -exec wc -c {} + | ${largest}`,
      `lists all ${files.label} below this folder by size`,
      effect,
    ),
  ];
}

/** Counts exactly the files that the first stage printed. */
function countLinesOfFound([sizes]: readonly StageResult[]): Attempt[] {
  const paths = readCounts(sizes?.stdout ?? '').map(({ path }) => quote(path));
  const reason = `counts the lines of the ${paths.length} files found in the step before`;
  return [
    attempt(`wc -l -- ${paths.join(' ')}`, reason, 'prints the lines of each file and their total'),
    attempt(`cat -- ${paths.join(' ')} | wc -l`, reason, 'prints the total'),
  ];
}

/** `wc` prints no total for a single file. */
function lineTotal(output: string): number | null {
  const rows = readCounts(output);
  return readTotal(output) ?? (rows.length === 1 ? (rows[0]?.count ?? null) : null);
}

function number(what: string, attempts: Attempt[]): Plan {
  return {
    stages: [{ attempts: () => attempts, accepts: ({ stdout }) => (readTotal(stdout) ?? 0) > 0 }],
    summarize: ([result]) => ({
      success: true,
      summary: `There are ${readTotal(result?.stdout ?? '')} ${what}.`,
    }),
  };
}

function show(what: string, commands: readonly string[]): Plan {
  return {
    stages: [
      {
        attempts: () =>
          commands.map((command) => attempt(command, `shows the ${what}`, `prints the ${what}`)),
      },
    ],
    summarize: ([result]) => ({
      success: true,
      summary: `The ${what}:\n${(result?.stdout ?? '').trim().slice(0, 2000)}`,
    }),
  };
}

function attempt(command: string, reason: string, expectedEffect: string): Attempt {
  return { command, reason, expectedEffect };
}

function lastLine(output: string): string {
  const line = output.trim().split('\n').at(-1)?.slice(0, 200);
  return line ? ` and printed "${line}"` : '';
}
