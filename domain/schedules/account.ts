/**
 * Every due time has a row, sooner or later. Those that nobody has begun get one here that says why: the schedule was
 * paused, or nothing could begin them within the catch-up window (Temporal or the workers were away).
 *
 *  A. A time is called missed only when it could not begin any more (`beginDueRun` then refuses it by that row).
 *  B. Times in a row with the same reason share one row with their count.
 */
import { v7 as uuidv7 } from 'uuid';
import type { SkipReason } from '../../contracts/schedules.ts';
import { extendGap, insertGap, listAccounted } from '../../db/schedule-runs.ts';
import { listUnaccounted, lockSchedule, type ScheduleRow, setAccounted } from '../../db/schedules.ts';
import type { DomainDeps } from '../deps.ts';
import { transact, type Unit } from '../transact.ts';
import { LATE_MARGIN_MS } from './begin.ts';
import { dueTimesAfter, dueTimesBetween, nextDueTimes } from './due-times.ts';

/** Due times that one transaction accounts for; the next round goes on. */
const MAX_TIMES = 10_000;
/** Schedules of one round. */
const SCHEDULES_PER_ROUND = 50;

export interface AccountOptions {
  /** How long after its last moment a time is given up, milliseconds. Default LATE_MARGIN_MS. */
  marginMs?: number;
}

/** @returns how many due times were found without a run */
export async function accountSchedules(deps: DomainDeps, options: AccountOptions = {}): Promise<number> {
  let total = 0;
  for (const id of await listUnaccounted(deps.db, SCHEDULES_PER_ROUND)) {
    total += await transact(deps, async (unit) => {
      const schedule = await lockSchedule(unit.trx, id);
      if (schedule === undefined || schedule.deletedAt !== null) return 0;
      return accountIn(unit, schedule, options.marginMs ?? LATE_MARGIN_MS);
    });
  }
  return total;
}

async function accountIn(unit: Unit, schedule: ScheduleRow, marginMs: number): Promise<number> {
  const now = Date.now();
  const fateOf = createFateOf(schedule, marginMs);
  const from = schedule.accountedUntil.getTime();
  const { times } = dueTimesBetween(schedule, from, now, MAX_TIMES);
  const decided: { time: number; reason: SkipReason }[] = [];
  for (const time of times) {
    const { reason, decidedAt } = fateOf(time);
    if (decidedAt > now) break;
    decided.push({ time, reason });
  }
  const count = isOver(schedule) ? 0 : await recordGaps(unit, schedule, decided);
  const until = decided.at(-1)?.time ?? from;
  const [next] = dueTimesAfter(schedule, until);
  const accountAt = next === undefined || isOver(schedule) ? null : new Date(fateOf(next).decidedAt);
  await setAccounted(unit.trx, schedule.id, new Date(until), accountAt);
  return count;
}

/** What a time that has no run means, and when nothing can change that any more. */
function createFateOf({ pausedAt, catchUpWindowMs, jitterMs }: ScheduleRow, marginMs: number) {
  return (time: number): { reason: SkipReason; decidedAt: number } =>
    pausedAt !== null && time > pausedAt.getTime()
      ? { reason: 'paused', decidedAt: time + Math.min(marginMs, PAUSE_MARGIN_MS) }
      : { reason: 'catch_up_window', decidedAt: time + catchUpWindowMs + jitterMs + marginMs };
}

/** A time that comes in the pause may still be on its way to be refused. */
const PAUSE_MARGIN_MS = 5_000;

/** All its runs have begun. */
export const isOver = ({ maxRuns, runsStarted }: ScheduleRow): boolean =>
  maxRuns !== null && runsStarted >= maxRuns;

/** A pause ends: what came due in it is skipped for good. The schedule is as it was in the pause, its row locked. */
export async function accountPause(unit: Unit, schedule: ScheduleRow, until: Date): Promise<void> {
  if (schedule.pausedAt === null) return;
  const from = Math.max(schedule.pausedAt.getTime(), schedule.accountedUntil.getTime());
  const { times } = dueTimesBetween(schedule, from, until.getTime(), MAX_TIMES);
  await recordGaps(
    unit,
    schedule,
    times.map((time) => ({ time, reason: 'paused' })),
  );
}

/** B. @returns how many of the times had no run */
async function recordGaps(
  unit: Unit,
  schedule: ScheduleRow,
  decided: readonly { time: number; reason: SkipReason }[],
): Promise<number> {
  const [first] = decided;
  const last = decided.at(-1);
  if (first === undefined || last === undefined) return 0;
  const rows = await listAccounted(unit.trx, schedule.id, new Date(first.time), new Date(last.time));
  const isCovered = createCoverage(rows.map((row) => [row.dueAt.getTime(), row.lastDueAt.getTime()]));
  /** The row before the first time: it may go on. */
  const before = rows.findLast((row) => row.lastDueAt.getTime() < first.time);
  let gap: Gap | undefined;
  let count = 0;
  const close = async (): Promise<void> => {
    if (gap !== undefined) await writeGap(unit, schedule, gap);
    gap = undefined;
  };
  // Only where no time lies between: that one may still begin.
  const isNext = before && nextDueTimes(schedule, before.lastDueAt.getTime(), 1)[0]?.getTime() === first.time;
  if (isNext && (before.reason === 'paused' || before.reason === 'catch_up_window')) {
    gap = { reason: before.reason, extends: before.id, times: [] };
  }
  for (const { time, reason } of decided) {
    if (isCovered(time)) {
      await close();
      continue;
    }
    if (gap?.reason !== reason) await close();
    gap ??= { reason, times: [] };
    gap.times.push(time);
    count += 1;
  }
  await close();
  return count;
}

interface Gap {
  reason: SkipReason;
  /** Id of the row that goes on. */
  extends?: string;
  times: number[];
}

async function writeGap(unit: Unit, schedule: ScheduleRow, gap: Gap): Promise<void> {
  const first = gap.times[0];
  const last = gap.times.at(-1);
  if (first === undefined || last === undefined) return;
  const count = gap.times.length;
  if (gap.extends !== undefined) return extendGap(unit.trx, gap.extends, new Date(last), count);
  const state = gap.reason === 'paused' ? 'skipped' : 'missed';
  const id = uuidv7();
  await insertGap(unit.trx, {
    id,
    scheduleId: schedule.id,
    trigger: 'due',
    dueAt: new Date(first),
    lastDueAt: new Date(last),
    dueCount: count,
    state,
    reason: gap.reason,
    revision: schedule.revision,
  });
  unit.emit(`schedule.run_${state}`, {
    ownerId: schedule.creatorId,
    data: {
      scheduleId: schedule.id,
      runId: id,
      reason: gap.reason,
      dueAt: new Date(first).toISOString(),
      count,
    },
  });
}

/** Asked of ascending times. */
function createCoverage(spans: readonly (readonly [from: number, to: number])[]): (time: number) => boolean {
  let index = 0;
  return (time) => {
    while ((spans[index]?.[1] ?? Number.POSITIVE_INFINITY) < time) index += 1;
    const span = spans[index];
    return span !== undefined && span[0] <= time;
  };
}
