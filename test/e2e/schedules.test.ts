/** Schedules on the real stack: API, worker, an agent, Temporal and Postgres. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serverScheduleId } from '../../contracts/schedule-io.ts';
import type { ScheduleDetailView, ScheduleRunView } from '../../contracts/schedules.ts';
import { forgetSchedules } from '../support/schedules.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';
import { untilAnswered, withTemporal } from '../support/temporal.ts';

const PATIENCE_MS = 30_000;
const everySecond = { kind: 'interval', everyMs: 1_000 };

let system: System;
let folder: string;
let files = 0;
const made: string[] = [];

const describeInTemporal = (id: string) =>
  withTemporal((client) =>
    untilAnswered(client, () => client.schedule.getHandle(serverScheduleId(id)).describe()),
  );

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'steelthread-schedules-'));
  system = await startSystem({ env: { LOCAL_AGENT_ID: 'local' } });
  await system.startAgent({ agentId: 'local' });
});
afterAll(async () => {
  await forgetSchedules(system, made, PATIENCE_MS);
  await system.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A script that leaves a line for each time it ran. */
function newEffect(body = ''): { command: string; count: () => number } {
  const file = join(folder, `effect-${++files}`);
  const count = (): number => {
    try {
      return readFileSync(file, 'utf8').split('\n').length - 1;
    } catch {
      return 0;
    }
  };
  return { command: `echo ran >> ${file}${body}`, count };
}

async function create(given: Record<string, unknown>): Promise<ScheduleDetailView> {
  const schedule = await system.call<ScheduleDetailView>('POST', '/v1/schedules', {
    name: 'under test',
    timing: everySecond,
    target: { agentIds: ['local'] },
    ...given,
  });
  made.push(schedule.id);
  return schedule;
}

const read = (id: string) => system.call<ScheduleDetailView>('GET', `/v1/schedules/${id}`);
const commandOf = (command: string) => ({ kind: 'command', act: { command } });
const runsOf = async (id: string, query = ''): Promise<ScheduleRunView[]> =>
  (await system.call<{ items: ScheduleRunView[] }>('GET', `/v1/schedules/${id}/runs?limit=200${query}`))
    .items;
const untilRuns = (
  id: string,
  isEnough: (runs: ScheduleRunView[]) => boolean,
  what?: string,
): Promise<ScheduleRunView[]> => system.until(() => runsOf(id), isEnough, what ?? 'the runs', PATIENCE_MS);
const untilSynced = (id: string): Promise<ScheduleDetailView> =>
  system.until(
    () => read(id),
    ({ sync }) => sync.state === 'synced',
    'Temporal has heard',
    PATIENCE_MS,
  );
const inState = (runs: readonly ScheduleRunView[], state: ScheduleRunView['state']) =>
  runs.filter((run) => run.state === state);

describe.concurrent('what runs', () => {
  it('a command, once for each due time', async () => {
    const effect = newEffect();
    const { id } = await create({ action: commandOf(effect.command) });
    await untilRuns(id, (runs) => inState(runs, 'succeeded').length >= 3);
    await system.call('POST', `/v1/schedules/${id}/pause`, { note: 'enough' });
    const runs = await untilRuns(id, (each) => each.every(({ state }) => state !== 'running'));
    const begun = runs.filter(({ batchIds }) => batchIds.length > 0);
    expect(new Set(begun.map(({ dueAt }) => dueAt)).size).toBe(begun.length);
    expect(begun.every(({ dueAt }) => Date.parse(dueAt) % 1_000 === 0)).toBe(true);
    expect(effect.count()).toBe(begun.length);
    expect(await read(id)).toMatchObject({ state: 'paused', pauseNote: 'enough', runsStarted: begun.length });
  });

  it('a task for each agent that the tags mean, and a saved command with its parameters', async () => {
    const effect = newEffect();
    const task = {
      goal: `run \`${effect.command}\``,
      mode: 'auto',
      preApproved: [effect.command],
      maxSteps: 3,
    };
    const tasks = await create({ action: { kind: 'task', task }, target: { match: 'canary' }, maxRuns: 1 });
    const [empty] = await untilRuns(tasks.id, (runs) => runs.length > 0);
    expect(empty).toMatchObject({ state: 'skipped', reason: 'no_agent' });
    await system.call('PATCH', '/v1/agents/local', { tags: ['canary'] });
    const [run] = await untilRuns(tasks.id, (runs) => inState(runs, 'succeeded').length > 0);
    expect(run?.taskIds).toHaveLength(1);
    expect(effect.count()).toBe(1);
    await system.until(
      () => read(tasks.id),
      ({ state }) => state === 'ended',
      'all runs have begun',
      PATIENCE_MS,
    );

    const other = newEffect();
    const saved = await system.call<{ id: string }>('POST', '/v1/saved-commands', {
      name: 'touch',
      scripts: { sh: `${other.command} && test "$wanted" = yes` },
      parameters: [{ name: 'wanted', type: 'name', required: true }],
    });
    const action = { kind: 'saved_command', savedCommandId: saved.id, parameters: { wanted: 'yes' } };
    const refused = await system.request('POST', '/v1/schedules', {
      name: 'x',
      timing: everySecond,
      target: { agentIds: ['local'] },
      action: { ...action, parameters: {} },
    });
    expect(refused.status).toBe(422);
    const scheduled = await create({ action, maxRuns: 1 });
    const runs = await untilRuns(scheduled.id, (each) => inState(each, 'succeeded').length === 1);
    expect(runs[0]?.batchIds).toHaveLength(1);
    expect(other.count()).toBe(1);
  });

  it('fails where its author may not do it any more', async () => {
    const desk = deskOf(system);
    const token = await desk.addUser('operator', 'leaver');
    const schedule = await system.call<ScheduleDetailView>(
      'POST',
      '/v1/schedules',
      { name: 'x', timing: everySecond, action: commandOf('true'), target: { agentIds: ['local'] } },
      { token },
    );
    made.push(schedule.id);
    await untilRuns(schedule.id, (runs) => inState(runs, 'succeeded').length > 0);
    await desk.sql("update users set role = 'viewer' where username = 'leaver'");
    const runs = await untilRuns(schedule.id, (each) => inState(each, 'failed').length > 0);
    expect(inState(runs, 'failed')[0]).toMatchObject({ reason: 'forbidden', batchIds: [] });
  });
});

