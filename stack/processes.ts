/**
 * Child processes of the stack.
 *
 * A. A child is the leader of its own session, so Ctrl-C reaches this process alone and shutdown keeps its order.
 * B. A child never outlives this process: a guard (a tiny shell waiting on a pipe only we hold) stops it when we are
 *    killed. Windows has no such shell; there, children that outlive us are left to the user.
 * C. Stopping is polite first, then final, and always over when `stop()` resolves.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readSync, statSync, truncateSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { untilAborted } from './until-aborted.ts';

const TAIL_LINES = 30;
const TAIL_BYTES = 4096;
const MAX_LOG_FILE_BYTES = 16 * 1024 * 1024;
const OUTPUT_GRACE_MS = 500;
const DEFAULT_STOP_TIMEOUT_MS = 15_000;

export const PASSED_FOLDER_FD = 3;

export interface ProcessSpec {
  /** What people call it; used in messages. */
  name: string;
  command: string;
  args: readonly string[];
  /** The whole environment of the child: nothing is inherited. */
  env: Record<string, string>;
  cwd?: string;
  /** Folder to open for the child as descriptor `PASSED_FOLDER_FD`: it may use it where it may not enter the path. */
  passFolder?: string;
  /** User to run as; only root may set it. */
  user?: { uid: number; gid: number };
  /** Output goes to a file that outlives us, or line by line to a function. */
  output: { file: string } | { onLine: (line: string) => void };
  /** Signal of a polite stop; default SIGTERM. */
  stopSignal?: NodeJS.Signals;
  /** The stop signal goes to everything the child has started as well; default: to the child alone. */
  stopsSession?: boolean;
  /** How long a polite stop may take before SIGKILL to the whole session; default 15 s. */
  stopTimeoutMs?: number;
  /** Folder to delete after the child has ended, also when we are killed. Only for folders made for this run. */
  temporaryFolder?: string;
}

export interface ProcessEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** True when `stop()` asked for it. */
  expected: boolean;
}

export interface RunningProcess {
  readonly name: string;
  readonly pid: number;
  /** Resolves when the child has ended; never rejects. */
  readonly done: Promise<ProcessEnd>;
  /** Last lines of the output. */
  tail(): string;
  /** Idempotent; resolves when the child has ended. */
  stop(): Promise<ProcessEnd>;
}

/** Starts a child. @throws when it cannot be started at all (no such program, not allowed) */
export async function startProcess(spec: ProcessSpec): Promise<RunningProcess> {
  const logFd = 'file' in spec.output ? openLogFile(spec.output.file) : null;
  const folderFd = spec.passFolder === undefined ? null : openSync(spec.passFolder, 'r');
  const child = spawn(spec.command, [...spec.args], {
    cwd: spec.cwd,
    env: spec.env,
    detached: true, // A
    stdio: ['ignore', logFd ?? 'pipe', logFd ?? 'pipe', folderFd ?? 'ignore'],
    ...spec.user,
  });
  for (const fd of [logFd, folderFd]) if (fd !== null) closeSync(fd);
  const pid = await waitForPid(child, spec);
  const guard = startGuard(pid, spec); // B
  const readTail =
    'file' in spec.output ? tailOfFile(spec.output.file) : collectLines(child, spec.output.onLine);

  let stopping: Promise<ProcessEnd> | null = null;
  // Not 'close' alone: a grandchild that keeps our pipes open must not keep a dead child alive for us.
  const done = new Promise<ProcessEnd>((resolve) => {
    child.once('exit', (code, signal) => {
      void Promise.all([guard.dismiss(), outputEnd(child)]).then(() => {
        resolve({ code, signal, expected: stopping !== null });
      });
    });
  });

  const stop = async () => {
    const stopSignal = spec.stopSignal ?? 'SIGTERM';
    if (spec.stopsSession === true) signalSession(pid, stopSignal);
    else child.kill(stopSignal);
    const timer = setTimeout(
      () => signalSession(pid, 'SIGKILL'),
      spec.stopTimeoutMs ?? DEFAULT_STOP_TIMEOUT_MS,
    ); // C
    try {
      return await done;
    } finally {
      clearTimeout(timer);
    }
  };

  return {
    name: spec.name,
    pid,
    done,
    tail: readTail,
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
}

/** What a child ended with, as a phrase: `ended with code 1`. */
export function describeEnd({ code, signal }: ProcessEnd): string {
  return signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
}

/** How a child ended that has work to do; it is stopped when that takes longer than `timeoutMs`, or `signal` aborts. */
export async function waitForEnd(
  child: RunningProcess,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal },
): Promise<ProcessEnd> {
  const giveUp = (): void => void child.stop();
  const timer = setTimeout(giveUp, timeoutMs);
  signal?.addEventListener('abort', giveUp);
  if (signal?.aborted === true) giveUp();
  const end = await child.done;
  signal?.removeEventListener('abort', giveUp);
  clearTimeout(timer);
  return end;
}

