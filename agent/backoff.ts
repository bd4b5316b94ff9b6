/**
 * How long to wait before the next connection attempt: full jitter, so that a fleet does not return as one.
 */
import { closeCodes } from '../contracts/agent-protocol.ts';

export interface BackoffLimits {
  /** Ceiling of the first wait, milliseconds. */
  baseMs: number;
  /** Ceiling of every wait, milliseconds. */
  capMs: number;
  /** Least wait after the server refused our credential (1008, 4004, HTTP 401/403), milliseconds. */
  refusedMs: number;
  /** Least wait after another connection took our identity (4001), milliseconds. */
  supersededMs: number;
}

export const defaultBackoff: BackoffLimits = {
  baseMs: 500,
  capMs: 30_000,
  refusedMs: 60_000,
  supersededMs: 60_000,
};

/** Why the last connection ended: a close code, or what happened instead of one. */
export type EndCause = number | 'refused' | 'unreachable';

/**
 * Milliseconds to wait. `attempt` counts failures in a row from 0. Between half and all of the extra wait is certain
 * after a refusal; otherwise anything from 0 to the ceiling.
 */
export function backoffDelayMs(
  attempt: number,
  cause: EndCause,
  limits: BackoffLimits = defaultBackoff,
  random: () => number = Math.random,
): number {
  const isRefused = cause === 'refused' || cause === closeCodes.policy || cause === closeCodes.revoked;
  if (isRefused) return Math.round(limits.refusedMs * (1 + random()));
  if (cause === closeCodes.superseded) return Math.round(limits.supersededMs * (1 + random()));
  const ceiling = Math.min(limits.capMs, limits.baseMs * 2 ** Math.min(attempt, 20));
  return Math.round(ceiling * random());
}
