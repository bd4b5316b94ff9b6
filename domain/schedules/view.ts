/** Schedules and runs as the house API shows them. */
import {
  PREVIEW_RUNS,
  type ScheduleDetailView,
  type ScheduleRunView,
  type ScheduleView,
} from '../../contracts/schedules.ts';
import type { ScheduleRunRow } from '../../db/schedule-runs.ts';
import type { ScheduleRow } from '../../db/schedules.ts';
import { nextDueTimes } from './due-times.ts';
import { wordsOf } from './words.ts';

export function presentSchedule(row: ScheduleRow, now = Date.now()): ScheduleView {
  const [next] = nextDueTimes(row, now, 1);
  const state = stateOf(row, next);
  return {
    id: row.id,
    name: row.name,
    note: row.note,
    timing: row.timing,
    action: row.action,
    target: row.target,
    overlap: row.overlap,
    catchUpWindowMs: row.catchUpWindowMs,
    jitterMs: row.jitterMs,
    startAt: row.startAt?.toISOString() ?? null,
    endAt: row.endAt?.toISOString() ?? null,
    maxRuns: row.maxRuns,
    state,
    pausedAt: row.pausedAt?.toISOString() ?? null,
    pauseNote: row.pauseNote,
    runsStarted: row.runsStarted,
    revision: row.revision,
    words: wordsOf(row.timing),
    nextRunAt: state === 'active' ? (next?.toISOString() ?? null) : null,
    sync: {
      state: row.syncedRevision === row.revision ? 'synced' : row.syncError === null ? 'pending' : 'failed',
      error: row.syncError,
      at: row.syncedAt?.toISOString() ?? null,
    },
    createdBy: { kind: row.creatorKind, id: row.creatorId, name: row.creatorName },
    editedBy: { kind: row.editorKind, id: row.editorId, name: row.editorName },
    createdAt: row.createdAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
  };
}

export function presentScheduleDetail(row: ScheduleRow): ScheduleDetailView {
  const now = Date.now();
  const schedule = presentSchedule(row, now);
  const times = schedule.state === 'ended' ? [] : nextDueTimes(row, now, PREVIEW_RUNS);
  return {
    ...schedule,
    nextRuns: {
      words: schedule.words,
      times: times.map((time) => time.toISOString()),
      // Of an older revision it says nothing.
      agreesWithServer: row.syncedRevision === row.revision ? row.serverAgrees : null,
      checkedAt: row.syncedAt?.toISOString() ?? null,
    },
  };
}

function stateOf(row: ScheduleRow, next: Date | undefined): ScheduleView['state'] {
  if (next === undefined || (row.maxRuns !== null && row.runsStarted >= row.maxRuns)) return 'ended';
  return row.pausedAt === null ? 'active' : 'paused';
}

export const presentRun = (row: ScheduleRunRow): ScheduleRunView => ({
  id: row.id,
  scheduleId: row.scheduleId,
  trigger: row.trigger,
  state: row.state,
  reason: row.reason,
  message: row.message,
  dueAt: row.dueAt.toISOString(),
  count: row.dueCount,
  lastDueAt: row.lastDueAt.toISOString(),
  revision: row.revision,
  taskIds: row.taskIds,
  batchIds: row.batchIds,
  refused: row.refused,
  startedAt: row.startedAt?.toISOString() ?? null,
  endedAt: row.endedAt?.toISOString() ?? null,
  createdAt: row.createdAt.toISOString(),
});
