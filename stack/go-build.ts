/** Builds a Go program in a folder of its own, and says how far it is. */
import { join } from 'node:path';
import type { StackLog } from './log-port.ts';
import { startProcess, waitForEnd } from './processes.ts';

const BUILD_TIMEOUT_MS = 30 * 60_000;
const PROGRESS_INTERVAL_MS = 10_000;
const MAX_NAME_LENGTH = 80;

export interface GoBuild {
  log: StackLog;
  /** What `go install` is to install: a package path with a version. */
  target: string;
  /** Everything goes in here; it has to be there. The programs are in its `bin`. */
  work: string;
  env: Record<string, string>;
  /** How many packages there are to compile, about: so that people see how far it is. */
  packageCount: number;
  signal?: AbortSignal;
  /** Time between two lines of progress, milliseconds; default 10 s. */
  progressIntervalMs?: number;
}

/** @throws with the last lines of output; the reason of `signal`, once everything the build has started is ended */
export async function buildWithGo(build: GoBuild): Promise<void> {
  const { log, target, work, env, signal } = build;
  const progress = createBuildProgress(build.packageCount);
  const startedAt = Date.now();
  signal?.throwIfAborted();
  const go = await startProcess({
    name: 'go install',
    command: 'go',
    args: ['install', '-v', '-ldflags=-s -w', target],
    env: {
      ...env,
      // Its own module and build caches (3 GB), deleted after, with files that may be deleted.
      GOPATH: join(work, 'gopath'),
      GOCACHE: join(work, 'gocache'),
      GOTMPDIR: work,
      GOBIN: join(work, 'bin'),
      GOFLAGS: `${env.GOFLAGS ?? ''} -modcacherw`.trim(),
      CGO_ENABLED: '0',
    },
    cwd: work,
    temporaryFolder: work,
    // Asked politely, go waits for its compilers or leaves them behind; and nothing here is worth keeping.
    stopSignal: 'SIGKILL',
    stopsSession: true,
    output: { onLine: progress.onLine },
  });
  const ticker = setInterval(() => {
    const message = `Temporal: still building, ${elapsed(startedAt)}: ${progress.describe()}`;
    log.info({ event: 'temporal_cli_building' }, message);
  }, build.progressIntervalMs ?? PROGRESS_INTERVAL_MS);
  const end = await waitForEnd(go, { timeoutMs: BUILD_TIMEOUT_MS, signal });
  clearInterval(ticker);
  signal?.throwIfAborted();
  if (end.code !== 0)
    throw new Error(`go install ended with ${end.code ?? end.signal}: ${go.tail().slice(-600)}`);
}

/**
 * Reads what `go install -v` says: `go: downloading <module> <version>`, then the path of each package as its compiler
 * starts. The last package it names is the program itself, which is linked then.
 */
export function createBuildProgress(packageCount: number): {
  onLine(line: string): void;
  describe(): string;
} {
  let modules = 0;
  let packages = 0;
  let latest = '';
  return {
    onLine(line) {
      const module = /^go: downloading (\S+)/.exec(line)?.[1];
      const isPackage = /^[\w.~/-]+$/.test(line);
      if (module !== undefined) modules += 1;
      if (isPackage) packages += 1;
      if (module !== undefined || isPackage) latest = (module ?? line).slice(0, MAX_NAME_LENGTH);
    },
    describe() {
      if (packages > 0) return `${packages} of about ${packageCount} packages compiled, now ${latest}`;
      return modules > 0 ? `${modules} modules downloaded, now ${latest}` : 'looking up modules';
    },
  };
}

/** Time since `startedAt` (milliseconds), for people. */
export function elapsed(startedAt: number): string {
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
