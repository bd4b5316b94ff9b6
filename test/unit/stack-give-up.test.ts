/** A start that is given up: everything it has started ends, and nothing more is started. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isAlive } from '../../agent/proc.ts';
import { inheritedEnvironment } from '../../config.ts';
import { buildWithGo, createBuildProgress } from '../../stack/go-build.ts';
import { takeLock, waitForLock } from '../../stack/lock.ts';
import { MACHINE_VARIABLES, type StackLog } from '../../stack/log-port.ts';
import { startPostgres } from '../../stack/postgres.ts';
import { runCommand, startProcess, waitUntilReady } from '../../stack/processes.ts';
import { createSupervisor } from '../../stack/supervise.ts';
import { startTemporal } from '../../stack/temporal.ts';
import { findTemporalCli } from '../../stack/temporal-cli.ts';

const silent: StackLog = { info() {}, warn() {} };
const reason = new Error('given up by the test');

let root = '';
let controller = new AbortController();

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'steelthread-give-up-'));
  controller = new AbortController();
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

async function waitUntil(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** The numbers of processes that a program of `script` has written. */
async function readPids(): Promise<number[]> {
  await waitUntil(() => existsSync(join(root, 'pids')));
  return readFileSync(join(root, 'pids'), 'utf8').trim().split(' ').map(Number);
}

/** A shell line that writes the number of its process, and never ends. */
const hang = (): string => `PATH=/usr/bin:/bin; ${writePids('$$')}; exec sleep 600`;

/** The same, in a process and another one that it has started. */
const hangTwice = (): string => `PATH=/usr/bin:/bin; sleep 600 & ${writePids('$$ $!')}; wait`;

function writePids(numbers: string): string {
  return `echo ${numbers} > '${root}/pids.new'; mv '${root}/pids.new' '${root}/pids'`;
}

function program(name: string, script: string): string {
  const file = join(root, 'bin', name);
  mkdirSync(join(root, 'bin'), { recursive: true });
  writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return file;
}

/** A machine without Temporal, with a Go whose `install` runs `script`, and without a download. */
function machineWithGo(script: string) {
  program('go', `if [ "$1" = version ]; then echo go version go1.24.1 linux/amd64; exit; fi\n${script}`);
  const env = { ...inheritedEnvironment(MACHINE_VARIABLES), PATH: join(root, 'bin') };
  return { env, cacheDir: join(root, 'cache'), downloadBase: 'http://127.0.0.1:9' };
}

/** Hears the messages; `refused` are the events that must not come. */
function listen(refused?: RegExp): { log: StackLog; messages: string[]; came: string[] } {
  const messages: string[] = [];
  const came: string[] = [];
  const hear: StackLog['info'] = (fields, message = '') => {
    messages.push(message);
    if (refused?.test(fields.event) === true) came.push(fields.event);
  };
  return { log: { info: hear, warn: hear }, messages, came };
}

describe('a build of Temporal', () => {
  const build = [
    'echo go: downloading example.com/one v1.0.0 >&2',
    'PATH=/usr/bin:/bin; mkdir -p "$GOBIN" "$GOPATH/pkg"; echo x > "$GOPATH/pkg/large"',
    `printf '#!/bin/sh\\necho temporal version 1.5.1\\n' > "$GOBIN/temporal"`,
  ].join('\n');

  it('keeps the program; its folder, and one that an earlier start left, go in the background', async () => {
    const machine = machineWithGo(build);
    const leftover = join(machine.cacheDir, 'temporal-cli-work-7-old');
    mkdirSync(join(leftover, 'gopath'), { recursive: true });
    const { log, messages } = listen();
    const found = await findTemporalCli({ log, ...machine });
    expect(found).toMatchObject({ source: 'built with Go', version: 'temporal version 1.5.1' });
    expect(messages).toContainEqual(expect.stringContaining('tidying up'));
    await waitUntil(() => readdirSync(machine.cacheDir).length === 1);
    expect(readdirSync(machine.cacheDir)).toEqual(['temporal-cli-1.5.1']);

    // Nothing is built this time, and what a start left that was killed goes all the same.
    mkdirSync(leftover);
    expect(await findTemporalCli({ log: silent, ...machine })).toMatchObject({ source: 'cache' });
    await waitUntil(() => !existsSync(leftover));
  });

  it('ends at once with all it has started when it is given up; no server starts, no lock stays', async () => {
    const machine = machineWithGo(hangTwice());
    const { log, came } = listen(/temporal_(built|found|started)/);
    const homeDir = join(root, 'home');
    const starting = startTemporal({ log, homeDir, ...machine, signal: controller.signal });
    const pids = await readPids();
    controller.abort(reason);
    await expect(starting).rejects.toBe(reason);
    await waitUntil(() => pids.every((pid) => !isAlive(pid, null)));
    expect(came).toEqual([]);
    takeLock(join(homeDir, 'temporal', 'lock')).release();
    takeLock(join(machine.cacheDir, 'temporal-cli.lock')).release();
    await waitUntil(() => readdirSync(machine.cacheDir).length === 0);
  });

  it('is not begun by a start that was given up before', async () => {
    const machine = machineWithGo(`echo built > '${root}/built'`);
    controller.abort(reason);
    await expect(findTemporalCli({ log: silent, ...machine, signal: controller.signal })).rejects.toThrow(
      reason,
    );
    expect(existsSync(join(root, 'built'))).toBe(false);
  });

  it('says how many packages are compiled, and which one now', () => {
    const progress = createBuildProgress(40);
    expect(progress.describe()).toBe('looking up modules');
    progress.onLine('go: downloading github.com/temporalio/cli v1.5.1');
    expect(progress.describe()).toBe('1 modules downloaded, now github.com/temporalio/cli');
    for (const line of ['internal/goarch', 'gopkg.in/yaml.v3', '# a warning of the compiler']) {
      progress.onLine(line);
    }
    expect(progress.describe()).toBe('2 of about 40 packages compiled, now gopkg.in/yaml.v3');
  });

  it('tells its progress as it goes on', async () => {
    const script = `echo go: finding modules >&2; echo internal/goarch >&2; while [ ! -e '${root}/go-on' ]; do /bin/sleep 0.02; done`;
    const { env } = machineWithGo(script);
    const { log, messages } = listen();
    const building = buildWithGo({
      log,
      target: 'x',
      work: root,
      env,
      packageCount: 1,
      progressIntervalMs: 10,
    });
    await waitUntil(() =>
      messages.some((message) => /1 of about 1 packages compiled, now internal\/goarch/.test(message)),
    );
    writeFileSync(join(root, 'go-on'), '');
    await building;
  });
});

