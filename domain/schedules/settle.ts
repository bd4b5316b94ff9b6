/** Runs whose work is over. */
import type { RunState } from '../../contracts/schedules.ts';
import { endRun, type FinishedRun, listFinishedRuns } from '../../db/schedule-runs.ts';
import type { DomainDeps } from '../deps.ts';
import { transact, type Unit } from '../transact.ts';

/** Runs that one transaction ends. */
const BATCH = 200;

const goodEnds: readonly string[] = ['completed', 'succeeded'];

/** End the runs all of whose work is over, of every schedule. @returns how many */
export async function settleRuns(deps: DomainDeps): Promise<number> {
  let total = 0;
  for (;;) {
    const count = await transact(deps, (unit) => settleRunsIn(unit, { limit: BATCH }));
    total += count;
    if (count < BATCH) return total;
  }
}

export async function settleRunsIn(
  unit: Unit,
  which: { scheduleId?: string; limit: number },
): Promise<number> {
  const finished = await listFinishedRuns(unit.trx, which);
  for (const run of finished) {
    const end = endOf(run);
    if (!(await endRun(unit.trx, run.id, end))) continue;
    unit.emit('schedule.run_finished', {
      ownerId: run.ownerId,
      data: { scheduleId: run.scheduleId, runId: run.id, state: end.state, reason: end.reason },
    });
  }
  return finished.length;
}

/** Succeeded: every task completed, every command succeeded, and no agent was left out. */
function endOf({ ends, refused }: FinishedRun): {
  state: RunState;
  reason: string | null;
  message: string | null;
} {
  const bad = ends.filter((end) => !goodEnds.includes(end));
  const isCanceled = bad.length > 0 && bad.every((end) => end === 'canceled');
  const [first] = refused;
  if (isCanceled) return { state: 'canceled', reason: null, message: null };
  if (bad.length > 0) return { state: 'failed', reason: null, message: `ended as ${bad.sort().join(', ')}` };
  if (first !== undefined) return { state: 'failed', reason: first.code, message: first.message };
  return { state: 'succeeded', reason: null, message: null };
}
