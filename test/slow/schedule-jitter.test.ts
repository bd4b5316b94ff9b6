/** Schedules with jitter on the real stack: each due time begins once, up to the jitter later, and is told as what it was. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { serverScheduleId } from '../../contracts/schedule-io.ts';
import type { ScheduleDetailView, ScheduleRunView } from '../../contracts/schedules.ts';
import { forgetSchedules } from '../support/schedules.ts';
import { type System, startSystem } from '../support/system.ts';
import { untilAnswered, withTemporal } from '../support/temporal.ts';

const PATIENCE_MS = 60_000;
const EVERY_MS = 3_000;
const JITTER_MS = 2_000;
/** Of each schedule. */
const RUNS = 3;

let system: System;
let folder: string;
const made: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'steelthread-jitter-'));
  system = await startSystem();
  await system.startAgent({ agentId: 'jittered' });
});
afterAll(async () => {
  await forgetSchedules(system, made, PATIENCE_MS);
  await system.close();
  rmSync(folder, { recursive: true, force: true });
});

const fileOf = (name: string): string => join(folder, name);
const runsOf = async (id: string): Promise<ScheduleRunView[]> =>
  (await system.call<{ items: ScheduleRunView[] }>('GET', `/v1/schedules/${id}/runs?limit=200`)).items;
/** What Temporal says of the schedule: when it will act, and has acted, with jitter, in milliseconds since the epoch. */
const serverTimes = (id: string) =>
  withTemporal(async (client) => {
    const { info } = await untilAnswered(client, () =>
      client.schedule.getHandle(serverScheduleId(id)).describe(),
    );
    return {
      next: info.nextActionTimes.map((at) => at.getTime()),
      taken: info.recentActions.map(({ scheduledAt, takenAt }) => ({
        scheduledAt: scheduledAt.getTime(),
        takenAt: takenAt.getTime(),
      })),
    };
  });
/** The jitter is shorter than the interval, so every time belongs to one due time. */
const dueOf = (time: number): number => time - (time % EVERY_MS);

async function create(name: string): Promise<string> {
  const { id } = await system.call<ScheduleDetailView>('POST', '/v1/schedules', {
    name,
    timing: { kind: 'interval', everyMs: EVERY_MS },
    jitterMs: JITTER_MS,
    overlap: 'allow_all',
    target: { agentIds: ['jittered'] },
    action: { kind: 'command', act: { command: `echo ran >> ${fileOf(name)}` } },
  });
  made.push(id);
  return id;
}

const dueTimesOf = (runs: readonly ScheduleRunView[]): number[] =>
  runs.map(({ dueAt }) => Date.parse(dueAt)).sort((a, b) => a - b);

/** So many in a row have run, none of them left out. */
function haveRun(runs: readonly ScheduleRunView[]): boolean {
  const dueTimes = dueTimesOf(runs.filter(({ state }) => state === 'succeeded'));
  const [first, last] = [dueTimes[0], dueTimes[RUNS - 1]];
  return first !== undefined && last === first + (RUNS - 1) * EVERY_MS;
}

it('begins once for each due time, within the jitter, with the due time on record', {
  timeout: 200_000,
}, async () => {
  const names = ['a', 'b', 'c'];
  const schedules = await Promise.all(names.map(async (name) => ({ name, id: await create(name) })));
  for (const { id } of schedules) await system.until(() => runsOf(id), haveRun, 'it runs', PATIENCE_MS);
  const spread: number[] = [];
  const noteSpread = (time: number): void => {
    expect(time - dueOf(time)).toBeLessThanOrEqual(JITTER_MS);
    spread.push(time - dueOf(time));
  };
  for (const { id } of schedules) {
    const shown = await system.until(
      () => system.call<ScheduleDetailView>('GET', `/v1/schedules/${id}`),
      ({ nextRuns }) => nextRuns.agreesWithServer !== null,
      'it was compared',
      PATIENCE_MS,
    );
    expect(shown.nextRuns.agreesWithServer).toBe(true);
    expect(shown.nextRuns.times.every((time) => Date.parse(time) % EVERY_MS === 0)).toBe(true);
    // Of times to come there is one for each due time.
    const { next } = await serverTimes(id);
    expect(next.length).toBeGreaterThan(1);
    expect(new Set(next.map(dueOf)).size).toBe(next.length);
    next.forEach(noteSpread);
    await system.call('POST', `/v1/schedules/${id}/pause`, {});
  }
  for (const { name, id } of schedules) {
    const runs = await system.until(
      () => runsOf(id),
      (each) => each.every(({ state }) => state !== 'running' && state !== 'waiting'),
      'nothing runs any more',
      PATIENCE_MS,
    );
    const begun = runs.filter(({ startedAt }) => startedAt !== null);
    const dueTimes = dueTimesOf(begun);
    expect(dueTimes.every((due) => due % EVERY_MS === 0)).toBe(true);
    expect(new Set(dueTimes).size).toBe(dueTimes.length);
    const { taken } = await serverTimes(id);
    taken.map(({ scheduledAt }) => scheduledAt).forEach(noteSpread);
    expect(new Set(taken.map(({ scheduledAt }) => dueOf(scheduledAt))).size).toBe(taken.length);
    // The server remembers the newest ones only.
    const startOf = new Map(begun.map(({ dueAt, startedAt }) => [Date.parse(dueAt), startedAt]));
    const remembered = taken.filter(({ scheduledAt }) => startOf.has(dueOf(scheduledAt)));
    expect(remembered.length).toBeGreaterThan(1);
    for (const { scheduledAt, takenAt } of remembered) {
      expect(takenAt).toBeGreaterThanOrEqual(scheduledAt);
      // Not before its time with jitter; how much later is the machine's affair.
      expect(Date.parse(startOf.get(dueOf(scheduledAt)) ?? '')).toBeGreaterThanOrEqual(scheduledAt);
    }
    const marks = readFileSync(fileOf(name), 'utf8').split('\n').length - 1;
    expect(marks).toBe(begun.length);
  }
  // It is at random: not all at the due time, nor all at once.
  expect(new Set(spread).size).toBeGreaterThan(spread.length / 2);
});