describe('a server that does not become ready', () => {
  it('is ended at once when Temporal is given up', async () => {
    const script = `if [ "$1" = --version ]; then echo temporal version 1.0.0; exit; fi\n${hang()}`;
    const options = { log: silent, cacheDir: root, cliPath: program('temporal', script), ephemeral: true };
    const starting = startTemporal({ ...options, signal: controller.signal });
    const [server = 0] = await readPids();
    controller.abort(reason);
    await expect(starting).rejects.toBe(reason);
    expect(isAlive(server, null)).toBe(false);
  });

  it('is ended when PostgreSQL is given up while its data is made, and the next start makes them anew', async () => {
    const homeDir = join(root, 'home');
    const data = join(homeDir, 'postgres', 'data');
    const { log, came } = listen(/postgres_started/);
    const starting = startPostgres({ log, homeDir, signal: controller.signal });
    // Aside while it is made; under its name, should that be over by now.
    await waitUntil(() => [`${data}.new`, data].some((folder) => existsSync(join(folder, 'PG_VERSION'))));
    controller.abort(reason);
    await expect(starting).rejects.toBe(reason);
    expect(came).toEqual([]);
    const postgres = await startPostgres({ log: silent, homeDir });
    await postgres.stop();
  });

  it('is no longer waited for', async () => {
    const child = await startProcess({
      name: 'deaf',
      command: '/bin/sh',
      args: ['-c', hang()],
      env: {},
      output: { onLine() {} },
    });
    const never = () => new Promise<boolean>(() => {});
    const options = { timeoutMs: 600_000, signal: controller.signal };
    const waits = [waitUntilReady(child, never, options), waitUntilReady(child, async () => false, options)];
    controller.abort(reason);
    for (const wait of waits) await expect(wait).rejects.toBe(reason);
    await child.stop();
  });
});

it('ends a program that was still starting when the others were stopped', async () => {
  const supervisor = createSupervisor({ log: silent });
  const ready = { line: /never/ };
  const command = { command: '/bin/sh', args: ['-c', hang()], env: { PATH: '/usr/bin:/bin' } };
  const starting = supervisor.start({ name: 'slow', ...command, ready });
  const [first = 0] = await readPids();
  // One more, of which nothing is known yet when the others are stopped.
  const other = supervisor.start({ name: 'late', ...command, ready });
  await Promise.all([
    expect(starting).rejects.toThrow(/slow/),
    expect(other).rejects.toThrow(/late/),
    supervisor.stop(),
  ]);
  expect(isAlive(first, null)).toBe(false);
  expect(supervisor.pids()).toEqual({});
  expect(await supervisor.done).toEqual({ failed: null, end: null });
});

it('ends the wait for a lock, and a short program', async () => {
  const lock = takeLock(join(root, 'lock'));
  const { signal } = controller;
  const waiting = waitForLock(join(root, 'lock'), {
    timeoutMs: 600_000,
    signal,
    onWait: () => controller.abort(reason),
  });
  await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
  lock.release();

  const again = new AbortController();
  const running = runCommand('/bin/sh', ['-c', hang()], {
    env: { PATH: '/usr/bin:/bin' },
    timeoutMs: 600_000,
    signal: again.signal,
  });
  const [pid = 0] = await readPids();
  again.abort(reason);
  await expect(running).rejects.toBe(reason);
  await waitUntil(() => !isAlive(pid, null));
});
