/** What crosses the borders between schedules, workflow code and Temporal: ids, times and short facts. */
import type { Calendar, Timing } from './schedules.ts';

/** Argument of every workflow that a Temporal Schedule starts. */
export interface ScheduledRunInput {
  scheduleId: string;
  /** Of the schedule when Temporal was told of it; the row decides what is run. */
  revision: number;
}

export interface ScheduleActivities {
  /** A due time has come: begin its run, or say why there is none. Idempotent by `runId`. */
  beginScheduledRun(input: {
    scheduleId: string;
    /** Id of the workflow's first run: the id of the run. */
    runId: string;
    /** Milliseconds since the epoch, without jitter. */
    dueAtMs: number;
  }): Promise<{ outcome: string }>;
}

/** Type of the workflow. */
export const scheduledRunType = 'scheduledRun';
/** Id of the Temporal Schedule of a row. */
export const serverScheduleId = (scheduleId: string): string => `schedule/${scheduleId}`;
/** Temporal appends the due time: `scheduled/<id>-2026-01-01T00:00:00Z`. */
export const scheduledWorkflowId = (scheduleId: string): string => `scheduled/${scheduleId}`;

/** A row as Temporal is told of it. */
export interface ServerSchedule {
  scheduleId: string;
  revision: number;
  name: string;
  timing: ServerTiming;
  startAt: Date | null;
  endAt: Date | null;
  jitterMs: number;
  catchUpWindowMs: number;
  isPaused: boolean;
  note: string | null;
}

/** A cron expression is told as the calendar it means. */
export type ServerTiming =
  | Extract<Timing, { kind: 'interval' }>
  | { kind: 'calendar'; calendars: Calendar[]; timeZone: string; comment?: string };

/** What Temporal says of one of its schedules. */
export interface ServerScheduleState {
  /** Of everything that was told; another one means that somebody else has changed it. */
  fingerprint: string;
  /** Up to ten, with jitter; empty where it says none. */
  nextTimes: Date[];
}

/** Temporal's schedules, as much as the domain needs of them. All calls have a deadline. */
export interface ScheduleServer {
  /** Is Temporal there? */
  ready(): boolean;
  /** Create it, or make what is there the same. */
  put(schedule: ServerSchedule): Promise<ServerScheduleState>;
  /** Undefined: there is none. */
  look(scheduleId: string): Promise<ServerScheduleState | undefined>;
  /** Also where there is none. */
  remove(scheduleId: string): Promise<void>;
}
