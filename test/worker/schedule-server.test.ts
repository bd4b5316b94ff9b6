/** Schedules as Temporal holds them: the same times as ours, also where clocks change; changed, looked at, removed. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ServerSchedule, serverScheduleId } from '../../contracts/schedule-io.ts';
import { type Timing, timingSchema } from '../../contracts/schedules.ts';
import { calendarsOf, dueTimesBetween } from '../../domain/schedules/due-times.ts';
import { createTemporalClient, type TemporalClient } from '../../temporal/connection.ts';
import { createScheduleServer } from '../../temporal/schedules.ts';
import { TEMPORAL_NAMESPACE, temporalAddress, uniqueTaskQueue, untilAnswered } from '../support/temporal.ts';

let temporal: TemporalClient;
let server: ReturnType<typeof createScheduleServer>;
const made: string[] = [];

beforeAll(async () => {
  const log = { info: () => undefined, warn: () => undefined };
  temporal = createTemporalClient({ address: temporalAddress(), namespace: TEMPORAL_NAMESPACE, log });
  server = createScheduleServer({ temporal, taskQueue: uniqueTaskQueue() });
  await temporal.check();
});
afterAll(async () => {
  for (const id of made) await server.remove(id);
  await temporal.close();
});

function scheduleOf(timing: Timing, given: Partial<ServerSchedule> = {}): ServerSchedule {
  const scheduleId = randomUUID();
  made.push(scheduleId);
  return {
    scheduleId,
    revision: 1,
    name: 'under test',
    timing:
      timing.kind === 'cron'
        ? {
            kind: 'calendar',
            calendars: calendarsOf(timing),
            timeZone: timing.timeZone,
            comment: timing.expression,
          }
        : timing,
    startAt: null,
    endAt: null,
    jitterMs: 0,
    catchUpWindowMs: 60_000,
    // Nothing is to start.
    isPaused: true,
    note: null,
    ...given,
  };
}

/** What Temporal says is due in a span, both ends included. */
async function timesOf(scheduleId: string, first: Date, to: Date): Promise<number[]> {
  const from = new Date(first.getTime() - 1_000);
  const seconds = (date: Date) => ({ seconds: Math.floor(date.getTime() / 1_000) as unknown as never });
  const { startTime } = await temporal.call(10_000, (client) =>
    untilAnswered(client, () =>
      client.connection.workflowService.listScheduleMatchingTimes({
        namespace: TEMPORAL_NAMESPACE,
        scheduleId: serverScheduleId(scheduleId),
        startTime: seconds(from),
        endTime: seconds(to),
      }),
    ),
  );
  return (startTime ?? []).map(({ seconds: at }) => Number(at) * 1_000);
}

const cron = (expression: string, timeZone: string): Timing => ({ kind: 'cron', expression, timeZone });

