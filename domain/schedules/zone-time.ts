/** Between the clock on a wall and UTC, by the time zone database of the runtime. A wall clock is told as if it were UTC. */

/** A day as the calendar of a zone shows it. Months from 1. */
export interface LocalDay {
  year: number;
  month: number;
  day: number;
}

const DAY_MS = 24 * 60 * 60 * 1_000;

/** By name in lower case: a zone is one however it is spelled, so there are no more of them than the database knows. */
const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(timeZone: string): Intl.DateTimeFormat {
  const name = timeZone.toLowerCase();
  let format = formats.get(name);
  if (format === undefined) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'gregory',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
    formats.set(name, format);
  }
  return format;
}

/** What the clock of the zone shows, as if it were UTC; whole seconds. */
export function wallClockOf(timeZone: string, utcMs: number): number {
  const parts: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {};
  for (const { type, value } of formatOf(timeZone).formatToParts(utcMs)) parts[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

const offsetAt = (timeZone: string, utcMs: number): number =>
  wallClockOf(timeZone, utcMs) - Math.floor(utcMs / 1_000) * 1_000;

export function localDayOf(timeZone: string, utcMs: number): LocalDay {
  const wall = new Date(wallClockOf(timeZone, utcMs));
  return { year: wall.getUTCFullYear(), month: wall.getUTCMonth() + 1, day: wall.getUTCDate() };
}

/**
 * The offset of a zone on a local day, or undefined where its clock changes on that day or near it. A zone is less than a
 * day away from UTC, so whatever happens to its clock that day lies between the moments asked for.
 */
export function steadyOffsetOf(timeZone: string, midnight: number): number | undefined {
  const first = offsetAt(timeZone, midnight - DAY_MS);
  for (let at = midnight - DAY_MS / 2; at <= midnight + 2 * DAY_MS; at += DAY_MS / 2) {
    if (offsetAt(timeZone, at) !== first) return undefined;
  }
  return first;
}

/**
 * The moment that Temporal takes for what a clock shows. Of two it is the one that follows from the offset which is valid
 * when UTC shows the same; what the clock never shows becomes a moment at which it shows something else.
 */
export function momentOf(timeZone: string, wall: number): number {
  const offset = offsetAt(timeZone, wall);
  if (offset === 0) return wall;
  const moment = wall - offset;
  return offsetAt(timeZone, moment) === offset ? moment : wall - offsetAt(timeZone, moment);
}
