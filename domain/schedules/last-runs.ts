import { listLastRuns } from '../../db/schedule-runs.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';

/** When schedules that the actor sees last began a run; without those that never did. @throws forbidden */
export function findLastRuns(
  deps: DomainDeps,
  actor: Actor,
  scheduleIds: readonly string[],
): Promise<Map<string, Date>> {
  assertCan(actor.principal, 'read', 'schedule');
  return listLastRuns(deps.db, scheduleIds);
}