describe('Temporal means the times that we mean', () => {
  it.each<[string, Timing, string, string]>([
    ['a cron expression', cron('*/7 9-17/2 * * 1-5', 'UTC'), '2026-12-01T00:00:00Z', '2026-12-08T00:00:00Z'],
    [
      'a zone in other letters',
      cron('30 2 * * *', 'europe/berlin'),
      '2027-03-26T00:00:00Z',
      '2027-03-31T00:00:00Z',
    ],
    [
      'another name of a zone in small letters',
      cron('30 2 * * *', 'us/eastern'),
      '2027-03-12T00:00:00Z',
      '2027-03-17T00:00:00Z',
    ],
    [
      'another name of a zone in capital letters',
      cron('30 2 * * *', 'US/EASTERN'),
      '2027-03-12T00:00:00Z',
      '2027-03-17T00:00:00Z',
    ],
    ['both day fields', cron('0 0 1 * 1', 'UTC'), '2026-01-01T00:00:00Z', '2031-01-01T00:00:00Z'],
    ['Sunday as 7', cron('0 12 * * 7', 'UTC'), '2026-12-01T00:00:00Z', '2027-02-01T00:00:00Z'],
    ['clocks forward', cron('30 2 * * *', 'Europe/Berlin'), '2027-03-26T00:00:00Z', '2027-03-31T00:00:00Z'],
    ['clocks back', cron('30 2 * * *', 'Europe/Berlin'), '2027-10-29T00:00:00Z', '2027-11-03T00:00:00Z'],
    [
      'clocks back, hourly',
      cron('0 * * * *', 'America/New_York'),
      '2027-11-06T00:00:00Z',
      '2027-11-08T12:00:00Z',
    ],
    [
      'half an hour back',
      cron('45 1 * * *', 'Australia/Lord_Howe'),
      '2027-04-02T00:00:00Z',
      '2027-04-06T00:00:00Z',
    ],
    [
      'half an hour forward',
      cron('15 2 * * *', 'Australia/Lord_Howe'),
      '2027-10-01T00:00:00Z',
      '2027-10-05T00:00:00Z',
    ],
    [
      'midnight that is not',
      cron('0 0 * * *', 'Africa/Cairo'),
      '2027-04-28T00:00:00Z',
      '2027-05-03T00:00:00Z',
    ],
    [
      'an interval',
      { kind: 'interval', everyMs: 5_400_000, offsetMs: 61_000 },
      '2026-12-01T00:00:00Z',
      '2026-12-03T00:00:00Z',
    ],
    [
      'calendars',
      timingSchema.parse({
        kind: 'calendar',
        calendars: [
          { second: [15, 45], minute: [{ from: 0, to: 50, step: 25 }], hour: [6], month: [2, 12] },
          { hour: [6], dayOfMonth: [1, { from: 10, to: 12 }], dayOfWeek: [{ from: 1, to: 5 }], year: [2027] },
        ],
        timeZone: 'Asia/Kathmandu',
      }),
      '2026-12-25T00:00:00Z',
      '2027-02-15T00:00:00Z',
    ],
  ])('%s', async (_name, timing, from, to) => {
    const schedule = scheduleOf(timing);
    await server.put(schedule);
    const theirs = await timesOf(schedule.scheduleId, new Date(from), new Date(to));
    const ours = dueTimesBetween(
      { timing, startAt: null, endAt: null },
      Date.parse(from) - 1,
      Date.parse(to),
      1_000,
    );
    expect(ours.times.length).toBeGreaterThan(0);
    expect(theirs.map((time) => new Date(time).toISOString())).toEqual(
      ours.times.map((time) => new Date(time).toISOString()),
    );
  });

  it.each([
    'Europe/Berlin',
    'Europe/London',
    'America/New_York',
    'America/St_Johns',
    'Australia/Lord_Howe',
    'Asia/Beirut',
    'America/Santiago',
    'Pacific/Chatham',
    'America/Havana',
  ])('clocks that change in %s', async (timeZone) => {
    for (const expression of [
      '0 0-4 * * *',
      '30 0-4 * * *',
      '15,45 1 * * *',
      '30 2 * * *',
      '*/20 2-3 * * 0,6',
      '0 0 * * *',
    ]) {
      const timing = cron(expression, timeZone);
      const schedule = scheduleOf(timing);
      await server.put(schedule);
      const spans = [
        ['2027-03-05', '2027-04-20'],
        ['2027-08-28', '2027-09-30'],
        ['2027-10-01', '2027-11-15'],
      ] as const;
      for (const [first, last] of spans) {
        const theirs = await timesOf(schedule.scheduleId, new Date(first), new Date(last));
        const span = { timing, startAt: null, endAt: null };
        const ours = dueTimesBetween(span, Date.parse(first) - 1, Date.parse(last), 5_000).times;
        const text = (times: number[]) => times.map((time) => new Date(time).toISOString());
        expect({ expression, times: text(ours) }).toEqual({ expression, times: text(theirs) });
      }
    }
  });

  it('within start and end', async () => {
    const startAt = new Date('2027-01-01T10:00:00Z');
    const endAt = new Date('2027-01-01T12:00:00Z');
    const schedule = scheduleOf(cron('0 * * * *', 'UTC'), { startAt, endAt });
    await server.put(schedule);
    const from = new Date('2027-01-01T00:00:00Z');
    const theirs = await timesOf(schedule.scheduleId, from, new Date('2027-01-02T00:00:00Z'));
    expect(theirs.map((time) => new Date(time).getUTCHours())).toEqual([10, 11, 12]);
  });
});

it('what was told twice is there once, and looks the same until somebody else changes it', async () => {
  const schedule = scheduleOf(cron('0 5 * * *', 'Europe/Berlin'), { note: 'why' });
  const first = await server.put(schedule);
  expect((await server.put(schedule)).fingerprint).toBe(first.fingerprint);
  expect((await server.look(schedule.scheduleId))?.fingerprint).toBe(first.fingerprint);

  const changed = await server.put({ ...schedule, revision: 2 });
  expect(changed.fingerprint).not.toBe(first.fingerprint);

  await temporal.client().schedule.getHandle(serverScheduleId(schedule.scheduleId)).unpause('by hand');
  expect((await server.look(schedule.scheduleId))?.fingerprint).not.toBe(changed.fingerprint);
  expect((await server.put({ ...schedule, revision: 2 })).fingerprint).toBe(changed.fingerprint);

  await server.remove(schedule.scheduleId);
  await server.remove(schedule.scheduleId);
  expect(await server.look(schedule.scheduleId)).toBeUndefined();
});
