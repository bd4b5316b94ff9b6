/**
 * Where a due time becomes a run, or a row that says why there is none.
 *
 *  A. Temporal says when; here it is decided whether, under the lock of the schedule's row: paused, ended, too late, or
 *     an earlier run is not over. So a pause holds from its commit on, and every skipped time can be seen.
 *  B. A run and its work are one transaction. Its id is that of the workflow that Temporal has started, and a due time
 *     has one row at most: however often it is asked for, it begins once.
 */
import { isProblem, type SteelthreadError } from '../../contracts/errors.ts';
import {
  MAX_WAITING_RUNS,
  type OverlapPolicy,
  type RunTrigger,
  type SkipReason,
} from '../../contracts/schedules.ts';
import {
  endRun,
  findRun,
  insertRun,
  listOpenRuns,
  listRunsToAdmit,
  lookAtDue,
  markRunning,
  type ScheduleRunRow,
} from '../../db/schedule-runs.ts';
import { countRun, lockSchedule, markDrifted, type ScheduleRow } from '../../db/schedules.ts';
import { engineActor } from '../deps.ts';
import { transact, type Unit } from '../transact.ts';
import { getAuthority, type ScheduleDeps } from './authority.ts';
import { cancelRun } from './cancel-run.ts';
import { settleRunsIn } from './settle.ts';
import { makeWork } from './work.ts';

/** A run may begin so much later than its catch-up window says, milliseconds: workers start, clocks differ. */
export const LATE_MARGIN_MS = 60_000;
/** Runs of a schedule that are looked at before another begins. */
const SETTLE_LIMIT = 1_000;
/** Runs that waited and begin in one round. */
const ADMIT_LIMIT = 100;

export interface DueRun {
  scheduleId: string;
  runId: string;
  dueAtMs: number;
}

/** What a run is before it has a row. */
interface Candidate {
  id: string;
  trigger: RunTrigger;
  dueAt: Date;
  overlap: OverlapPolicy;
}

/** @returns the state of the run, or why the due time is none of ours: `unknown`, `accounted`, `ended` */
export async function beginDueRun(deps: ScheduleDeps, due: DueRun): Promise<{ outcome: string }> {
  try {
    return { outcome: await transact(deps, (unit) => beginIn(unit, deps, due)) };
  } catch (error) {
    if (!isProblem(error) || error.retryable) throw error;
    return { outcome: await transact(deps, (unit) => recordFailure(unit, due, error)) };
  }
}

async function beginIn(unit: Unit, deps: ScheduleDeps, due: DueRun): Promise<string> {
  const schedule = await lockSchedule(unit.trx, due.scheduleId);
  if (schedule === undefined) return 'unknown';
  if (schedule.deletedAt !== null) {
    // Temporal was told, or will be; that it still fires means that it holds it (again).
    await markDrifted(unit.trx, schedule.id, schedule.revision);
    return 'unknown';
  }
  const dueAt = new Date(due.dueAtMs);
  const { known, isAccounted, openRuns } = await lookAtDue(unit.trx, { ...due, dueAt });
  if (known !== null) return known; // B
  // Its row, or that of a span of times that had no run, is there.
  if (isAccounted) return 'accounted';
  const candidate: Candidate = { id: due.runId, trigger: 'due', dueAt, overlap: schedule.overlap };
  if (schedule.pausedAt !== null) return skip(unit, schedule, candidate, 'paused'); // A
  if (isLimitReached(schedule)) return 'ended';
  if (Date.now() - due.dueAtMs > schedule.catchUpWindowMs + schedule.jitterMs + LATE_MARGIN_MS) {
    return skip(unit, schedule, candidate, 'catch_up_window');
  }
  return (await admit(unit, deps, schedule, candidate, openRuns === 0)).state;
}

const isLimitReached = ({ maxRuns, runsStarted }: ScheduleRow): boolean =>
  maxRuns !== null && runsStarted >= maxRuns;

