/**
 * How the backends did, and which are left alone for a while because they failed again and again. Of this process alone:
 * it is a guard against waiting in vain, no promise.
 */

/** Failures in a row after which a backend is left alone. */
export const MAX_FAILURE_STREAK = 5;
/** How long it is left alone; failures further apart than this are no row. Milliseconds. */
export const COOLDOWN_MS = 60_000;
/** Longest text of an error that is kept. */
const MAX_ERROR_LENGTH = 500;
/** Points off a health of 100. */
const FAILURE_PENALTY = 10;
const MAX_FAILURE_PENALTY = 40;
const COOLDOWN_PENALTY = 20;
const UNAVAILABLE_PENALTY = 80;

export interface BackendRuntime {
  consecutiveFailures: number;
  totalSuccess: number;
  totalFailures: number;
  lastSuccessAt: Date | null;
  lastFailureAt: Date | null;
  lastError: string | null;
  lastExitCode: number | null;
  lastLatencyMs: number | null;
  /** Null: it is asked as always. */
  coolingUntil: Date | null;
}

export interface BackendCircuits {
  /** May it be asked now? */
  isClosed(name: string): boolean;
  succeeded(name: string, latencyMs: number): void;
  failed(name: string, error: string, exitCode: number | null): void;
  read(name: string): BackendRuntime;
}

const untouched: BackendRuntime = {
  consecutiveFailures: 0,
  totalSuccess: 0,
  totalFailures: 0,
  lastSuccessAt: null,
  lastFailureAt: null,
  lastError: null,
  lastExitCode: null,
  lastLatencyMs: null,
  coolingUntil: null,
};

/** @param now milliseconds since 1970 */
export function createBackendCircuits(now: () => number = Date.now): BackendCircuits {
  const runtimes = new Map<string, BackendRuntime>();
  const read = (name: string): BackendRuntime => {
    const runtime = runtimes.get(name) ?? untouched;
    const isCooling = runtime.coolingUntil !== null && runtime.coolingUntil.getTime() > now();
    return isCooling ? runtime : { ...runtime, coolingUntil: null };
  };
  return {
    read,
    isClosed: (name) => read(name).coolingUntil === null,
    succeeded(name, latencyMs) {
      const before = read(name);
      runtimes.set(name, {
        ...before,
        consecutiveFailures: 0,
        totalSuccess: before.totalSuccess + 1,
        lastSuccessAt: new Date(now()),
        lastExitCode: 0,
        lastLatencyMs: latencyMs,
        coolingUntil: null,
      });
    },
    failed(name, error, exitCode) {
      const before = read(name);
      const at = now();
      const isRow = before.lastFailureAt !== null && at - before.lastFailureAt.getTime() < COOLDOWN_MS;
      const streak = (isRow ? before.consecutiveFailures : 0) + 1;
      runtimes.set(name, {
        ...before,
        consecutiveFailures: streak,
        totalFailures: before.totalFailures + 1,
        lastFailureAt: new Date(at),
        lastError: error.slice(0, MAX_ERROR_LENGTH).toWellFormed(),
        lastExitCode: exitCode,
        coolingUntil: streak >= MAX_FAILURE_STREAK ? new Date(at + COOLDOWN_MS) : before.coolingUntil,
      });
    },
  };
}

/** 0 to 100. */
export function healthOf(runtime: BackendRuntime, isAvailable: boolean): number {
  const off =
    (isAvailable ? 0 : UNAVAILABLE_PENALTY) +
    Math.min(MAX_FAILURE_PENALTY, runtime.consecutiveFailures * FAILURE_PENALTY) +
    (runtime.coolingUntil === null ? 0 : COOLDOWN_PENALTY);
  return Math.max(0, 100 - off);
}