describe.concurrent('while an earlier run is not over', () => {
  it('skip: the due time is skipped, with the reason', async () => {
    const { id } = await create({ action: commandOf('sleep 2') });
    const runs = await untilRuns(
      id,
      (each) => inState(each, 'skipped').length >= 1 && inState(each, 'succeeded').length >= 1,
    );
    expect(
      inState(runs, 'skipped').every(({ reason, batchIds }) => reason === 'overlap' && batchIds.length === 0),
    ).toBe(true);
  });

  it('buffer one: one waits, others are skipped', async () => {
    const { id } = await create({ action: commandOf('sleep 2'), overlap: 'buffer_one' });
    const runs = await untilRuns(
      id,
      (each) => inState(each, 'skipped').length > 0 && inState(each, 'succeeded').length >= 2,
    );
    const begun = runs.filter(({ startedAt }) => startedAt !== null).reverse();
    const [first, second] = begun;
    expect(Date.parse(second?.startedAt ?? '')).toBeGreaterThanOrEqual(Date.parse(first?.endedAt ?? ''));
  });

  it('buffer all: each has its turn, in order', async () => {
    const { id } = await create({ action: commandOf('sleep 1.5'), overlap: 'buffer_all', maxRuns: 3 });
    const runs = await untilRuns(id, (each) => inState(each, 'succeeded').length === 3);
    const begun = inState(runs, 'succeeded').reverse();
    for (const [index, run] of begun.entries()) {
      const before = begun[index - 1];
      if (before === undefined) continue;
      expect(Date.parse(run.dueAt)).toBeGreaterThan(Date.parse(before.dueAt));
      expect(Date.parse(run.startedAt ?? '')).toBeGreaterThanOrEqual(Date.parse(before.endedAt ?? ''));
    }
  });

  it('cancel other: the earlier run is canceled', async () => {
    const { id } = await create({ action: commandOf('sleep 60'), overlap: 'cancel_other' });
    await untilRuns(id, (each) => inState(each, 'canceled').length >= 2);
  });

  it('allow all: they run beside each other', async () => {
    const { id } = await create({ action: commandOf('sleep 3'), overlap: 'allow_all', maxRuns: 2 });
    await untilRuns(id, (each) => inState(each, 'running').length === 2);
  });
});

