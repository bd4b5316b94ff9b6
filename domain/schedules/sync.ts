/**
 * Temporal is told what the rows say, and told again until it has heard.
 *
 *  A. The row is the truth. Telling is always the whole of its newest revision, so it does not matter how often, or what
 *     was told before.
 *  B. Whoever changes one of our schedules in Temporal itself, or wipes Temporal, is overruled: what Temporal holds is
 *     compared with what it was told, one schedule after the other.
 */
import type { ScheduleServer, ServerSchedule, ServerScheduleState } from '../../contracts/schedule-io.ts';
import {
  listUnsynced,
  lookSoon,
  markDrifted,
  markSynced,
  postponeSync,
  type ScheduleRow,
  takeUnlooked,
} from '../../db/schedules.ts';
import type { DomainDeps } from '../deps.ts';
import { inLanes } from '../in-lanes.ts';
import { calendarsOf, dueTimesBetween } from './due-times.ts';

/** Schedules told in one round, and told or compared at the same time. */
const SYNC_PER_ROUND = 200;
const SYNC_PARALLEL = 8;
/** Pause before Temporal is told again after it refused, doubling from the first. Milliseconds. */
const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 5 * 60_000;
/** Each schedule is compared with Temporal's about this often, and so many in a round. */
const LOOK_AFTER_MS = 5 * 60_000;
const LOOKS_PER_ROUND = 20;
/** Times this near may have passed between Temporal's answer and ours, milliseconds. */
const NEAR_MS = 2_000;

export type SyncDeps = DomainDeps & { scheduleServer: ScheduleServer };

/** @returns how many schedules Temporal was told of */
export async function syncSchedules(deps: SyncDeps, signal?: AbortSignal): Promise<number> {
  if (!deps.scheduleServer.ready()) return 0;
  const isStopped = () => signal?.aborted === true || !deps.scheduleServer.ready();
  const due = await listUnsynced(deps.db, SYNC_PER_ROUND);
  const told = await inLanes(due, { count: SYNC_PARALLEL, isStopped }, (row) => syncOne(deps, row));
  return told.filter(Boolean).length;
}

async function syncOne(deps: SyncDeps, row: ScheduleRow): Promise<boolean> {
  const { id, revision } = row;
  try {
    if (row.deletedAt !== null) {
      await deps.scheduleServer.remove(id);
      await markSynced(deps.db, { id, revision, fingerprint: null, agrees: null });
    } else {
      const state = await deps.scheduleServer.put(serverSchedule(row));
      const agrees = agreesWith(row, state);
      if (agrees === false) {
        deps.log.warn({ event: 'schedule_preview_differs', scheduleId: id, server: state.nextTimes });
      }
      await markSynced(deps.db, { id, revision, fingerprint: state.fingerprint, agrees });
    }
    return true;
  } catch (error) {
    const retryAfterMs = Math.min(FIRST_RETRY_MS * 2 ** Math.min(row.syncAttempts, 20), MAX_RETRY_MS);
    deps.log.warn({ event: 'schedule_sync_failed', scheduleId: id, revision, retryAfterMs, err: error });
    const message = error instanceof Error ? error.message : String(error);
    // While it is away nothing is wrong with this schedule: the next round after its return tells it.
    await postponeSync(deps.db, id, message, deps.scheduleServer.ready() ? retryAfterMs : FIRST_RETRY_MS);
    return false;
  }
}

/** @returns how many were not what Temporal had been told (B) */
export async function findDriftedSchedules(deps: SyncDeps, lookAfterMs = LOOK_AFTER_MS): Promise<number> {
  if (!deps.scheduleServer.ready()) return 0;
  const rows = await takeUnlooked(deps.db, lookAfterMs, LOOKS_PER_ROUND);
  const isStopped = () => !deps.scheduleServer.ready();
  const found = await inLanes(rows, { count: SYNC_PARALLEL, isStopped }, (row) => lookAt(deps, row));
  if (found.includes('gone')) await lookSoon(deps.db, lookAfterMs);
  return found.filter((finding) => finding === 'gone' || finding === 'changed').length;
}

type Finding = 'same' | 'changed' | 'gone' | 'unknown';

/** Unknown where Temporal does not say: it is asked again in its turn, and the others do not wait for that. */
async function lookAt(deps: SyncDeps, row: ScheduleRow): Promise<Finding> {
  const { id, revision } = row;
  let state: ServerScheduleState | undefined;
  try {
    state = await deps.scheduleServer.look(id);
  } catch (error) {
    deps.log.warn({ event: 'schedule_look_failed', scheduleId: id, err: error });
    return 'unknown';
  }
  if (state?.fingerprint === row.serverFingerprint) return 'same';
  deps.log.warn({ event: 'schedule_drifted', scheduleId: id, isGone: state === undefined });
  await markDrifted(deps.db, id, revision);
  return state === undefined ? 'gone' : 'changed';
}

function serverSchedule(row: ScheduleRow): ServerSchedule {
  const { id: scheduleId, revision, name, timing, startAt, endAt, jitterMs, catchUpWindowMs } = row;
  const isOver = row.maxRuns !== null && row.runsStarted >= row.maxRuns;
  return {
    scheduleId,
    revision,
    name,
    timing:
      timing.kind === 'cron'
        ? {
            kind: 'calendar',
            calendars: calendarsOf(timing),
            timeZone: timing.timeZone,
            comment: timing.expression,
          }
        : timing,
    startAt,
    endAt,
    jitterMs,
    catchUpWindowMs,
    isPaused: row.pausedAt !== null || isOver,
    note: row.pausedAt !== null ? row.pauseNote : isOver ? 'all its runs have begun' : null,
  };
}

/** Does Temporal mean the times that we mean? Null where it says none. */
function agreesWith(row: ScheduleRow, { nextTimes }: ServerScheduleState): boolean | null {
  const now = Date.now();
  const theirs = nextTimes.map((time) => time.getTime()).filter((time) => time > now + NEAR_MS);
  const last = theirs.at(-1);
  if (last === undefined) return null;
  const { times: ours } = dueTimesBetween(row, now - row.jitterMs - NEAR_MS, last, 2_000);
  if (row.jitterMs === 0) {
    const wanted = ours.filter((time) => time > now + NEAR_MS);
    return wanted.length === theirs.length && wanted.every((time, index) => time === theirs[index]);
  }
  return theirs.every((time) => ours.some((due) => due <= time && time <= due + row.jitterMs));
}
