/** What schedules need besides Temporal's clock. Woken by NOTIFY when one is changed. */
import type { ScheduleServer } from '../../contracts/schedule-io.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { accountSchedules } from '../../domain/schedules/account.ts';
import { admitWaitingRuns } from '../../domain/schedules/begin.ts';
import { settleRuns } from '../../domain/schedules/settle.ts';
import { findDriftedSchedules, syncSchedules } from '../../domain/schedules/sync.ts';
import { defineDuty } from './duty.ts';

export interface ScheduleSweepDeps {
  domain: DomainDeps;
  scheduleServer: ScheduleServer;
  /** The holder of the shared agent token may do what an admin may; asked at each round. Default no. */
  agentTokenAdmin?: (() => boolean) | undefined;
}

/**
 * Tell Temporal of changes, end runs whose work is over, let begin what waited for them, name the due times that were
 * missed, and look whether Temporal still holds what it was told.
 */
export const scheduleSweep = defineDuty<ScheduleSweepDeps>({
  name: 'schedule_sweep',
  lockKey: lockKeys.duties.scheduleSweep,
  everyMs: 1_000,
  run: (deps, signal) => sweepSchedules(deps, signal),
});

/** One round. A part that fails does not keep the others from their work. @returns how many things it did */
export async function sweepSchedules(
  { domain, scheduleServer, agentTokenAdmin }: ScheduleSweepDeps,
  signal: AbortSignal,
): Promise<number> {
  const deps = { ...domain, scheduleServer, agentTokenAdmin: agentTokenAdmin?.() };
  const parts = [
    () => syncSchedules(deps, signal),
    () => settleRuns(deps),
    () => admitWaitingRuns(deps),
    () => accountSchedules(deps),
    () => findDriftedSchedules(deps),
  ];
  let total = 0;
  const failures: unknown[] = [];
  for (const part of parts) {
    if (signal.aborted) break;
    try {
      total += await part();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'a part of the sweep failed');
  return total;
}
