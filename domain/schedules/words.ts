/** A timing as a person says it. */
import cronstrue from 'cronstrue';
import type { Calendar, Timing } from '../../contracts/schedules.ts';
import { expandCron } from './cron.ts';
import { valuesOf } from './matcher.ts';

const dayNames = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const monthNames = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];
/** More times of a day than these are told by their parts. */
const MAX_NAMED_TIMES = 6;

/** For example `At 09:00, Monday through Friday (Europe/Berlin)`. */
export function wordsOf(timing: Timing): string {
  switch (timing.kind) {
    case 'cron':
      return `${cronWords(timing.expression)} (${timing.timeZone})`;
    case 'interval':
      return intervalWords(timing.everyMs, timing.offsetMs);
    case 'calendar':
      return `${timing.calendars.map(calendarWords).join('; and ')} (${timing.timeZone})`;
  }
}

function cronWords(expression: string): string {
  const parts = expandCron(expression);
  if ('error' in parts) return expression;
  const words = cronstrue.toString(parts.join(' '), { use24HourTimeFormat: true, verbose: false });
  const [, , dayOfMonth, , dayOfWeek] = parts;
  const isAny = (part: string | undefined): boolean => part === '*' || part === '?';
  // In classic cron it is either of them.
  const isBoth = !isAny(dayOfMonth) && !isAny(dayOfWeek);
  return isBoth ? `${words}; only on days that fit both the day of the month and the day of the week` : words;
}

const units = [
  { name: 'day', ms: 24 * 60 * 60 * 1_000 },
  { name: 'hour', ms: 60 * 60 * 1_000 },
  { name: 'minute', ms: 60 * 1_000 },
  { name: 'second', ms: 1_000 },
];

function intervalWords(everyMs: number, offsetMs: number): string {
  const every = durationWords(everyMs);
  const words = `Every ${every.startsWith('1 ') && !every.includes(',') ? every.slice(2) : every}`;
  return offsetMs === 0 ? words : `${words}, ${durationWords(offsetMs)} after whole multiples of it (UTC)`;
}

/** `1 day, 2 hours` */
function durationWords(ms: number): string {
  const parts: string[] = [];
  let left = ms;
  for (const unit of units) {
    const count = Math.floor(left / unit.ms);
    left -= count * unit.ms;
    if (count > 0) parts.push(`${count} ${unit.name}${count === 1 ? '' : 's'}`);
  }
  return parts.join(', ');
}

function calendarWords(calendar: Calendar): string {
  const parts = [
    timesWords(calendar),
    calendar.dayOfMonth && `on day ${listWords(valuesOf(calendar.dayOfMonth).map(String))} of the month`,
    calendar.dayOfWeek && `on ${listWords(valuesOf(calendar.dayOfWeek).map((day) => dayNames[day] ?? ''))}`,
    calendar.month && `in ${listWords(valuesOf(calendar.month).map((month) => monthNames[month - 1] ?? ''))}`,
    calendar.year && `of ${listWords(valuesOf(calendar.year).map(String))}`,
  ];
  return parts.filter((part) => part !== undefined).join(', ');
}

function timesWords({ second, minute, hour }: Calendar): string {
  const [seconds, minutes, hours] = [valuesOf(second), valuesOf(minute), valuesOf(hour)];
  if (seconds.length * minutes.length * hours.length <= MAX_NAMED_TIMES) {
    const times = hours.flatMap((h) =>
      minutes.flatMap((m) => seconds.map((s) => (s === 0 ? clock(h, m) : `${clock(h, m)}:${two(s)}`))),
    );
    return `At ${listWords(times)}`;
  }
  const part = (name: string, values: number[], all: number): string =>
    values.length === all ? `every ${name}` : `${name} ${listWords(rangesOf(values))}`;
  const words = [part('minute', minutes, 60), part('hour', hours, 24)];
  if (seconds.length > 1 || seconds[0] !== 0) words.unshift(part('second', seconds, 60));
  return `At ${words.join(' of ')}`;
}

const two = (value: number): string => String(value).padStart(2, '0');
const clock = (hour: number, minute: number): string => `${two(hour)}:${two(minute)}`;

/** `1`, `5 to 9` */
function rangesOf(values: readonly number[]): string[] {
  const ranges: [number, number][] = [];
  for (const value of values) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === value - 1) last[1] = value;
    else ranges.push([value, value]);
  }
  return ranges.map(([from, to]) => (from === to ? String(from) : `${from} to ${to}`));
}

const listWords = (items: readonly string[]): string =>
  items.length < 2 ? items.join() : `${items.slice(0, -1).join(', ')} and ${items.at(-1)}`;
