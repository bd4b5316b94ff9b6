/**
 * Temporal Schedules: what our rows say, in the words of the server. It says when; whether a due time becomes a run is
 * decided by the row (domain/schedules/begin.ts), so every due time starts its workflow, whatever goes on beside it.
 */
import { createHash } from 'node:crypto';
import {
  type CalendarSpec,
  type Client,
  DAYS_OF_WEEK,
  type IntervalSpec,
  MONTHS,
  ScheduleAlreadyRunning,
  type ScheduleDescription,
  ScheduleNotFoundError,
  type ScheduleOptions,
  ScheduleOverlapPolicy,
  type ScheduleSpec,
} from '@temporalio/client';
import {
  type ScheduledRunInput,
  type ScheduleServer,
  type ServerSchedule,
  type ServerScheduleState,
  scheduledRunType,
  scheduledWorkflowId,
  serverScheduleId,
} from '../contracts/schedule-io.ts';
import type { Calendar } from '../contracts/schedules.ts';
import type { TemporalClient } from './connection.ts';
import { failureKind, isUnanswered } from './failures.ts';
import { cutToBytes } from './workflows.ts';
import { zoneNameOf } from './zone-names.ts';

/** Longest a call may take, milliseconds. */
const CALL_DEADLINE_MS = 10_000;
/**
 * A description is an answer of a workflow, and servers before 1.30 lose such an answer now and then: it is asked for so
 * often, and waited for so many milliseconds each time.
 */
const ASK_ATTEMPTS = 3;
const ASK_DEADLINE_MS = 3_000;
/** Longest summary of a workflow, bytes. */
const MAX_SUMMARY_BYTES = 200;

export function createScheduleServer({
  temporal,
  taskQueue,
}: {
  temporal: TemporalClient;
  /** Queue of the workflows. */
  taskQueue: string;
}): ScheduleServer {
  return {
    ready: () => temporal.ready(),
    put: (schedule) =>
      temporal.call(CALL_DEADLINE_MS, async (client) => {
        const { schedule: schedules } = client;
        const options = optionsOf(schedule, taskQueue);
        // It may be there, whatever we know of it: a call that failed for us may have been taken.
        try {
          await schedules.create(options);
        } catch (error) {
          if (!(error instanceof ScheduleAlreadyRunning)) throw error;
          // The client asks for a description first.
          await ask(client, () => schedules.getHandle(options.scheduleId).update(() => options));
        }
        return describe(client, options.scheduleId);
      }),
    async look(scheduleId) {
      try {
        return await temporal.call(CALL_DEADLINE_MS, (client) =>
          describe(client, serverScheduleId(scheduleId)),
        );
      } catch (error) {
        if (isGone(error)) return undefined;
        throw error;
      }
    },
    async remove(scheduleId) {
      try {
        await temporal.call(CALL_DEADLINE_MS, ({ schedule: schedules }) =>
          schedules.getHandle(serverScheduleId(scheduleId)).delete(),
        );
      } catch (error) {
        if (!isGone(error)) throw error;
      }
    },
  };
}

const describe = async (client: Client, serverId: string): Promise<ServerScheduleState> =>
  stateOf(await ask(client, () => client.schedule.getHandle(serverId).describe()));

/** @throws where it was never answered an error of its own: the server may be there, and only this workflow behind */
async function ask<T>(client: Client, call: () => Promise<T>): Promise<T> {
  for (let attempt = 1; attempt <= ASK_ATTEMPTS; attempt += 1) {
    try {
      return await client.withDeadline(Date.now() + ASK_DEADLINE_MS, call);
    } catch (error) {
      if (!isUnanswered(error)) throw error;
    }
  }
  throw new Error(`Temporal did not describe the schedule, asked ${ASK_ATTEMPTS} times`);
}

const isGone = (error: unknown): boolean =>
  error instanceof ScheduleNotFoundError || failureKind(error) === 'not_found';

type StartOptions = ScheduleOptions & { action: { type: 'startWorkflow' } };

function optionsOf(
  schedule: ServerSchedule,
  taskQueue: string,
): StartOptions & { state: { paused: boolean } } {
  const { scheduleId, revision, name } = schedule;
  const input: ScheduledRunInput = { scheduleId, revision };
  return {
    scheduleId: serverScheduleId(scheduleId),
    spec: specOf(schedule),
    action: {
      type: 'startWorkflow',
      workflowType: scheduledRunType,
      workflowId: scheduledWorkflowId(scheduleId),
      taskQueue,
      args: [input],
      staticSummary: cutToBytes(name, MAX_SUMMARY_BYTES),
    },
    policies: {
      overlap: ScheduleOverlapPolicy.ALLOW_ALL,
      catchupWindow: schedule.catchUpWindowMs,
      pauseOnFailure: false,
    },
    state: { paused: schedule.isPaused, note: schedule.note ?? '' },
  };
}

function specOf({ timing, startAt, endAt, jitterMs }: ServerSchedule): ScheduleSpec {
  const shared = {
    ...(startAt !== null && { startAt }),
    ...(endAt !== null && { endAt }),
    ...(jitterMs > 0 && { jitter: jitterMs }),
  };
  if (timing.kind === 'interval') {
    const { everyMs: every, offsetMs: offset } = timing;
    const interval: IntervalSpec = offset === 0 ? { every } : { every, offset };
    return { intervals: [interval], ...shared };
  }
  const { comment } = timing;
  return {
    calendars: timing.calendars.map((calendar) => ({ ...calendarOf(calendar), ...(comment && { comment }) })),
    timezone: zoneNameOf(timing.timeZone),
    ...shared,
  };
}

type Numbers = { start: number; end: number; step?: number }[];

const numbersOf = (ranges: Calendar['minute']): Numbers =>
  ranges.map((range) =>
    typeof range === 'number'
      ? { start: range, end: range }
      : { start: range.from, end: range.to, step: range.step },
  );

function calendarOf(calendar: Calendar): CalendarSpec {
  const { second, minute, hour, dayOfMonth, month, dayOfWeek, year } = calendar;
  return {
    second: numbersOf(second),
    minute: numbersOf(minute),
    hour: numbersOf(hour),
    ...(dayOfMonth && { dayOfMonth: numbersOf(dayOfMonth) }),
    ...(month && { month: valuesOf(month).flatMap((value) => MONTHS[value - 1] ?? []) }),
    ...(dayOfWeek && { dayOfWeek: valuesOf(dayOfWeek).flatMap((value) => DAYS_OF_WEEK[value] ?? []) }),
    ...(year && { year: numbersOf(year) }),
  };
}

/** What the client takes by name is told one by one. */
const valuesOf = (ranges: Calendar['minute']): number[] =>
  numbersOf(ranges).flatMap(({ start, end, step = 1 }) =>
    Array.from({ length: Math.floor((end - start) / step) + 1 }, (_, index) => start + index * step),
  );

/** The fingerprint is of what was told, not of what has happened since. */
function stateOf({ spec, action, policies, state, info }: ScheduleDescription): ServerScheduleState {
  const told = JSON.stringify({ spec, action, policies, paused: state.paused, note: state.note ?? '' });
  return {
    fingerprint: createHash('sha256').update(told).digest('hex'),
    nextTimes: info.nextActionTimes,
  };
}
