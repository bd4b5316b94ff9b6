/** Runs that a person asks for: now, or for times that have passed. */
import { v5 as uuidv5, v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { channels } from '../../contracts/events.ts';
import {
  type BackfillBody,
  MAX_BACKFILL_RUNS,
  MAX_WAITING_RUNS,
  type OverlapPolicy,
  type ScheduleRunView,
} from '../../contracts/schedules.ts';
import { findRun, insertWaitingRuns, listOpenRuns, listRunIds } from '../../db/schedule-runs.ts';
import { findSchedule, lockSchedule, notifySchedules } from '../../db/schedules.ts';
import type { Actor } from '../deps.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { assertMayRun, type ScheduleDeps } from './authority.ts';
import { admit } from './begin.ts';
import { dueTimesBetween } from './due-times.ts';
import { visible } from './store.ts';
import { presentRun } from './view.ts';

/**
 * Run a schedule now, paused or not, in the name of its editor.
 * @throws forbidden, schedule_not_found, conflict (an earlier run is not over), idempotency_conflict, and what making its
 *   work throws
 */
export async function triggerSchedule(
  deps: ScheduleDeps,
  actor: Actor,
  id: string,
  wish: { overlap?: OverlapPolicy | undefined },
  requestKey: RequestKey | null,
): Promise<ScheduleRunView> {
  assertCan(actor.principal, 'execute', 'schedule');
  const runId = await transact(deps, async (unit) => {
    const newId = uuidv7();
    const known = await claimRequest(unit.trx, actor.principal, requestKey, `schedule_trigger:${id}`, newId);
    if (known !== undefined) return known;
    const schedule = visible(actor, id, 'execute', await lockSchedule(unit.trx, id));
    assertMayRun(actor.principal, schedule.action);
    const overlap = wish.overlap ?? schedule.overlap;
    unit.audit(actor, {
      action: 'schedule.trigger',
      targetKind: 'schedule',
      targetId: id,
      details: { name: schedule.name, runId: newId, overlap },
    });
    const { state } = await admit(unit, deps, schedule, {
      id: newId,
      trigger: 'manual',
      dueAt: new Date(),
      overlap,
    });
    if (state === 'skipped' && !(await isWithoutAgent(unit, newId))) {
      throw problem('conflict', { reason: 'an earlier run of the schedule is not over' });
    }
    return newId;
  });
  const run = await findRun(deps.db, runId);
  if (run === undefined) throw problem('schedule_not_found', { scheduleId: id });
  return presentRun(run);
}

const isWithoutAgent = async (unit: Unit, runId: string): Promise<boolean> =>
  (await findRun(unit.trx, runId))?.reason === 'no_agent';

/**
 * A run for every due time of a span by the timing of now, also where there was one.
 * @throws forbidden, schedule_not_found, validation_failed (too many, or not over yet), idempotency_conflict
 */
export async function backfillSchedule(
  deps: ScheduleDeps,
  actor: Actor,
  id: string,
  body: BackfillBody,
  requestKey: RequestKey | null,
): Promise<string[]> {
  assertCan(actor.principal, 'execute', 'schedule');
  const schedule = visible(actor, id, 'execute', await findSchedule(deps.db, id));
  assertMayRun(actor.principal, schedule.action);
  const from = Date.parse(body.from);
  const to = Date.parse(body.to);
  if (to > Date.now()) refuse('to', 'must not be in the future');
  const { times, isWhole } = dueTimesBetween(schedule, from - 1, to, MAX_BACKFILL_RUNS);
  if (!isWhole)
    refuse('to', `must be earlier: there are more than ${MAX_BACKFILL_RUNS} due times until then`);
  return transact(deps, async (unit) => {
    const seriesId = uuidv7();
    const known = await claimRequest(
      unit.trx,
      actor.principal,
      requestKey,
      `schedule_backfill:${id}`,
      seriesId,
    );
    if (known !== undefined) {
      const possible = Array.from({ length: MAX_BACKFILL_RUNS }, (_, index) => runIdOf(known, index));
      return listRunIds(unit.trx, possible);
    }
    await lockSchedule(unit.trx, id);
    const open = await listOpenRuns(unit.trx, id);
    const waiting = open.filter((each) => each.state === 'waiting').length;
    if (waiting + times.length > MAX_WAITING_RUNS) {
      refuse('to', `must be earlier: ${waiting} runs wait already, and no more than ${MAX_WAITING_RUNS} may`);
    }
    const ids = times.map((_, index) => runIdOf(seriesId, index));
    await insertWaitingRuns(unit.trx, {
      scheduleId: id,
      revision: schedule.revision,
      ids,
      dueTimes: times.map((time) => new Date(time)),
      isBesideOthers: body.overlap === 'allow_all',
    });
    unit.audit(actor, {
      action: 'schedule.backfill',
      targetKind: 'schedule',
      targetId: id,
      details: { name: schedule.name, from: body.from, to: body.to, overlap: body.overlap, runs: ids.length },
    });
    await notifySchedules(unit.trx, channels.schedules);
    return ids;
  });
}

/** The runs of a backfill are known by its own id, so that a repeat finds them. */
const runIdOf = (seriesId: string, index: number): string => uuidv5(String(index), seriesId);

function refuse(field: string, message: string): never {
  const issue = { in: 'body', path: [field], message, type: 'value_error' } as const;
  throw problem('validation_failed', {}, { issues: [issue] });
}
