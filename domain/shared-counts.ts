/** Call counts that all API processes share. */
import { type CountedCall, countCall, deleteEndedWindows } from '../db/rate-windows.ts';
import type { DomainDeps } from './deps.ts';

/** Windows that have ended are forgotten once in so many calls of a process. */
const CALLS_BETWEEN_SWEEPS = 200;

/** Counts a call in the window of its key. */
export function createSharedCounts({
  db,
  log,
}: Pick<DomainDeps, 'db' | 'log'>): (key: string, windowMs: number) => Promise<CountedCall> {
  let calls = 0;
  return async (key, windowMs) => {
    calls += 1;
    if (calls % CALLS_BETWEEN_SWEEPS === 0) {
      deleteEndedWindows(db).catch((err: unknown) => log.warn({ event: 'rate_windows_not_swept', err }));
    }
    return countCall(db, key, windowMs);
  };
}
