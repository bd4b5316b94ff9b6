/** What an attempt means for its delivery: taken, again later, or never. */
import type { OutboundAnswer } from '../../outbound/port.ts';

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** Pauses after the first, second … attempt, milliseconds; the last one repeats until the time is over. */
export const RETRY_DELAYS_MS: readonly number[] = [
  5 * SECOND_MS,
  15 * SECOND_MS,
  MINUTE_MS,
  5 * MINUTE_MS,
  15 * MINUTE_MS,
  30 * MINUTE_MS,
  HOUR_MS,
];
/** A pause is longer or shorter by up to this share, so that what failed together does not come back together. */
const JITTER = 0.2;
/** No receiver can ask for a longer pause, milliseconds. */
const MAX_ASKED_PAUSE_MS = HOUR_MS;

/** The very same bytes will not be taken later either. */
const NEVER_STATUSES: ReadonlySet<number> = new Set([400, 405, 406, 410, 411, 413, 414, 415, 422, 501]);

export type Verdict =
  | { kind: 'taken' }
  /** `gone`: the receiver says that it will never want anything again. */
  | { kind: 'never'; isGone: boolean }
  | { kind: 'later'; delayMs: number };

/**
 * @param attempt number of the attempt that was made, from 1
 * @param random from 0 to 1
 */
export function judgeAnswer(
  answer: OutboundAnswer,
  delivery: { attempt: number; isCallback: boolean; isOver: boolean },
  random: () => number = Math.random,
): Verdict {
  if (answer.kind === 'answered' && answer.status >= 200 && answer.status < 300) return { kind: 'taken' };
  const isGone = answer.kind === 'answered' && answer.status === 410;
  // The guard says no, whoever asks again.
  if (answer.kind === 'refused' || isGone) return { kind: 'never', isGone };
  // What a callback cannot tell holds up what comes after it; an event holds up nothing.
  if (delivery.isCallback && answer.kind === 'answered' && NEVER_STATUSES.has(answer.status))
    return { kind: 'never', isGone: false };
  if (delivery.isOver) return { kind: 'never', isGone: false };
  const planned = RETRY_DELAYS_MS[Math.min(delivery.attempt, RETRY_DELAYS_MS.length) - 1] ?? HOUR_MS;
  const jittered = planned * (1 - JITTER + 2 * JITTER * random());
  const asked = answer.kind === 'answered' ? readRetryAfter(answer.headers['retry-after']) : 0;
  return { kind: 'later', delayMs: Math.round(Math.max(jittered, asked)) };
}

/** In seconds or as a date (RFC 9110, section 10.2.3). */
function readRetryAfter(value: string | string[] | undefined): number {
  if (typeof value !== 'string') return 0;
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * SECOND_MS : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), MAX_ASKED_PAUSE_MS) : 0;
}
