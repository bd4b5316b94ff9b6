/**
 * Locks between processes of one machine: a file that names its owner. A lock whose owner is gone is taken over.
 *
 * A. The file appears complete and only once (written aside, then linked).
 * B. Only a file whose owner is dead is removed: it is renamed first and put back when it turns out to be another one.
 */
import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const POLL_INTERVAL_MS = 250;

export interface Lock {
  /** Gives the lock back; safe to call twice. */
  release(): void;
}

/** The lock is held by a living process. */
export class LockHeldError extends Error {
  readonly ownerPid: number;

  constructor(path: string, ownerPid: number) {
    super(`${path} is held by process ${ownerPid}`);
    this.name = 'LockHeldError';
    this.ownerPid = ownerPid;
  }
}

/** Takes the lock at once. @throws LockHeldError while a living process holds it */
export function takeLock(path: string): Lock {
  mkdirSync(dirname(path), { recursive: true });
  const id = randomBytes(8).toString('hex');
  const mine = JSON.stringify({ pid: process.pid, startedAt: findStartTime(process.pid), id });
  const aside = `${path}.${id}`;
  writeFileSync(aside, mine, { flag: 'wx' });
  try {
    for (;;) {
      if (tryLink(aside, path)) return createLock(path, mine); // A
      const held = readIfThere(path);
      if (held === null) continue;
      const owner = parseOwner(held);
      if (owner !== null && isAlive(owner)) throw new LockHeldError(path, owner.pid);
      removeStale(path, held, `${aside}.stale`);
    }
  } finally {
    rmSync(aside, { force: true });
  }
}

/** Waits for the lock; `onWait` hears the owner once per wait. @throws LockHeldError after `timeoutMs`; by `signal` */
export async function waitForLock(
  path: string,
  options: { timeoutMs: number; onWait?: (ownerPid: number) => void; signal?: AbortSignal },
): Promise<Lock> {
  const deadline = Date.now() + options.timeoutMs;
  let told = false;
  for (;;) {
    try {
      return takeLock(path);
    } catch (error) {
      if (!(error instanceof LockHeldError) || Date.now() > deadline) throw error;
      if (!told) options.onWait?.(error.ownerPid);
      told = true;
      await delay(POLL_INTERVAL_MS, undefined, { signal: options.signal });
    }
  }
}

function createLock(path: string, mine: string): Lock {
  return {
    release() {
      if (readIfThere(path) === mine) rmSync(path, { force: true });
    },
  };
}

function removeStale(path: string, expected: string, aside: string): void {
  try {
    renameSync(path, aside);
  } catch {
    return; // Another process was quicker.
  }
  if (readIfThere(aside) !== expected) tryLink(aside, path); // B
  rmSync(aside, { force: true });
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

/** @throws when it is there and cannot be read: whoever took it for gone would ask for it without end */
function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

interface Owner {
  pid: number;
  startedAt: string | null;
}

function parseOwner(text: string): Owner | null {
  try {
    const { pid, startedAt } = JSON.parse(text) as Partial<Owner>;
    return typeof pid === 'number' ? { pid, startedAt: startedAt ?? null } : null;
  } catch {
    return null;
  }
}

/** False when the process is gone, or its number now belongs to another process. */
function isAlive(owner: Owner): boolean {
  return (
    isProcessAlive(owner.pid) && (owner.startedAt === null || findStartTime(owner.pid) === owner.startedAt)
  );
}

export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Start time in clock ticks since boot, with the id of the boot; null where the system has no /proc. */
function findStartTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    // Fields after the name, which is in brackets and may hold spaces; start time is the 22nd field of all.
    return `${boot}/${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    return null;
  }
}
