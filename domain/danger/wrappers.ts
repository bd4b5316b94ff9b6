import type { Dialect, Word } from './parse.ts';
import type { DangerLabel } from './rules.ts';

/** Programs that run other commands, and how to find those in their arguments. */

export interface Wrapper {
  /** Options that take the next argument as their value. */
  valued?: readonly string[];
  /** Operands that stand before the command: a time for `timeout`, a folder for `chroot`. */
  operands?: number;
  /** The wrapped words are joined and read as a command line of this dialect. */
  joined?: Dialect;
  /** The least label: what the wrapper itself adds. */
  atLeast?: { label: DangerLabel; reason: string };
}

const asRoot = { label: 'caution', reason: 'runs with the rights of another user' } as const;
const elsewhere = { label: 'caution', reason: 'runs inside of another machine or container' } as const;
const manyTimes = { label: 'caution', reason: 'runs once for each line of its input' } as const;

export const wrappers: Record<string, Wrapper> = {
  sudo: {
    valued: ['-u', '-g', '-h', '-p', '-C', '-D', '-R', '-T', '-U', '--user', '--group'],
    atLeast: asRoot,
  },
  doas: { valued: ['-u', '-C'], atLeast: asRoot },
  pkexec: { valued: ['--user'], atLeast: asRoot },
  runuser: { valued: ['-u', '-g'], atLeast: asRoot },
  env: { valued: ['-u', '-C', '--unset', '--chdir'] },
  nohup: {},
  setsid: {},
  time: { valued: ['-f', '-o'] },
  nice: { valued: ['-n', '--adjustment'] },
  ionice: { valued: ['-c', '-n', '-p'] },
  chrt: { operands: 1 },
  taskset: { operands: 1 },
  stdbuf: { valued: ['-i', '-o', '-e'] },
  timeout: { valued: ['-s', '-k', '--signal', '--kill-after'], operands: 1 },
  command: {},
  builtin: {},
  exec: { valued: ['-a'] },
  busybox: {},
  toybox: {},
  unbuffer: {},
  chroot: { operands: 1, atLeast: elsewhere },
  nsenter: {
    valued: ['-t', '--target'],
    atLeast: { label: 'dangerous', reason: 'enters another namespace' },
  },
  unshare: { atLeast: elsewhere },
  xargs: {
    valued: ['-n', '-P', '-I', '-L', '-d', '-a', '-E', '-s', '--max-args', '--max-procs', '--delimiter'],
    atLeast: { label: 'safe', reason: '' },
  },
  parallel: { valued: ['-j', '--jobs'], atLeast: manyTimes },
  watch: {
    valued: ['-n', '--interval'],
    joined: 'posix',
    atLeast: { label: 'caution', reason: 'does not end by itself' },
  },
  strace: { valued: ['-e', '-o', '-s', '-p'], atLeast: { label: 'caution', reason: 'traces a program' } },
  ltrace: { valued: ['-e', '-o', '-s', '-p'], atLeast: { label: 'caution', reason: 'traces a program' } },
  flock: { operands: 1, atLeast: { label: 'caution', reason: 'takes a lock' } },
  ssh: {
    valued: ['-i', '-p', '-l', '-o', '-F', '-J', '-L', '-R', '-D'],
    operands: 1,
    joined: 'posix',
    atLeast: elsewhere,
  },
  eval: { joined: 'posix' },
  trap: { joined: 'posix', atLeast: { label: 'caution', reason: 'runs later' } },
  alias: { joined: 'posix', atLeast: { label: 'caution', reason: 'gives commands another meaning' } },
  'start-process': { atLeast: { label: 'caution', reason: 'starts a program of its own' } },
  saps: { atLeast: { label: 'caution', reason: 'starts a program of its own' } },
  start: { atLeast: { label: 'caution', reason: 'starts a program of its own' } },
  'invoke-command': { atLeast: elsewhere },
};

export interface Interpreter {
  dialect: Dialect;
  /** Options whose next argument is a command line. */
  inline: RegExp;
  /** The command line is all that follows, not one argument. */
  takesRest: boolean;
}

const posixShell: Interpreter = { dialect: 'posix', inline: /^-[a-z]*c[a-z]*$/, takesRest: false };
const powershell: Interpreter = { dialect: 'powershell', inline: /^[-/](?:c|co\w*)$/i, takesRest: true };

export const interpreters: Record<string, Interpreter> = {
  sh: posixShell,
  bash: posixShell,
  rbash: posixShell,
  zsh: posixShell,
  dash: posixShell,
  ash: posixShell,
  ksh: posixShell,
  mksh: posixShell,
  fish: posixShell,
  csh: posixShell,
  tcsh: posixShell,
  su: posixShell,
  script: posixShell,
  pwsh: powershell,
  powershell,
  cmd: { dialect: 'cmd', inline: /^\/[ck]$/i, takesRest: true },
};

/** Other languages: input that is piped into them runs as well. */
export const codeRunners = new Set([
  'python',
  'perl',
  'ruby',
  'node',
  'php',
  'lua',
  'deno',
  'at',
  'batch',
  'xargs',
  'parallel',
]);

/** Words before which a shell expects another command. */
export const leadingKeywords = new Set([
  'if',
  'then',
  'elif',
  'else',
  'while',
  'until',
  'do',
  '!',
  '{',
  'coproc',
]);

/** Words that end a construct; they run nothing. */
export const closingKeywords = new Set(['fi', 'done', 'esac', '}', ']]', ';;']);

/** Words of a wrapper that belong to the wrapped command; empty when there is none. */
export function unwrap(wrapper: Wrapper, words: readonly Word[]): Word[] {
  let skip = wrapper.operands ?? 0;
  for (let index = 1; index < words.length; index += 1) {
    const word = words[index];
    if (!word) break;
    if (word.text === '--') return words.slice(index + 1 + skip);
    if (wrapper.valued?.includes(word.text)) index += 1;
    else if (word.text.startsWith('-') && word.text.length > 1) continue;
    else if (!word.quoted && /^[A-Za-z_]\w*=/.test(word.text)) continue;
    else if (skip > 0) skip -= 1;
    else return words.slice(index);
  }
  return [];
}
