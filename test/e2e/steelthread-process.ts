/** `steelthread …` as a process of its own, the way a user starts it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const bin = join(import.meta.dirname, '..', '..', 'bin', 'steelthread.js');

export interface SteelthreadProcess {
  readonly stdout: string;
  readonly stderr: string;
  /** Resolves to what `pattern` matched in the output of both streams. @throws with the output when it ends before */
  waitFor(pattern: RegExp, timeoutMs: number): Promise<RegExpMatchArray>;
  signal(name: NodeJS.Signals): void;
  /** Resolves to the exit code. @throws with the output after `timeoutMs`, and kills it */
  end(timeoutMs: number): Promise<number | null>;
}

/** @param options.env on top of what programs need of this machine */
export function startSteelthread(
  args: string[],
  options: { cwd: string; env: Record<string, string> },
): SteelthreadProcess {
  const { PATH = '', HOME = '', GOPROXY, XDG_CACHE_HOME, STEELTHREAD_CACHE, TEMPORAL_CLI_PATH } = process.env;
  const machine = { PATH, HOME, GOPROXY, XDG_CACHE_HOME, STEELTHREAD_CACHE, TEMPORAL_CLI_PATH };
  const child: ChildProcess = spawn(process.execPath, [bin, ...args], {
    cwd: options.cwd,
    env: { ...machine, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  const listeners = new Set<() => void>();
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream]?.setEncoding('utf8').on('data', (text: string) => {
      output[stream] += text;
      for (const listener of listeners) listener();
    });
  }
  const closed = once(child, 'close').then(([code]) => code as number | null);
  const all = (): string => `${output.stdout}\n${output.stderr}`;

  return {
    get stdout() {
      return output.stdout;
    },
    get stderr() {
      return output.stderr;
    },
    waitFor(pattern, timeoutMs) {
      return new Promise((resolve, reject) => {
        const look = (): void => {
          const match = all().match(pattern);
          if (match !== null) settle(() => resolve(match));
        };
        const settle = (finish: () => void): void => {
          clearTimeout(timer);
          listeners.delete(look);
          finish();
        };
        const fail = (why: string): void =>
          settle(() => reject(new Error(`${why} before ${pattern} came:\n${all()}`)));
        const timer = setTimeout(() => fail(`${timeoutMs} ms passed`), timeoutMs);
        void closed.then((code) => fail(`it ended with code ${code}`));
        listeners.add(look);
        look();
      });
    },
    signal: (name) => void child.kill(name),
    async end(timeoutMs) {
      let isLate = false;
      const timer = setTimeout(() => {
        isLate = true;
        child.kill('SIGKILL');
      }, timeoutMs);
      const code = await closed;
      clearTimeout(timer);
      if (isLate) throw new Error(`it had not ended after ${timeoutMs} ms:\n${all()}`);
      return code;
    },
  };
}