/**
 * Run it, have it wait, or skip it. The schedule's row is locked.
 * @param isAlone no run of the schedule is open, as is known already
 * @throws what making its work throws
 */
export async function admit(
  unit: Unit,
  deps: ScheduleDeps,
  schedule: ScheduleRow,
  candidate: Candidate,
  isAlone = false,
): Promise<{ state: ScheduleRunRow['state'] }> {
  if (isAlone) return { state: await run(unit, deps, schedule, candidate) };
  await settleRunsIn(unit, { scheduleId: schedule.id, limit: SETTLE_LIMIT });
  const open = await listOpenRuns(unit.trx, schedule.id);
  switch (placeFor(candidate.overlap, open)) {
    case 'skip':
      return { state: await skip(unit, schedule, candidate, 'overlap') };
    case 'wait':
      if (candidate.overlap === 'cancel_other') await cancelOthers(unit, schedule, open);
      await insertRun(unit.trx, { ...rowOf(schedule, candidate), state: 'waiting' });
      emit(unit, schedule, candidate.id, 'schedule.run_waiting', { dueAt: candidate.dueAt.toISOString() });
      return { state: 'waiting' };
    case 'run':
      return { state: await run(unit, deps, schedule, candidate) };
  }
}

function placeFor(overlap: OverlapPolicy, open: readonly ScheduleRunRow[]): 'run' | 'wait' | 'skip' {
  if (open.length === 0 || overlap === 'allow_all') return 'run';
  const waiting = open.filter((each) => each.state === 'waiting').length;
  switch (overlap) {
    case 'skip':
      return 'skip';
    case 'buffer_one':
      return waiting === 0 ? 'wait' : 'skip';
    case 'buffer_all':
      return waiting < MAX_WAITING_RUNS ? 'wait' : 'skip';
    case 'cancel_other':
      return 'wait';
  }
}

/** What goes on is asked to stop, what waits gives up its turn. */
async function cancelOthers(
  unit: Unit,
  schedule: ScheduleRow,
  open: readonly ScheduleRunRow[],
): Promise<void> {
  for (const other of open) {
    if (other.state === 'running') await cancelRun(unit, engineActor, other, 'a later run took its place');
    else await giveUpTurn(unit, schedule, other, 'replaced');
  }
}

/** A run that waits is skipped. */
async function giveUpTurn(
  unit: Unit,
  schedule: ScheduleRow,
  { id, dueAt }: ScheduleRunRow,
  reason: SkipReason,
): Promise<void> {
  await endRun(unit.trx, id, { state: 'skipped', reason, message: null });
  emit(unit, schedule, id, 'schedule.run_skipped', { reason, dueAt: dueAt.toISOString(), count: 1 });
}

async function run(
  unit: Unit,
  deps: ScheduleDeps,
  schedule: ScheduleRow,
  candidate: Candidate,
): Promise<ScheduleRunRow['state']> {
  const actor = await getAuthority(unit.trx, deps, schedule);
  const work = await makeWork(unit, deps, actor, schedule);
  if (work === null) return skip(unit, schedule, candidate, 'no_agent');
  // One does not need the other: the driver sends them right behind each other.
  await Promise.all([
    insertRun(unit.trx, { ...rowOf(schedule, candidate), state: 'running', work }),
    candidate.trigger === 'due' ? countRun(unit.trx, schedule.id) : undefined,
  ]);
  const { id, trigger, dueAt } = candidate;
  emit(unit, schedule, id, 'schedule.run_started', { trigger, dueAt: dueAt.toISOString() });
  return 'running';
}

const rowOf = ({ id: scheduleId, revision }: ScheduleRow, { id, trigger, dueAt }: Candidate) => ({
  id,
  scheduleId,
  trigger,
  dueAt,
  revision,
});

