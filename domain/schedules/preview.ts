/** What a timing would mean, before anything is stored. */
import { PREVIEW_RUNS, type Timing } from '../../contracts/schedules.ts';
import type { Actor } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { assertTiming } from './check.ts';
import { nextDueTimes } from './due-times.ts';
import { dateOf } from './store.ts';
import { wordsOf } from './words.ts';

/** @throws forbidden, validation_failed */
export function previewTiming(
  actor: Actor,
  { timing, startAt, endAt }: { timing: Timing; startAt: string | null; endAt: string | null },
): { words: string; times: string[] } {
  assertCan(actor.principal, 'list', 'schedule');
  const span = {
    timing,
    startAt: dateOf(startAt),
    endAt: dateOf(endAt),
  };
  assertTiming(span);
  const times = nextDueTimes(span, Date.now(), PREVIEW_RUNS);
  return { words: wordsOf(timing), times: times.map((time) => time.toISOString()) };
}
