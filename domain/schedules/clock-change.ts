/**
 * Due times around a change of clocks, hour by hour as Temporal's server (1.29) goes through them. What it does there is
 * its own: this must be the same, or a time would be called missed that Temporal never meant.
 *
 *  A. A time that the clock skips by an hour is not due. By half an hour (Lord Howe Island) it is due a little later.
 *  B. When the next full hour is more than an hour away, an hour comes twice: the hour before the gap is gone through
 *     again, an hour later. West of Greenwich that is the repetition itself; east of it is the first of the two, and an
 *     hour that is due there was due under the name of the hour before.
 */
import type { Matcher } from './matcher.ts';
import { momentOf, wallClockOf } from './zone-time.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** Days that are looked at: a change of clocks lies near the moment that is asked about. */
const MAX_DAYS = 5;

/** @returns the first due time after a moment, or undefined when none is near it */
export function createClockChange(
  timeZone: string,
  matchers: readonly Matcher[],
): (after: number) => number | undefined {
  const momentAt = (wall: number): number => momentOf(timeZone, wall);
  const hourShown = (moment: number): number => new Date(wallClockOf(timeZone, moment)).getUTCHours();

  /** The first time of one hour that is due, from `from` milliseconds after its beginning. */
  function findInHour(matcher: Matcher, hourWall: number, from: number): { wall: number } | undefined {
    for (const minute of matcher.minutes) {
      if (minute * MINUTE_MS + MINUTE_MS <= from) continue;
      for (const second of matcher.seconds) {
        const inHour = minute * MINUTE_MS + second * 1_000;
        if (inHour >= from) return { wall: hourWall + inHour };
      }
    }
    return undefined;
  }

  function nextOf(matcher: Matcher, after: number): number | undefined {
    const wall = wallClockOf(timeZone, after);
    let midnight = Math.floor(wall / DAY_MS) * DAY_MS;
    let hour = new Date(wall).getUTCHours();
    let from = (wall % HOUR_MS) + 1_000;
    let isRepeated = hourShown(after - HOUR_MS) === hour;
    for (let days = 0; days < MAX_DAYS; ) {
      if (hour >= 24) {
        hour = 0;
        midnight += DAY_MS;
        days += 1;
      }
      if (!hasDay(matcher, midnight)) {
        midnight += DAY_MS;
        days += 1;
        hour = 0;
        from = 0;
        isRepeated = false;
        continue;
      }
      if (!matcher.hours.includes(hour) && from < HOUR_MS) {
        hour += 1;
        from = 0;
        isRepeated = false;
        continue;
      }
      const hourWall = midnight + hour * HOUR_MS;
      const found = from < HOUR_MS ? findInHour(matcher, hourWall, from) : undefined;
      from = 0;
      if (found === undefined) {
        // B
        const isNextFar = momentAt(hourWall + HOUR_MS) - momentAt(hourWall) > HOUR_MS;
        if (isRepeated || !isNextFar) hour += 1;
        isRepeated = !isRepeated && isNextFar;
        continue;
      }
      const moment = momentAt(found.wall);
      if (hourShown(moment) === hour) return moment + (isRepeated ? HOUR_MS : 0);
      hour += 1; // A
    }
    return undefined;
  }

  return (after) => {
    const times = matchers.map((matcher) => nextOf(matcher, after)).filter((time) => time !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  };
}

function hasDay(matcher: Matcher, midnight: number): boolean {
  const date = new Date(midnight);
  const day = { year: date.getUTCFullYear(), month: date.getUTCMonth() + 1, day: date.getUTCDate() };
  return matcher.hasDay(day, date.getUTCDay());
}
