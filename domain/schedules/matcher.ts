import type { Calendar } from '../../contracts/schedules.ts';
import type { LocalDay } from './zone-time.ts';

/** A calendar, made ready to be asked. */
export interface Matcher {
  hours: number[];
  minutes: number[];
  seconds: number[];
  firstYear: number;
  lastYear: number;
  hasDay(day: LocalDay, weekday: number): boolean;
}

export function matcherOf(calendar: Calendar): Matcher {
  const setOf = (ranges: Ranges | undefined) => ranges && new Set(valuesOf(ranges));
  const dayOfMonth = setOf(calendar.dayOfMonth);
  const month = setOf(calendar.month);
  const dayOfWeek = setOf(calendar.dayOfWeek);
  const year = setOf(calendar.year);
  return {
    hours: valuesOf(calendar.hour),
    minutes: valuesOf(calendar.minute),
    seconds: valuesOf(calendar.second),
    firstYear: year === undefined ? Number.NEGATIVE_INFINITY : Math.min(...year),
    lastYear: year === undefined ? Number.POSITIVE_INFINITY : Math.max(...year),
    hasDay: (day, weekday) =>
      (month?.has(day.month) ?? true) &&
      (dayOfMonth?.has(day.day) ?? true) &&
      (dayOfWeek?.has(weekday) ?? true) &&
      (year?.has(day.year) ?? true),
  };
}

type Ranges = Calendar['minute'];

/** Every value that ranges name, ascending, each once. */
export function valuesOf(ranges: Ranges): number[] {
  const values = new Set<number>();
  for (const range of ranges) {
    if (typeof range === 'number') values.add(range);
    else for (let value = range.from; value <= range.to; value += range.step) values.add(value);
  }
  return [...values].sort((a, b) => a - b);
}