/**
 * Waits until `isReady` answers true, looking every `intervalMs`.
 * @throws with the last lines of output when the child ends first or the deadline passes; the reason of `signal`, at
 *   once; the child is left to whoever started it
 */
export async function waitUntilReady(
  child: RunningProcess,
  isReady: () => Promise<boolean>,
  { timeoutMs, intervalMs = 50, signal }: { timeoutMs: number; intervalMs?: number; signal?: AbortSignal },
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  let end: ProcessEnd | undefined;
  void child.done.then((value) => {
    end = value;
  });
  while (!(await untilAborted(isReady(), signal))) {
    if (end !== undefined) throw new Error(`${child.name} ${describeEnd(end)} at its start\n${child.tail()}`);
    if (Date.now() > deadline)
      throw new Error(`${child.name} was not ready after ${timeoutMs} ms\n${child.tail()}`);
    await untilAborted(delay(intervalMs), signal);
  }
}

export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/**
 * Runs a short program to its end and gives its output; ends it at the deadline (code null).
 * @throws when it cannot be started; the reason of `signal`, which ends it
 */
export function runCommand(
  command: string,
  args: readonly string[],
  options: { env: Record<string, string>; timeoutMs: number; signal?: AbortSignal } & Pick<
    ProcessSpec,
    'cwd' | 'user' | 'passFolder'
  >,
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const folderFd = options.passFolder === undefined ? null : openSync(options.passFolder, 'r');
    const child = spawn(command, [...args], {
      env: options.env,
      cwd: options.cwd,
      ...options.user,
      stdio: ['ignore', 'pipe', 'pipe', folderFd ?? 'ignore'],
      timeout: options.timeoutMs,
      killSignal: 'SIGKILL',
      signal: options.signal,
    });
    if (folderFd !== null) closeSync(folderFd);
    const output = { stdout: '', stderr: '' };
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output.stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      output.stderr += text;
    });
    child.once('error', (error) => reject(options.signal?.aborted ? options.signal.reason : error));
    child.once('close', (code) => resolve({ code, ...output }));
  });
}

function waitForPid(child: ChildProcess, spec: ProcessSpec): Promise<number> {
  return new Promise((resolve, reject) => {
    if (child.pid !== undefined) resolve(child.pid);
    child.once('error', (cause) => {
      reject(
        new Error(`${spec.name} could not be started from ${spec.command}: ${cause.message}`, { cause }),
      );
    });
  });
}

/**
 * B. Reads its standard input: a line means all is well; the end without one means that we are gone. Then it stops the
 * child politely, waits up to 20 s, kills the session, and removes the temporary folder.
 */
const GUARD_SCRIPT = `
read -r word && exit 0
kill -s "$2" "$1" 2>/dev/null
n=0
while kill -0 "$1" 2>/dev/null && [ $n -lt 100 ]; do sleep 0.2; n=$((n+1)); done
kill -s KILL -- "-$1" 2>/dev/null
if [ -n "$3" ]; then rm -rf -- "$3"; fi
`;

function startGuard(pid: number, spec: ProcessSpec): { dismiss(): Promise<void> } {
  if (process.platform === 'win32') return { dismiss: async () => {} };
  const signal = (spec.stopSignal ?? 'SIGTERM').replace('SIG', '');
  const guard = spawn(
    '/bin/sh',
    ['-c', GUARD_SCRIPT, 'guard', String(pid), signal, spec.temporaryFolder ?? ''],
    {
      env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    },
  );
  const ended = new Promise<void>((resolve) => {
    guard.once('close', () => resolve());
    guard.once('error', () => resolve());
  });
  guard.stdin?.on('error', () => {}); // The guard may have been killed; there is nobody left to tell.
  return {
    dismiss() {
      guard.stdin?.end('fine\n');
      return ended;
    },
  };
}

/** Resolves when the output of an ended child was read, at the latest after half a second. */
function outputEnd(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      child.stdout?.destroy();
      child.stderr?.destroy();
      resolve();
    };
    const timer = setTimeout(finish, OUTPUT_GRACE_MS);
    child.once('close', finish);
  });
}

function signalSession(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, signal);
  } catch {
    // Already gone.
  }
}

function openLogFile(file: string): number {
  mkdirSync(dirname(file), { recursive: true });
  if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) > MAX_LOG_FILE_BYTES) truncateSync(file);
  return openSync(file, 'a', 0o600);
}

function tailOfFile(file: string): () => string {
  return () => {
    const fd = openSync(file, 'r');
    try {
      const size = statSync(file).size;
      const buffer = Buffer.alloc(Math.min(size, TAIL_BYTES));
      readSync(fd, buffer, 0, buffer.length, size - buffer.length);
      return buffer.toString('utf8').split('\n').slice(-TAIL_LINES).join('\n').trim();
    } finally {
      closeSync(fd);
    }
  };
}

function collectLines(child: ChildProcess, onLine: (line: string) => void): () => string {
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on('line', (line) => {
      lines.push(line);
      if (lines.length > TAIL_LINES) lines.shift();
      onLine(line);
    });
  }
  return () => lines.join('\n');
}
