/**
 * Refusals for lack of a right leave a row in the audit trail (a `denied` one), but nobody can flood it with them:
 * what comes above the rate is counted, and the next row of that principal says how many were left out.
 */
import type { DomainDeps } from '../domain/deps.ts';
import { recordDenial } from '../domain/transact.ts';
import type { Denial } from './mount.ts';

/** Rows that one principal can leave in one window. */
export const MAX_DENIAL_ROWS = 20;
export const DENIAL_WINDOW_MS = 60_000;
/** Principals remembered at once; above, those whose window is over are forgotten. */
const MAX_REMEMBERED = 10_000;

interface Window {
  endsAt: number;
  rows: number;
  leftOut: number;
}

export interface DenialRecorderOptions {
  /** Milliseconds; replaced in tests. */
  now?: () => number;
}

/** What `onDenied` of the routes is. Never rejects: the request is refused with or without its row. */
export function createDenialRecorder(
  deps: DomainDeps,
  { now = Date.now }: DenialRecorderOptions = {},
): (denial: Denial) => Promise<void> {
  const windows = new Map<string, Window>();

  /** How many refusals were left out since the last row, or null when this one is to be left out as well. */
  const admit = (key: string): number | null => {
    const at = now();
    const last = windows.get(key);
    if (last !== undefined && last.endsAt > at) {
      if (last.rows >= MAX_DENIAL_ROWS) {
        last.leftOut += 1;
        return null;
      }
      last.rows += 1;
      return 0;
    }
    if (windows.size >= MAX_REMEMBERED) {
      for (const [other, { endsAt }] of windows) if (endsAt <= at) windows.delete(other);
    }
    windows.set(key, { endsAt: at + DENIAL_WINDOW_MS, rows: 1, leftOut: 0 });
    return last?.leftOut ?? 0;
  };

  return async ({ principal, address, requestId, contract }) => {
    const leftOutBefore = admit(`${principal.kind}:${principal.id}`);
    if (leftOutBefore === null) return;
    const actor = { principal, address, requestId };
    const { method, path, verb, resource } = contract;
    try {
      await recordDenial(deps, actor, {
        action: 'access.denied',
        targetKind: 'route',
        targetId: `${method} ${path}`,
        details: { verb, resource, ...(leftOutBefore > 0 && { leftOutBefore }) },
      });
    } catch (err) {
      deps.log.error({ event: 'denial_not_recorded', requestId, principalId: principal.id, err });
    }
  };
}
