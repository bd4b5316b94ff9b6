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
import { afterAll, describe, expect, it } from 'vitest';
import { inheritedEnvironment } from '../../config.ts';
import { isProcessAlive, LockHeldError, takeLock, waitForLock } from '../../stack/lock.ts';
import { MACHINE_VARIABLES, type StackLog } from '../../stack/log-port.ts';
import { type ProcessSpec, runCommand, startProcess } from '../../stack/processes.ts';
import { createSupervisor } from '../../stack/supervise.ts';
import { findTemporalCli } from '../../stack/temporal-cli.ts';

const env = inheritedEnvironment(MACHINE_VARIABLES);
const silent: StackLog = { info() {}, warn() {} };
const folder = mkdtempSync(join(tmpdir(), 'steelthread-processes-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function shell(name: string, script: string, more: Partial<ProcessSpec> = {}): ProcessSpec {
  return { name, command: '/bin/sh', args: ['-c', script], env, output: { onLine: () => {} }, ...more };
}

async function waitUntil(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

describe('child processes', () => {
  it('stops politely, and once', async () => {
    const child = await startProcess(
      shell('polite', 'trap "exit 7" TERM; echo up; while :; do sleep 0.05; done'),
    );
    await waitUntil(() => child.tail() === 'up');
    const [first, second] = await Promise.all([child.stop(), child.stop()]);
    expect(first).toEqual({ code: 7, signal: null, expected: true });
    expect(second).toBe(first);
  });

  it('kills a child, and what it started, that ignores the polite stop', async () => {
    const spec = shell('stubborn', 'trap "" TERM; sleep 60 & echo $!; while :; do wait; done', {
      stopTimeoutMs: 200,
    });
    const child = await startProcess(spec);
    await waitUntil(() => child.tail() !== '');
    const grandchild = Number(child.tail());
    expect(await child.stop()).toMatchObject({ signal: 'SIGKILL', expected: true });
    await waitUntil(() => !isProcessAlive(grandchild) || readState(grandchild) === 'Z');
  });

  it('refuses a program that is not there by name', async () => {
    await expect(startProcess(shell('ghost', '', { command: '/nowhere/ghost' }))).rejects.toThrow(
      /ghost could not be started from \/nowhere\/ghost/,
    );
  });

  it('ends a child and removes its temporary folder when we are killed', async () => {
    const temporaryFolder = join(folder, 'temporary');
    mkdirSync(temporaryFolder);
    const program = `
      import { startProcess } from ${JSON.stringify(new URL('../../stack/processes.ts', import.meta.url).href)};
      const child = await startProcess({ name: 'x', command: '/bin/sleep', args: ['60'], env: {},
        output: { onLine() {} }, temporaryFolder: ${JSON.stringify(temporaryFolder)} });
      console.log(child.pid);
      process.kill(process.pid, 'SIGKILL');
    `;
    const args = ['--import', 'tsx', '--input-type=module', '-e', program];
    const { stdout } = await runCommand(process.execPath, args, { env, timeoutMs: 20_000 });
    const pid = Number(stdout);
    expect(pid).toBeGreaterThan(1);
    await waitUntil(() => !existsSync(temporaryFolder));
    expect(isProcessAlive(pid) && readState(pid) !== 'Z').toBe(false);
  });
});

describe('supervisor', () => {
  it('waits for readiness and stops in the reverse order', async () => {
    const stopped: string[] = [];
    const log: StackLog = {
      info: (fields) => void (fields.event === 'program_stopped' && stopped.push(String(fields.program))),
      warn() {},
    };
    const supervisor = createSupervisor({ log });
    const loop = 'while :; do sleep 0.05; done';
    const match = await supervisor.start({
      ...shell('one', `sleep 0.1; echo ready on 81; ${loop}`),
      ready: { line: /on (\d+)/ },
    });
    await supervisor.start(shell('two', loop));
    expect(match?.[1]).toBe('81');
    expect(Object.keys(supervisor.pids())).toEqual(['one', 'two']);
    await Promise.all([supervisor.stop(), supervisor.stop()]);
    expect(stopped).toEqual(['two', 'one']);
    expect(await supervisor.done).toEqual({ failed: null, end: null });
  });

  it('ends all when one ends by itself, and says which', async () => {
    const supervisor = createSupervisor({ log: silent });
    await supervisor.start(shell('steady', 'while :; do sleep 0.05; done'));
    await supervisor.start(shell('brittle', 'sleep 0.2; exit 3'));
    expect(await supervisor.done).toMatchObject({ failed: 'brittle', end: { code: 3 } });
    expect(supervisor.pids()).toEqual({});
  });

  it('fails the start with the last output of a program that ends early', async () => {
    const supervisor = createSupervisor({ log: silent });
    const spec = { ...shell('early', 'echo no database >&2; exit 1'), ready: { line: /never/ } };
    await expect(supervisor.start(spec)).rejects.toThrow(/early ended with code 1 at its start\nno database/);
    expect(await supervisor.done).toMatchObject({ failed: 'early' });
  });
});

describe('locks', () => {
  it('is held by one, named to others, and passed on', async () => {
    const path = join(folder, 'lock');
    const lock = takeLock(path);
    expect(() => takeLock(path)).toThrow(LockHeldError);
    const owners: number[] = [];
    const waiting = waitForLock(path, { timeoutMs: 10_000, onWait: (pid) => owners.push(pid) });
    await waitUntil(() => owners.length === 1);
    lock.release();
    lock.release();
    const next = await waiting;
    expect(owners).toEqual([process.pid]);
    next.release();
    expect(existsSync(path)).toBe(false);
  });

  it('takes over from an owner that is gone, whose number now has another program, or a broken file', () => {
    const path = join(folder, 'stale-lock');
    for (const content of ['{"pid":4194999}', `{"pid":${process.pid},"startedAt":"other/1"}`, '{']) {
      writeFileSync(path, content);
      takeLock(path).release();
    }
  });

  it('is refused where its file cannot be read, instead of being asked for without end', () => {
    const path = join(folder, 'unreadable-lock');
    mkdirSync(path);
    expect(() => takeLock(path)).toThrow(/EISDIR/);
    expect(readdirSync(folder).filter((name) => name.startsWith('unreadable-lock'))).toEqual([
      'unreadable-lock',
    ]);
  });
});

describe('search for the Temporal program', () => {
  it('says everything it tried, and how to fix each', async () => {
    const startedAt = Date.now();
    const search = findTemporalCli({
      log: silent,
      cacheDir: join(folder, 'cache'),
      env: { PATH: '/nowhere' },
      downloadBase: 'http://127.0.0.1:9',
    });
    await expect(search).rejects.toThrow(
      /PATH:[^]*cache:[^]*download:[^]*no Go on PATH[^]*TEMPORAL_ADDRESS[^]*TEMPORAL_CLI_PATH/,
    );
    expect(Date.now() - startedAt).toBeLessThan(10_000);
  });

  it('takes an explicit path literally, and refuses one that does not work', async () => {
    const cacheDir = join(folder, 'cache');
    const cliPath = join(folder, 'temporal');
    await expect(findTemporalCli({ log: silent, cacheDir, env, cliPath })).rejects.toThrow(
      /TEMPORAL_CLI_PATH/,
    );
    writeFileSync(cliPath, '#!/bin/sh\necho temporal version 9.9.9\n', { mode: 0o755 });
    const found = await findTemporalCli({ log: silent, cacheDir, env, cliPath });
    expect(found).toEqual({ path: cliPath, version: 'temporal version 9.9.9', source: 'TEMPORAL_CLI_PATH' });
  });
});

function readState(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[0];
  } catch {
    return undefined;
  }
}