describe.concurrent('changes', () => {
  it('a pause across a due time: nothing runs, the time is told as skipped, and nothing is caught up', async () => {
    const effect = newEffect();
    const { id } = await create({ action: commandOf(effect.command), catchUpWindowMs: 3_600_000 });
    await untilRuns(id, (runs) => inState(runs, 'succeeded').length >= 1);
    const { pausedAt } = await system.call<ScheduleDetailView>('POST', `/v1/schedules/${id}/pause`, {});
    await untilSynced(id);
    const at = Date.parse(pausedAt ?? '');
    await system.until(
      async () => Date.now(),
      (now) => now > at + 3_000,
      'some due times',
      PATIENCE_MS,
    );
    const resumed = await system.call<ScheduleDetailView>('POST', `/v1/schedules/${id}/resume`, {
      note: 'go',
    });
    const before = Date.parse(resumed.updatedAt);
    const runs = await untilRuns(id, (each) =>
      each.some((run) => run.batchIds.length > 0 && Date.parse(run.dueAt) > before),
    );
    // The first of them may have been due just before, and have come too late to begin.
    const inPause = runs.filter((run) => Date.parse(run.lastDueAt) > at && Date.parse(run.dueAt) <= before);
    expect(inPause.length).toBeGreaterThan(0);
    expect(inPause.every((run) => run.state === 'skipped' && run.reason === 'paused')).toBe(true);
    expect(inPause.reduce((sum, run) => sum + run.count, 0)).toBeGreaterThanOrEqual(2);
  });

  it('an edit while it fires: every run is of one revision, and the newest is what runs from then on', async () => {
    const first = newEffect();
    const second = newEffect();
    const { id } = await create({ action: commandOf(first.command), overlap: 'allow_all' });
    await untilRuns(id, (runs) => inState(runs, 'succeeded').length >= 2);
    const stale = await system.request('PATCH', `/v1/schedules/${id}`, { name: 'other', revision: 99 });
    expect(stale.status).toBe(409);
    await system.call('PATCH', `/v1/schedules/${id}`, {
      action: commandOf(second.command),
      timing: { kind: 'interval', everyMs: 2_000 },
    });
    await untilSynced(id);
    const isNew = (run: ScheduleRunView): boolean => run.revision >= 2;
    await untilRuns(id, (each) => inState(each, 'succeeded').filter(isNew).length >= 2);
    await system.call('POST', `/v1/schedules/${id}/pause`, {});
    const runs = await untilRuns(id, (each) => inState(each, 'running').length === 0);
    expect(new Set(runs.map(({ dueAt }) => dueAt)).size).toBe(runs.length);
    const begun = inState(runs, 'succeeded');
    expect(first.count()).toBe(begun.filter((run) => !isNew(run)).length);
    expect(second.count()).toBe(begun.filter(isNew).length);
  });

  it('a deleted schedule runs no more and is gone in Temporal', async () => {
    const effect = newEffect();
    const { id } = await create({ action: commandOf(effect.command) });
    await untilRuns(id, (runs) => inState(runs, 'succeeded').length >= 1);
    expect((await system.request('DELETE', `/v1/schedules/${id}`)).status).toBe(204);
    const count = effect.count();
    await system.until(
      () =>
        describeInTemporal(id).then(
          () => false,
          () => true,
        ),
      (isGone) => isGone,
      'Temporal has forgotten it',
      PATIENCE_MS,
    );
    expect(effect.count()).toBeLessThanOrEqual(count + 1);
    expect((await system.request('GET', `/v1/schedules/${id}`)).status).toBe(404);
    expect((await system.request('DELETE', `/v1/schedules/${id}`)).status).toBe(404);
  });

  it('whoever changes it in Temporal is overruled', async () => {
    const { id } = await create({
      action: commandOf('true'),
      timing: { kind: 'cron', expression: '0 0 1 1 *' },
    });
    expect((await untilSynced(id)).nextRuns).toMatchObject({ agreesWithServer: true });
    await withTemporal((client) => client.schedule.getHandle(serverScheduleId(id)).pause('by hand'));
    await deskOf(system).sql("update schedules set looked_at = now() - interval '1 day' where id = :id", {
      id,
    });
    await system.until(
      () => describeInTemporal(id),
      ({ state }) => !state.paused,
      'it is told again',
      PATIENCE_MS,
    );
    await withTemporal((client) => client.schedule.getHandle(serverScheduleId(id)).delete());
    await deskOf(system).sql("update schedules set looked_at = now() - interval '1 day' where id = :id", {
      id,
    });
    await system.until(
      () =>
        describeInTemporal(id).then(
          () => true,
          () => false,
        ),
      (isThere) => isThere,
      'it is made again',
      PATIENCE_MS,
    );
  });
});

