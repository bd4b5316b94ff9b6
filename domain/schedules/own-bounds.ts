/**
 * Bounds of whoever may only have schedules of their own: a clock must not do in their name what the limits of requests
 * keep them from doing by hand (contracts/rate-classes.ts, `task_creation_by_address`).
 */
import { problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import type { ScheduleTarget, Timing } from '../../contracts/schedules.ts';
import type { Queryable } from '../../db/database.ts';
import { countSchedulesOf } from '../../db/schedules.ts';
import { grantOf } from '../policy.ts';
import { valuesOf } from './matcher.ts';

/** Schedules that such a person may have. */
export const MAX_OWN_SCHEDULES = 20;
/** Tasks that one run of them makes. */
export const MAX_OWN_TASKS_PER_RUN = 20;
/** Shortest time between two due times of one timing, milliseconds. */
export const MIN_OWN_INTERVAL_MS = 60_000;

export const isBounded = (principal: Principal): boolean =>
  grantOf(principal, 'create', 'schedule') !== 'all';

/** @throws validation_failed */
export function assertOwnBounds(
  principal: Principal,
  { timing, target }: { timing: Timing; target: ScheduleTarget },
): void {
  if (!isBounded(principal)) return;
  if (isDense(timing)) refuse(['timing'], 'must not be due more than once a minute');
  if ('agentIds' in target && new Set(target.agentIds).size > MAX_OWN_TASKS_PER_RUN) {
    refuse(['target', 'agentIds'], `must be at most ${MAX_OWN_TASKS_PER_RUN}`);
  }
}

/** The caller holds the lock of the count of all schedules. @throws conflict */
export async function assertOwnCount(db: Queryable, principal: Principal): Promise<void> {
  if (!isBounded(principal) || (await countSchedulesOf(db, principal.id)) < MAX_OWN_SCHEDULES) return;
  throw problem('conflict', { reason: `you have ${MAX_OWN_SCHEDULES} schedules already` });
}

function isDense(timing: Timing): boolean {
  switch (timing.kind) {
    case 'cron':
      return false;
    case 'interval':
      return timing.everyMs < MIN_OWN_INTERVAL_MS;
    case 'calendar':
      return timing.calendars.some(({ second }) => valuesOf(second).length > 1);
  }
}

function refuse(path: string[], message: string): never {
  throw problem('validation_failed', {}, { issues: [{ in: 'body', path, message, type: 'value_error' }] });
}
