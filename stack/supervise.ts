/**
 * Runs the programs of one installation together: starts them in order, each when the one before is ready, and ends
 * them in the reverse order.
 *
 * A. `done` resolves once, when everything has ended, and says who ended first without being asked.
 * B. A program that ends by itself ends all others.
 */
import type { StackLog } from './log-port.ts';
import {
  describeEnd,
  type ProcessEnd,
  type RunningProcess,
  startProcess,
  waitUntilReady,
} from './processes.ts';

const DEFAULT_READY_TIMEOUT_MS = 60_000;
const HTTP_TIMEOUT_MS = 2_000;

export interface ProgramSpec {
  /** Short name: api, worker, agent. */
  name: string;
  command: string;
  args: readonly string[];
  /** The whole environment of the program. */
  env: Record<string, string>;
  cwd?: string;
  /** What shows that it is ready: a line of output, or an address that answers 2xx. Default: it runs. */
  ready?: { line: RegExp } | { url: string };
  /** Default 60 s. */
  readyTimeoutMs?: number;
  /** Default 15 s. */
  stopTimeoutMs?: number;
  /** Hears every line of output. */
  onLine?: (line: string) => void;
}

export interface SupervisedEnd {
  /** Name of the program that ended without being asked; null when `stop()` was called first. */
  failed: string | null;
  end: ProcessEnd | null;
}

export interface Supervisor {
  /** Starts a program and waits until it is ready; gives the match of its readiness line, if that was asked for. */
  start(spec: ProgramSpec): Promise<RegExpMatchArray | null>;
  /** Numbers of the running programs by name. */
  pids(): Record<string, number>;
  readonly done: Promise<SupervisedEnd>;
  /** Ends all in reverse order; idempotent. */
  stop(): Promise<void>;
}

export function createSupervisor({ log }: { log: StackLog }): Supervisor {
  const running: RunningProcess[] = [];
  let failure: SupervisedEnd | null = null;
  let stopping: Promise<void> | null = null;
  let settle: (end: SupervisedEnd) => void = () => {};
  const done = new Promise<SupervisedEnd>((resolve) => {
    settle = resolve;
  });

  function stop(): Promise<void> {
    stopping ??= stopAll().then(() => settle(failure ?? { failed: null, end: null }));
    return stopping;
  }

  async function stopAll(): Promise<void> {
    for (let child = running.pop(); child !== undefined; child = running.pop()) {
      const startedAt = Date.now();
      const end = await child.stop();
      log.info({ event: 'program_stopped', program: child.name, ...end, durationMs: Date.now() - startedAt });
    }
  }

  function watch(child: RunningProcess): void {
    void child.done.then((end) => {
      if (end.expected || stopping !== null) return;
      failure ??= { failed: child.name, end };
      const fields = { event: 'program_failed', program: child.name, code: end.code, signal: end.signal };
      log.warn(fields, `${child.name} ${describeEnd(end)}\n${child.tail()}`);
      void stop(); // B
    });
  }

  return {
    done,
    stop,
    pids: () => Object.fromEntries(running.map((child) => [child.name, child.pid])),
    async start(spec) {
      if (stopping !== null) throw new Error(`${spec.name} was not started: the others are being stopped`);
      const readiness = createReadiness(spec);
      const child = await startProcess({ ...spec, output: { onLine: readiness.onLine } });
      if (stopping !== null) {
        await child.stop();
        throw new Error(`${spec.name} was stopped with the others`);
      }
      running.push(child);
      try {
        await waitUntilReady(child, readiness.isReady, {
          timeoutMs: spec.readyTimeoutMs ?? DEFAULT_READY_TIMEOUT_MS,
        });
      } catch (error) {
        if (stopping === null) failure ??= { failed: spec.name, end: null };
        await stop();
        throw error;
      }
      watch(child);
      log.info({ event: 'program_started', program: spec.name, pid: child.pid });
      return readiness.match();
    },
  };
}

function createReadiness({ ready, onLine }: ProgramSpec) {
  let match: RegExpMatchArray | null = null;
  return {
    onLine(line: string) {
      if (ready !== undefined && 'line' in ready) match ??= line.match(ready.line);
      onLine?.(line);
    },
    async isReady(): Promise<boolean> {
      if (ready === undefined) return true;
      return 'line' in ready ? match !== null : answers(ready.url);
    },
    match: () => match,
  };
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(HTTP_TIMEOUT_MS) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