async function skip(
  unit: Unit,
  schedule: ScheduleRow,
  candidate: Candidate,
  reason: SkipReason,
): Promise<'skipped' | 'missed'> {
  const state = reason === 'catch_up_window' ? 'missed' : 'skipped';
  await insertRun(unit.trx, { ...rowOf(schedule, candidate), state, reason });
  const { dueAt } = candidate;
  emit(unit, schedule, candidate.id, `schedule.run_${state}`, {
    reason,
    dueAt: dueAt.toISOString(),
    count: 1,
  });
  return state;
}

function emit(
  unit: Unit,
  schedule: ScheduleRow,
  runId: string,
  type:
    | 'schedule.run_started'
    | 'schedule.run_waiting'
    | 'schedule.run_skipped'
    | 'schedule.run_missed'
    | 'schedule.run_finished',
  data: Record<string, unknown>,
): void {
  unit.emit(type, { ownerId: schedule.creatorId, data: { scheduleId: schedule.id, runId, ...data } });
}

/** Nothing of the run is left but this: its work could not be made, now or later. */
async function recordFailure(unit: Unit, due: DueRun, error: SteelthreadError): Promise<string> {
  const schedule = await lockSchedule(unit.trx, due.scheduleId);
  if (schedule === undefined) return 'unknown';
  const candidate = {
    id: due.runId,
    trigger: 'due',
    dueAt: new Date(due.dueAtMs),
    overlap: schedule.overlap,
  } as const;
  const { code: reason, message } = error;
  const made = await insertRun(unit.trx, { ...rowOf(schedule, candidate), state: 'failed', reason, message });
  if (made === undefined) return 'accounted';
  await countRun(unit.trx, schedule.id);
  emit(unit, schedule, due.runId, 'schedule.run_finished', { state: 'failed', reason });
  return 'failed';
}

/**
 * Begin the runs that waited and whose turn it is. One that cannot be begun now does not keep the others waiting.
 * @returns how many
 * @throws AggregateError with what failed, after the round
 */
export async function admitWaitingRuns(deps: ScheduleDeps): Promise<number> {
  const waiting = await listRunsToAdmit(deps.db, ADMIT_LIMIT);
  const failures: unknown[] = [];
  for (const { id, scheduleId } of waiting) {
    try {
      await transact(deps, (unit) => admitWaiting(unit, deps, scheduleId, id));
    } catch (error) {
      if (!isProblem(error) || error.retryable) {
        failures.push(error);
        continue;
      }
      const { code: reason, message } = error;
      await transact(deps, async (unit) => {
        const schedule = await lockSchedule(unit.trx, scheduleId);
        if (schedule === undefined || !(await endRun(unit.trx, id, { state: 'failed', reason, message })))
          return;
        emit(unit, schedule, id, 'schedule.run_finished', { state: 'failed', reason });
      });
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, `${failures.length} runs could not begin`);
  return waiting.length;
}

async function admitWaiting(
  unit: Unit,
  deps: ScheduleDeps,
  scheduleId: string,
  runId: string,
): Promise<void> {
  const schedule = await lockSchedule(unit.trx, scheduleId);
  const run = await findRun(unit.trx, runId);
  if (schedule === undefined || run?.state !== 'waiting') return;
  const end = (reason: SkipReason): Promise<void> => giveUpTurn(unit, schedule, run, reason);
  if (schedule.deletedAt !== null) return end('deleted');
  if (run.trigger === 'due' && schedule.pausedAt !== null) return end('paused'); // A
  if (run.trigger === 'due' && isLimitReached(schedule)) return end('limit');
  const actor = await getAuthority(unit.trx, deps, schedule);
  const work = await makeWork(unit, deps, actor, schedule);
  if (work === null) return end('no_agent');
  await markRunning(unit.trx, runId, { revision: schedule.revision, ...work });
  if (run.trigger === 'due') await countRun(unit.trx, schedule.id);
  const { trigger, dueAt } = run;
  emit(unit, schedule, runId, 'schedule.run_started', { trigger, dueAt: dueAt.toISOString() });
}
