/**
 * When a schedule is due: the very times that Temporal takes, also where clocks change. They tell what comes next, what a
 * backfill is about, and which due times had no run.
 */
import type { Calendar, Timing } from '../../contracts/schedules.ts';
import { createClockChange } from './clock-change.ts';
import { parseCron } from './cron.ts';
import { type Matcher, matcherOf } from './matcher.ts';
import { type LocalDay, localDayOf, steadyOffsetOf } from './zone-time.ts';

const DAY_MS = 24 * 60 * 60 * 1_000;
/** How far ahead something rare is looked for; the 29th of February is never further away than eight years. */
const MAX_DAYS_AHEAD = 50 * 366;

export interface DueSpan {
  timing: Timing;
  /** Included. */
  startAt: Date | null;
  /** Included. */
  endAt: Date | null;
}

/** The calendars that a timing means; none for an interval. @throws when the expression is not one */
export function calendarsOf(timing: Exclude<Timing, { kind: 'interval' }>): Calendar[] {
  if (timing.kind === 'calendar') return timing.calendars;
  const parsed = parseCron(timing.expression);
  if ('error' in parsed) throw new TypeError(`the cron expression ${parsed.error}`);
  return [parsed.calendar];
}

/** Due times after a moment, ascending, milliseconds since the epoch. Ends where the schedule does. */
export function* dueTimesAfter(span: DueSpan, afterMs: number): Generator<number, void, undefined> {
  const { timing, startAt, endAt } = span;
  // A time at the very start is due.
  const after = startAt === null ? afterMs : Math.max(afterMs, startAt.getTime() - 1);
  const times = timing.kind === 'interval' ? intervalTimes(timing, after) : calendarTimes(timing, after);
  for (const time of times) {
    if (endAt !== null && time > endAt.getTime()) return;
    yield time;
  }
}

/** The first `count` due times after a moment. */
export function nextDueTimes(span: DueSpan, afterMs: number, count: number): Date[] {
  const times: Date[] = [];
  for (const time of dueTimesAfter(span, afterMs)) {
    times.push(new Date(time));
    if (times.length === count) break;
  }
  return times;
}

/** Due times in (after, until], at most `max`; `isWhole` is false when there are more. */
export function dueTimesBetween(
  span: DueSpan,
  afterMs: number,
  untilMs: number,
  max: number,
): { times: number[]; isWhole: boolean } {
  const times: number[] = [];
  for (const time of dueTimesAfter(span, afterMs)) {
    if (time > untilMs) break;
    if (times.length === max) return { times, isWhole: false };
    times.push(time);
  }
  return { times, isWhole: true };
}

function* intervalTimes({ everyMs, offsetMs }: Extract<Timing, { kind: 'interval' }>, after: number) {
  let time = Math.floor((after - offsetMs) / everyMs) * everyMs + offsetMs;
  for (;;) {
    time += everyMs;
    yield time;
  }
}

function* calendarTimes(timing: Exclude<Timing, { kind: 'interval' }>, after: number) {
  const { timeZone } = timing;
  const matchers = calendarsOf(timing).map(matcherOf);
  const nextAtChange = createClockChange(timeZone, matchers);
  // A day earlier: around a change of clocks the day of a moment is not the day of the one before.
  const first = localDayOf(timeZone, after - DAY_MS);
  const firstYear = Math.min(...matchers.map((matcher) => matcher.firstYear));
  const firstDay = Math.max(
    Date.UTC(first.year, first.month - 1, first.day),
    Number.isFinite(firstYear) ? Date.UTC(firstYear, 0, 1) : Number.NEGATIVE_INFINITY,
  );
  const lastYear = Math.max(...matchers.map((matcher) => matcher.lastYear));
  let last = Math.floor(after / 1_000) * 1_000;
  for (let index = 0; index < MAX_DAYS_AHEAD; index++) {
    const midnight = firstDay + index * DAY_MS;
    const day = dayOf(midnight);
    if (day.year > lastYear) return;
    const fitting = matchers.filter((matcher) => matcher.hasDay(day, new Date(midnight).getUTCDay()));
    if (fitting.length === 0) continue;
    const offset = steadyOffsetOf(timeZone, midnight);
    if (offset === undefined) {
      // Nothing is due between the last time and this day.
      last = Math.max(last, midnight - 2 * DAY_MS);
      for (let time = nextAtChange(last); time !== undefined; time = nextAtChange(last)) {
        const local = localDayOf(timeZone, time);
        if (Date.UTC(local.year, local.month - 1, local.day) > midnight) break; // of a later day
        last = time;
        yield time;
      }
      continue;
    }
    for (const time of timesOfDay(fitting, last + offset - midnight)) {
      last = midnight + time - offset;
      yield last;
    }
  }
}

/** @param midnight as if it were UTC */
export function dayOf(midnight: number): LocalDay {
  const date = new Date(midnight);
  return { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() };
}

/**
 * Times of a day after one of them at which any of the matchers is due, ascending, milliseconds after midnight. One after
 * the other: whoever asks for the next one does not pay for all 86,400 of them.
 */
function* timesOfDay(matchers: readonly Matcher[], after: number): Generator<number, void, undefined> {
  const from = Math.max(Math.floor(after / 1_000) + 1, 0);
  for (let hour = Math.floor(from / 3_600); hour < 24; hour++) {
    const ofHour = matchers.filter(({ hours }) => hours.includes(hour));
    if (ofHour.length === 0) continue;
    for (let minute = 0; minute < 60; minute++) {
      const start = (hour * 60 + minute) * 60;
      if (start + 60 <= from) continue;
      const ofMinute = ofHour.filter(({ minutes }) => minutes.includes(minute));
      if (ofMinute.length === 0) continue;
      for (let second = Math.max(from - start, 0); second < 60; second++) {
        if (ofMinute.some(({ seconds }) => seconds.includes(second))) yield (start + second) * 1_000;
      }
    }
  }
}
