/**
 * Standing duties: work that goes on by itself, of which one instance acts at a time.
 *
 *  A. A duty acts only while its advisory lock is held; when its process dies the lock is free at once, and the next
 *     process takes over within STANDBY_MS.
 *  B. A run that fails is logged and tried again after the pause; a duty never ends before it is closed.
 *  C. The lock may be lost during a run (see db/advisory-lock.ts), so every duty is safe when it runs twice.
 */
import type { LockSession } from '../../db/advisory-lock.ts';

/** How often an instance without the lock asks for it, milliseconds. */
const STANDBY_MS = 2_000;

export interface Duty<Deps> {
  name: string;
  /** Key of its advisory lock; one of `lockKeys.duties`. */
  lockKey: number;
  /** Pause after a run, milliseconds. */
  everyMs: number;
  /** One round. @returns how many things it did; `signal` aborts at shutdown */
  run(deps: Deps, signal: AbortSignal): Promise<number>;
}

export const defineDuty = <Deps>(duty: Duty<Deps>): Duty<Deps> => duty;

/** Told of every run; what it makes of it (metrics, logs) is its own. */
export interface DutyObserver {
  /** This instance acts, or no longer does. */
  held(name: string, isHeld: boolean): void;
  ran(name: string, facts: { count: number; durationMs: number }): void;
  failed(name: string, error: unknown): void;
}

export interface RunningDuty {
  readonly name: string;
  /** Run as soon as possible instead of after the pause. */
  wake(): void;
  /** Ends after the round that runs. Idempotent. */
  close(): Promise<void>;
}

export function startDuty<Deps>(
  duty: Duty<Deps>,
  deps: Deps,
  { locks, observer }: { locks: LockSession; observer: DutyObserver },
): RunningDuty {
  const closing = new AbortController();
  let isWoken = false;
  let endPause = (): void => undefined;
  let wasHeld = false;

  function noteHeld(isHeld: boolean): void {
    if (isHeld !== wasHeld) observer.held(duty.name, isHeld);
    wasHeld = isHeld;
  }

  async function round(): Promise<number> {
    try {
      const isHeld = locks.holds(duty.lockKey) || (await locks.tryLock(duty.lockKey)); // A
      noteHeld(isHeld);
      if (!isHeld) return STANDBY_MS;
      const startedAt = performance.now();
      const count = await duty.run(deps, closing.signal);
      observer.ran(duty.name, { count, durationMs: performance.now() - startedAt });
      return duty.everyMs;
    } catch (error) {
      noteHeld(locks.holds(duty.lockKey));
      if (!closing.signal.aborted) observer.failed(duty.name, error); // B
      return Math.max(duty.everyMs, STANDBY_MS);
    }
  }

  function pause(ms: number): Promise<void> {
    if (isWoken || closing.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async function loop(): Promise<void> {
    while (!closing.signal.aborted) {
      isWoken = false;
      await pause(await round());
    }
    await locks.unlock(duty.lockKey).catch(() => undefined);
    noteHeld(false);
  }

  const done = loop();
  return {
    name: duty.name,
    wake() {
      isWoken = true;
      if (wasHeld) endPause();
    },
    close() {
      closing.abort();
      endPause();
      return done;
    },
  };
}
