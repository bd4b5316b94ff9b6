/** When schedules are due, and how that is said. */
import { Cron } from 'croner';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Timing, timingSchema } from '../../contracts/schedules.ts';
import { expandCron, parseCron } from '../../domain/schedules/cron.ts';
import { dueTimesBetween, nextDueTimes } from '../../domain/schedules/due-times.ts';
import { wordsOf } from '../../domain/schedules/words.ts';
import { zoneNameOf } from '../../temporal/zone-names.ts';

const cron = (expression: string, timeZone = 'UTC'): Timing => ({ kind: 'cron', expression, timeZone });
const span = (timing: Timing) => ({ timing, startAt: null, endAt: null });
const next = (timing: Timing, after: string, count = 1): string[] =>
  nextDueTimes(span(timing), Date.parse(after), count).map((time) => time.toISOString());

describe('cron expressions', () => {
  it.each([
    ['0 9 * * 1-5', '2026-11-20T10:00:00Z', ['2026-11-23T09:00:00.000Z', '2026-11-24T09:00:00.000Z']],
    ['*/20 8 * * *', '2026-11-20T08:20:00Z', ['2026-11-20T08:40:00.000Z', '2026-11-21T08:00:00.000Z']],
    ['5/25 0 1 jan,JUL *', '2026-02-01T00:00:00Z', ['2026-07-01T00:05:00.000Z', '2026-07-01T00:30:00.000Z']],
    ['0 0 * * 7', '2026-11-20T00:00:00Z', ['2026-11-22T00:00:00.000Z', '2026-11-29T00:00:00.000Z']],
    ['0 0 * * fri-sat', '2026-11-20T00:00:00Z', ['2026-11-21T00:00:00.000Z', '2026-11-27T00:00:00.000Z']],
    ['0 0 29 2 *', '2026-01-01T00:00:00Z', ['2028-02-29T00:00:00.000Z', '2032-02-29T00:00:00.000Z']],
    ['@weekly', '2026-11-20T00:00:00Z', ['2026-11-22T00:00:00.000Z', '2026-11-29T00:00:00.000Z']],
    ['@Hourly', '2026-11-20T00:30:00Z', ['2026-11-20T01:00:00.000Z', '2026-11-20T02:00:00.000Z']],
  ])('%s', (expression, after, expected) => {
    expect(next(cron(expression), after, expected.length)).toEqual(expected);
  });

  it('a day must fit both day fields', () => {
    // The first of a month that is a Monday; classic cron would take every first and every Monday.
    expect(next(cron('0 0 1 * 1'), '2026-01-01T00:00:00Z', 2)).toEqual([
      '2026-06-01T00:00:00.000Z',
      '2027-02-01T00:00:00.000Z',
    ]);
    expect(wordsOf(cron('0 0 1 * 1'))).toContain('only on days that fit both');
  });

  it.each([
    '* * * *',
    '* * * * * *',
    '60 * * * *',
    '* 24 * * *',
    '* * 0 * *',
    '* * * 13 *',
    '* * * * 8',
    '5-1 * * * *',
    '*/0 * * * *',
    '1,,2 * * * *',
    'L * * * *',
    '* * * * mon#2',
    '@every 5m',
    '@reboot',
    'constructor * * * *',
    '@constructor',
    '',
  ])('%j is none', (expression) => {
    expect(parseCron(expression)).toHaveProperty('error');
  });

  it('are what another implementation says, wherever clocks do not change', () => {
    const field = (min: number, max: number) =>
      fc.oneof(
        fc.constant('*'),
        fc.integer({ min, max }).map(String),
        fc.integer({ min: 2, max: 6 }).map((step) => `*/${step}`),
        fc
          .tuple(fc.integer({ min, max }), fc.integer({ min, max }))
          .map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`),
        fc
          .uniqueArray(fc.integer({ min, max }), { minLength: 1, maxLength: 4 })
          .map((values) => values.join()),
      );
    const expressions = fc
      .tuple(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6))
      .map((fields) => fields.join(' '));
    const moments = fc.integer({ min: Date.UTC(2024, 0), max: Date.UTC(2040, 0) });
    fc.assert(
      fc.property(expressions, moments, (expression, after) => {
        const theirs = new Cron(expression, { timezone: 'UTC', domAndDow: true }).nextRuns(
          4,
          new Date(after),
        );
        const ours = nextDueTimes(span(cron(expression)), after, 4);
        expect(ours.map(Number)).toEqual(theirs.map(Number));
      }),
      { numRuns: 300 },
    );
  });
});

describe('when clocks change', () => {
  const between = (timing: Timing, from: string, to: string): string[] =>
    dueTimesBetween(span(timing), Date.parse(from) - 1, Date.parse(to), 100).times.map((time) =>
      new Date(time).toISOString(),
    );

  it('a time that a day skips has no run that day', () => {
    const berlin = cron('30 2 * * *', 'Europe/Berlin');
    expect(between(berlin, '2027-03-27T00:00:00Z', '2027-03-30T00:00:00Z')).toEqual([
      '2027-03-27T01:30:00.000Z',
      '2027-03-29T00:30:00.000Z',
    ]);
  });

  it('a time that a day has twice has its run in the second of the two hours, east of Greenwich', () => {
    const berlin = cron('30 2 * * *', 'Europe/Berlin');
    expect(between(berlin, '2027-10-30T00:00:00Z', '2027-11-01T12:00:00Z')).toEqual([
      '2027-10-30T00:30:00.000Z',
      '2027-10-31T01:30:00.000Z',
      '2027-11-01T01:30:00.000Z',
    ]);
  });

  it('a time that a day has twice has two, west of it', () => {
    const newYork = cron('30 1 * * *', 'America/New_York');
    expect(between(newYork, '2027-11-06T12:00:00Z', '2027-11-08T12:00:00Z')).toEqual([
      '2027-11-07T05:30:00.000Z',
      '2027-11-07T06:30:00.000Z',
      '2027-11-08T06:30:00.000Z',
    ]);
  });

  it('in UTC, and with an interval, every hour is every hour', () => {
    const everyHour: Timing = { kind: 'interval', everyMs: 3_600_000, offsetMs: 0 };
    for (const timing of [cron('0 * * * *'), everyHour]) {
      expect(between(timing, '2027-10-30T00:00:00Z', '2027-11-02T00:00:00Z')).toHaveLength(73);
    }
  });

  it('a calendar keeps its time of day', () => {
    const timing = timingSchema.parse({
      kind: 'calendar',
      calendars: [{ hour: [9], dayOfWeek: [1] }],
      timeZone: 'America/New_York',
    });
    expect(between(timing, '2027-03-01T00:00:00Z', '2027-03-20T00:00:00Z')).toEqual([
      '2027-03-01T14:00:00.000Z',
      '2027-03-08T14:00:00.000Z',
      '2027-03-15T13:00:00.000Z',
    ]);
  });
});

describe('other timings', () => {
  it('an interval is due at whole multiples of itself plus its offset', () => {
    const timing: Timing = { kind: 'interval', everyMs: 600_000, offsetMs: 60_000 };
    expect(next(timing, '2026-11-20T10:01:00Z', 2)).toEqual([
      '2026-11-20T10:11:00.000Z',
      '2026-11-20T10:21:00.000Z',
    ]);
  });

  it('calendars are one list, each time once, and end with their years', () => {
    const timing = timingSchema.parse({
      kind: 'calendar',
      calendars: [
        { hour: [{ from: 8, to: 10, step: 2 }], year: [2026], month: [12], dayOfMonth: [31] },
        { hour: [10], minute: [0, 30], year: [2026], month: [12], dayOfMonth: [31] },
      ],
    });
    expect(next(timing, '2026-11-20T00:00:00Z', 10)).toEqual([
      '2026-12-31T08:00:00.000Z',
      '2026-12-31T10:00:00.000Z',
      '2026-12-31T10:30:00.000Z',
    ]);
  });

  it('begin and end with the schedule, both included', () => {
    const times = nextDueTimes(
      {
        timing: cron('0 * * * *'),
        startAt: new Date('2026-11-20T10:00:00Z'),
        endAt: new Date('2026-11-20T12:00:00Z'),
      },
      Date.parse('2026-11-01T00:00:00Z'),
      10,
    );
    expect(times.map((time) => time.getUTCHours())).toEqual([10, 11, 12]);
  });

  it('what never comes is found out', () => {
    expect(next(cron('0 0 31 2 *'), '2026-01-01T00:00:00Z')).toEqual([]);
  });
});

it.each<[Timing, string]>([
  [cron('0 9 * * 1-5', 'Europe/Berlin'), 'At 09:00, Monday through Friday (Europe/Berlin)'],
  [cron('@daily'), 'At 00:00 (UTC)'],
  [{ kind: 'interval', everyMs: 60_000, offsetMs: 0 }, 'Every minute'],
  [{ kind: 'interval', everyMs: 90_000, offsetMs: 0 }, 'Every 1 minute, 30 seconds'],
  [
    { kind: 'interval', everyMs: 86_400_000, offsetMs: 7_200_000 },
    'Every day, 2 hours after whole multiples of it (UTC)',
  ],
  [
    timingSchema.parse({
      kind: 'calendar',
      calendars: [{ hour: [9, 17], dayOfWeek: [1, 3], month: [1] }],
      timeZone: 'Asia/Tokyo',
    }),
    'At 09:00 and 17:00, on Monday and Wednesday, in January (Asia/Tokyo)',
  ],
  [
    timingSchema.parse({
      kind: 'calendar',
      calendars: [{ minute: [{ from: 0, to: 59 }], hour: [{ from: 9, to: 16 }] }],
    }),
    'At every minute of hour 9 to 16 (UTC)',
  ],
])('%j is %j', (timing, words) => {
  expect(wordsOf(timing)).toBe(words);
});

it('time zones are names of the database', () => {
  const parse = (timeZone: string) =>
    timingSchema.safeParse({ kind: 'cron', expression: '@daily', timeZone });
  for (const zone of ['UTC', 'Europe/Berlin', 'America/Argentina/Buenos_Aires']) {
    expect(parse(zone).success).toBe(true);
  }
  for (const zone of ['+02:00', 'Mars/Olympus', '', '../etc/passwd', 'SystemV/EST5']) {
    expect(parse(zone).success).toBe(false);
  }
  expect(expandCron('@daily')).toEqual(['0', '0', '*', '*', '*']);
});

it('time zones are told to the server as it spells them', () => {
  const zones = [
    'utc',
    'EUROPE/berlin',
    'US/EASTERN',
    'Us/Eastern',
    'ASIA/Ho_chi_minh',
    'gmt+0',
    'Europe/Kyiv',
  ];
  const spelled = [
    'UTC',
    'Europe/Berlin',
    'US/Eastern',
    'US/Eastern',
    'Asia/Ho_Chi_Minh',
    'GMT+0',
    'Europe/Kyiv',
  ];
  expect(zones.map(zoneNameOf)).toEqual(spelled);
  for (const zone of Intl.supportedValuesOf('timeZone')) {
    expect(zoneNameOf(zone.toUpperCase())).toBe(zone);
    expect(zoneNameOf(zone)).toBe(zone);
  }
});