describe.concurrent('runs by hand', () => {
  it('now, also while it is paused; once for an Idempotency-Key', async () => {
    const effect = newEffect();
    const { id } = await create({ action: commandOf(effect.command), paused: true });
    const headers = { 'Idempotency-Key': 'again-and-again' };
    const first = await system.call<ScheduleRunView>('POST', `/v1/schedules/${id}/trigger`, {}, { headers });
    const second = await system.call<ScheduleRunView>('POST', `/v1/schedules/${id}/trigger`, {}, { headers });
    expect(second.id).toBe(first.id);
    expect(first).toMatchObject({ trigger: 'manual', state: 'running' });
    await untilRuns(id, (runs) => runs.some((run) => run.id === first.id && run.state === 'succeeded'));
    expect(effect.count()).toBe(1);
    expect(await read(id)).toMatchObject({ runsStarted: 0, state: 'paused' });
  });

  it('is refused while an earlier run is not over, unless it may overlap', async () => {
    const { id } = await create({ action: commandOf('sleep 2'), paused: true });
    const begun = await system.call<ScheduleRunView>('POST', `/v1/schedules/${id}/trigger`, {});
    expect(begun.state).toBe('running');
    const busy = await system.request<{ code: string }>('POST', `/v1/schedules/${id}/trigger`, {});
    expect([busy.status, busy.body.code]).toEqual([409, 'conflict']);
    const waiting = await system.call<ScheduleRunView>('POST', `/v1/schedules/${id}/trigger`, {
      overlap: 'buffer_all',
    });
    expect(waiting.state).toBe('waiting');
    await untilRuns(id, (runs) => inState(runs, 'succeeded').length === 2);
  });

  it('a backfill runs the due times of a span, one after the other', async () => {
    const effect = newEffect();
    const { id } = await create({
      action: commandOf(effect.command),
      timing: { kind: 'cron', expression: '0 * * * *' },
      paused: true,
    });
    const span = { from: '2026-01-01T00:00:00Z', to: '2026-01-01T03:00:00Z' };
    const headers = { 'Idempotency-Key': 'a-backfill' };
    const { runIds } = await system.call<{ runIds: string[] }>('POST', `/v1/schedules/${id}/backfill`, span, {
      headers,
    });
    expect(runIds).toHaveLength(4);
    const again = await system.call<{ runIds: string[] }>('POST', `/v1/schedules/${id}/backfill`, span, {
      headers,
    });
    expect(again.runIds).toEqual(runIds);
    const runs = await untilRuns(id, (each) => inState(each, 'succeeded').length === 4);
    expect(runs.map(({ dueAt }) => dueAt)).toEqual(
      [3, 2, 1, 0].map((hour) => `2026-01-01T0${hour}:00:00.000Z`),
    );
    expect(effect.count()).toBe(4);
    const tooMany = await system.request('POST', `/v1/schedules/${id}/backfill`, {
      ...span,
      to: '2026-06-01T00:00:00Z',
    });
    expect(tooMany.status).toBe(422);
  });
});

it.concurrent('clients of ananta make, list and delete schedules of commands', async () => {
  const effect = newEffect();
  const path = '/schedule';
  for (const body of [
    {},
    { command: effect.command },
    { interval_seconds: 5 },
    { command: 'x', interval_seconds: 0 },
  ]) {
    const refused = await system.request<{ status: string }>('POST', path, body);
    expect([refused.status, refused.body.status]).toEqual([400, 'error']);
  }
  interface Entry {
    id: string;
    next_run: number;
    last_run: number | null;
  }
  const made_ = await system.request<{ status: string; data: Entry }>('POST', path, {
    command: effect.command,
    interval_seconds: 2,
  });
  expect(made_.status).toBe(201);
  expect(made_.body).toMatchObject({
    status: 'success',
    data: { command: effect.command, interval_seconds: 2, last_run: null, enabled: true },
  });
  const { id, next_run } = made_.body.data;
  expect(next_run).toBeGreaterThan(Date.now() / 1_000 - 5);
  const listed = await system.until(
    async () => (await system.call<{ data: Entry[] }>('GET', path)).data.find((entry) => entry.id === id),
    (entry) => entry?.last_run != null,
    'the first run',
    PATIENCE_MS,
  );
  expect(listed?.last_run).toBeGreaterThan(next_run - 5);
  await system.until(
    async () => effect.count(),
    (count) => count > 0,
    'the effect',
    PATIENCE_MS,
  );
  for (const each of [id, id, 'no-such-schedule']) {
    const deleted = await system.request('DELETE', `${path}/${each}`);
    expect([deleted.status, deleted.body]).toEqual([200, { status: 'success', data: { status: 'deleted' } }]);
  }
  // Its name ends before a character that would be cut in two.
  const long = { command: `true ${'x'.repeat(74)}\u{1f600}${'x'.repeat(9)}`, interval_seconds: 86_400 };
  const named = await system.request<{ data: Entry }>('POST', path, long);
  expect([named.status, named.body]).toMatchObject([201, { data: { command: long.command } }]);
  await system.request('DELETE', `${path}/${named.body.data.id}`);
});
