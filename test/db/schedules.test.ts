/** Schedules without Temporal: what becomes of due times, however they are told, and whether Temporal is told. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ScheduleServer, ServerSchedule } from '../../contracts/schedule-io.ts';
import { type CreateScheduleBody, createScheduleBodySchema } from '../../contracts/schedules.ts';
import { query } from '../../db/database.ts';
import { findRun, listRunsSql } from '../../db/schedule-runs.ts';
import { findSchedule, listSchedulesSql, lockSchedule } from '../../db/schedules.ts';
import { findUserByName } from '../../db/users.ts';
import type { Actor } from '../../domain/deps.ts';
import { accountPause, accountSchedules } from '../../domain/schedules/account.ts';
import { admitWaitingRuns, beginDueRun } from '../../domain/schedules/begin.ts';
import { backfillSchedule } from '../../domain/schedules/by-hand.ts';
import { previewTiming } from '../../domain/schedules/preview.ts';
import { settleRuns } from '../../domain/schedules/settle.ts';
import {
  createSchedule,
  deleteSchedule,
  getSchedule,
  listRunPage,
  pauseSchedule,
  resumeSchedule,
  updateSchedulePartly,
} from '../../domain/schedules/store.ts';
import { findDriftedSchedules, syncSchedules } from '../../domain/schedules/sync.ts';
import { transact } from '../../domain/transact.ts';
import { type IdentityStack, startIdentity } from '../support/identity.ts';

const HOUR_MS = 3_600_000;

let stack: IdentityStack;
let admin: Actor;

beforeAll(async () => {
  stack = await startIdentity();
  const user = await findUserByName(stack.db, 'admin');
  const principal = {
    kind: 'user',
    id: user?.id ?? '',
    name: 'admin',
    roles: ['admin'],
    sessionId: null,
  } as const;
  admin = { principal, address: null, requestId: null };
});
afterAll(() => stack.close());

const sql = <Row>(text: string, bindings: Record<string, unknown> = {}) =>
  query<Row>(stack.db, text, bindings);

/** Due at each full hour; each run is a task that waits for an agent that never comes. */
async function create(given: Partial<CreateScheduleBody> = {}): Promise<string> {
  const body = createScheduleBodySchema.parse({
    name: 'under test',
    timing: { kind: 'interval', everyMs: HOUR_MS },
    action: { kind: 'task', task: { goal: 'look around' } },
    target: { any: true },
    ...given,
  });
  return (await createSchedule(stack.deps, admin, body, { requestKey: null })).id;
}

/** As if it had been made so long ago. */
const age = (id: string, ms: number) =>
  sql(
    `update schedules set created_at = created_at - make_interval(secs => :seconds), account_at = now(),
       accounted_until = accounted_until - make_interval(secs => :seconds),
       paused_at = paused_at - make_interval(secs => :seconds) where id = :id`,
    { id, seconds: ms / 1_000 },
  );

const begin = (scheduleId: string, dueAt: number, runId = randomUUID()) =>
  beginDueRun(stack.deps, { scheduleId, runId, dueAtMs: dueAt });
/** One of the last full hours; the same ones for the whole file. */
const thisHour = Math.floor(Date.now() / HOUR_MS) * HOUR_MS;
const hour = (ago: number): number => thisHour - ago * HOUR_MS;
const runsOf = async (id: string) => (await listRunPage(stack.deps, admin, id, { limit: 200 })).items;
const tasksOf = async (id: string): Promise<number> =>
  (await runsOf(id)).reduce((sum, run) => sum + run.taskIds.length, 0);
/** Every task there is has ended so. */
const endTasks = (state: string) =>
  sql(`update tasks set state = :state, ended_at = now() where ended_at is null`, { state });

describe('a due time begins once', () => {
  it('however often, by whomever and at once it is told', async () => {
    const id = await create({ overlap: 'allow_all', catchUpWindowMs: 24 * HOUR_MS });
    const runId = randomUUID();
    const outcomes = await Promise.all([
      begin(id, hour(0), runId),
      begin(id, hour(0), runId),
      begin(id, hour(0)),
      begin(id, hour(0)),
    ]);
    expect(outcomes.filter(({ outcome }) => outcome === 'running').length).toBeGreaterThan(0);
    expect(await runsOf(id)).toHaveLength(1);
    expect(await tasksOf(id)).toBe(1);
    expect(await getSchedule(stack.deps, admin, id)).toMatchObject({ runsStarted: 1 });
  });

  it('within the limit of runs, after which the schedule has ended', async () => {
    const id = await create({ overlap: 'allow_all', maxRuns: 2, catchUpWindowMs: 24 * HOUR_MS });
    const outcomes = await Promise.all([0, 1, 2, 3].map((ago) => begin(id, hour(ago))));
    expect(outcomes.map(({ outcome }) => outcome).sort()).toEqual(['ended', 'ended', 'running', 'running']);
    const schedule = await getSchedule(stack.deps, admin, id);
    expect(schedule).toMatchObject({ state: 'ended', runsStarted: 2, nextRunAt: null });
    expect(schedule.nextRuns.times).toEqual([]);
  });

  it('not after its catch-up window', async () => {
    const id = await create({ catchUpWindowMs: HOUR_MS });
    expect(await begin(id, hour(3))).toEqual({ outcome: 'missed' });
    expect((await runsOf(id))[0]).toMatchObject({ state: 'missed', reason: 'catch_up_window', count: 1 });
  });

  it('not for a schedule that is unknown or deleted', async () => {
    const id = await create();
    await deleteSchedule(stack.deps, admin, id);
    expect(await begin(id, hour(0))).toEqual({ outcome: 'unknown' });
    expect(await begin(randomUUID(), hour(0))).toEqual({ outcome: 'unknown' });
  });

  it('and what cannot be made is told: nothing of it is left', async () => {
    const id = await create({ catchUpWindowMs: 24 * HOUR_MS });
    await sql(`update schedules set target = '{"agentIds": ["nobody"]}' where id = :id`, { id });
    const runId = randomUUID();
    expect(await begin(id, hour(0), runId)).toEqual({ outcome: 'failed' });
    expect(await begin(id, hour(0), runId)).toEqual({ outcome: 'failed' });
    expect(await runsOf(id)).toMatchObject([{ state: 'failed', reason: 'agent_not_found', taskIds: [] }]);
  });
});

describe('how a run ends', () => {
  it.each([
    ['completed', 'succeeded'],
    ['failed', 'failed'],
    ['expired', 'failed'],
    ['canceled', 'canceled'],
  ])('a task that is %s: %s', async (end, state) => {
    const id = await create({ catchUpWindowMs: 24 * HOUR_MS });
    await begin(id, hour(0));
    await settleRuns(stack.deps);
    expect((await runsOf(id))[0]).toMatchObject({ state: 'running', endedAt: null });
    await endTasks(end);
    await settleRuns(stack.deps);
    expect((await runsOf(id))[0]).toMatchObject({ state });
  });

  it('the next one begins when what it waited for has ended', async () => {
    const id = await create({ overlap: 'buffer_one', catchUpWindowMs: 24 * HOUR_MS });
    expect(await begin(id, hour(2))).toEqual({ outcome: 'running' });
    expect(await begin(id, hour(1))).toEqual({ outcome: 'waiting' });
    expect(await begin(id, hour(0))).toEqual({ outcome: 'skipped' });
    await admitWaitingRuns(stack.deps);
    expect((await runsOf(id)).map(({ state }) => state)).toEqual(['skipped', 'waiting', 'running']);
    await endTasks('completed');
    await settleRuns(stack.deps);
    await admitWaitingRuns(stack.deps);
    expect((await runsOf(id)).map(({ state }) => state)).toEqual(['skipped', 'running', 'succeeded']);
    await endTasks('completed');
    // A due time settles what is over before it looks.
    expect(await begin(id, hour(3))).toEqual({ outcome: 'running' });
    await endTasks('completed');
  });

  it('one that cannot be begun now does not keep those of others waiting', async () => {
    const waitsForOne = { overlap: 'buffer_one', catchUpWindowMs: 24 * HOUR_MS } as const;
    const [broken, sound] = [await create(waitsForOne), await create(waitsForOne)];
    for (const id of [broken, sound]) {
      expect(await begin(id, hour(1))).toEqual({ outcome: 'running' });
      expect(await begin(id, hour(0))).toEqual({ outcome: 'waiting' });
    }
    await endTasks('completed');
    await settleRuns(stack.deps);
    await sql(`update schedules set action = jsonb_set(action, '{task,goal}', '7') where id = :id`, {
      id: broken,
    });
    await expect(admitWaitingRuns(stack.deps)).rejects.toThrow();
    expect((await runsOf(broken)).map(({ state }) => state)).toEqual(['waiting', 'succeeded']);
    expect((await runsOf(sound)).map(({ state }) => state)).toEqual(['running', 'succeeded']);
    await deleteSchedule(stack.deps, admin, broken);
    await admitWaitingRuns(stack.deps);
    await endTasks('completed');
  });

  it('what waits when the schedule is paused does not begin in the pause; what a person asked for does', async () => {
    const id = await create({ overlap: 'buffer_all', catchUpWindowMs: 24 * HOUR_MS });
    expect(await begin(id, hour(2))).toEqual({ outcome: 'running' });
    expect(await begin(id, hour(1))).toEqual({ outcome: 'waiting' });
    const span = { from: new Date(hour(8)).toISOString(), to: new Date(hour(8)).toISOString() };
    const asked = await backfillSchedule(stack.deps, admin, id, { ...span, overlap: 'buffer_all' }, null);
    expect(asked).toHaveLength(1);
    await pauseSchedule(stack.deps, admin, id, undefined);
    await endTasks('completed');
    for (let round = 0; round < 2; round++) {
      await settleRuns(stack.deps);
      await admitWaitingRuns(stack.deps);
      await endTasks('completed');
    }
    await settleRuns(stack.deps);
    const runs = (await runsOf(id)).map(({ trigger, state, reason }) => ({ trigger, state, reason }));
    expect(runs).toEqual([
      { trigger: 'due', state: 'skipped', reason: 'paused' },
      { trigger: 'due', state: 'succeeded', reason: null },
      { trigger: 'backfill', state: 'succeeded', reason: null },
    ]);
    await deleteSchedule(stack.deps, admin, id);
  });

  it('what gives up its turn to a later one is told', async () => {
    const id = await create({ overlap: 'cancel_other', catchUpWindowMs: 24 * HOUR_MS });
    const runId = randomUUID();
    expect(await begin(id, hour(2))).toEqual({ outcome: 'running' });
    expect(await begin(id, hour(1), runId)).toEqual({ outcome: 'waiting' });
    expect(await begin(id, hour(0))).toEqual({ outcome: 'waiting' });
    expect(await findRun(stack.db, runId)).toMatchObject({ state: 'skipped', reason: 'replaced' });
    const told = await sql<{ data: unknown }>(
      `select data from events where type = 'schedule.run_skipped' and data ->> 'runId' = :runId`,
      { runId },
    );
    expect(told).toMatchObject([{ data: { scheduleId: id, reason: 'replaced', count: 1 } }]);
    await deleteSchedule(stack.deps, admin, id);
    await endTasks('completed');
  });
});

describe('due times without a run', () => {
  it('are told as one row of many, with the reason, and are refused from then on', async () => {
    const id = await create({ catchUpWindowMs: HOUR_MS, overlap: 'allow_all' });
    await age(id, 10 * HOUR_MS);
    expect(await begin(id, hour(0))).toEqual({ outcome: 'running' });
    expect(await accountSchedules(stack.deps, { marginMs: 0 })).toBeGreaterThan(0);
    const gap = (await runsOf(id)).find(({ state }) => state === 'missed');
    expect(gap).toMatchObject({ reason: 'catch_up_window', taskIds: [] });
    expect(gap?.count).toBeGreaterThanOrEqual(8);
    expect(Date.parse(gap?.lastDueAt ?? '') - Date.parse(gap?.dueAt ?? '')).toBe(
      ((gap?.count ?? 0) - 1) * HOUR_MS,
    );
    expect(await begin(id, hour(5))).toEqual({ outcome: 'accounted' });
    // Nothing is told twice, and what comes after goes into the same row.
    await age(id, 0);
    expect(await accountSchedules(stack.deps, { marginMs: 0 })).toBe(0);
    expect((await runsOf(id)).filter(({ state }) => state === 'missed')).toHaveLength(1);
  });

  it('are split where one of them had its run', async () => {
    const id = await create({ catchUpWindowMs: 24 * HOUR_MS, overlap: 'allow_all' });
    await age(id, 10 * HOUR_MS);
    expect(await begin(id, hour(5))).toEqual({ outcome: 'running' });
    await sql('update schedules set catch_up_window_ms = 60000 where id = :id', { id });
    await accountSchedules(stack.deps, { marginMs: 0 });
    expect((await runsOf(id)).map(({ state }) => state)).toEqual(['missed', 'running', 'missed']);
  });

  it('in a pause are skipped, not caught up', async () => {
    const id = await create({ catchUpWindowMs: 24 * HOUR_MS });
    await pauseSchedule(stack.deps, admin, id, 'maintenance');
    await age(id, 5 * HOUR_MS);
    expect(await begin(id, hour(4))).toEqual({ outcome: 'skipped' });
    const resumed = await resumeSchedule(stack.deps, admin, id, undefined);
    expect(resumed).toMatchObject({ state: 'active', pausedAt: null, pauseNote: null });
    const runs = await runsOf(id);
    expect(runs.every(({ state, reason }) => state === 'skipped' && reason === 'paused')).toBe(true);
    expect(runs.reduce((sum, run) => sum + run.count, 0)).toBe(5);
    expect(await begin(id, hour(1))).toEqual({ outcome: 'accounted' });
    expect(await accountSchedules(stack.deps, { marginMs: 0 })).toBe(0);
  });
});

describe('due times without a run that a change meets', () => {
  it('in a second pause leave alone those between the two, which may still begin', async () => {
    const id = await create({ paused: true, catchUpWindowMs: 24 * HOUR_MS, overlap: 'allow_all' });
    const endPause = (until: number) =>
      transact(stack.deps, async (unit) => {
        const schedule = await lockSchedule(unit.trx, id);
        if (schedule !== undefined) await accountPause(unit, schedule, new Date(until));
      });
    const setPause = (from: number, accountedUntil: number) =>
      sql('update schedules set paused_at = :from, accounted_until = :until where id = :id', {
        id,
        from: new Date(from),
        until: new Date(accountedUntil),
      });
    await setPause(hour(9) - 60_000, hour(9) - 60_000);
    await endPause(hour(6) + 60_000);
    // Nothing could begin the two hours after it.
    await setPause(hour(3) - 60_000, hour(6) + 60_000);
    await endPause(hour(0));
    const paused = (await runsOf(id)).map(({ reason, count }) => ({ reason, count }));
    expect(paused).toEqual([
      { reason: 'paused', count: 4 },
      { reason: 'paused', count: 4 },
    ]);
    await sql('update schedules set paused_at = null where id = :id', { id });
    expect(await begin(id, hour(4))).toEqual({ outcome: 'running' });
    expect(await begin(id, hour(3))).toEqual({ outcome: 'accounted' });
    await endTasks('completed');
  });

  const missedOf = async (id: string) => {
    await accountSchedules(stack.deps, { marginMs: 0 });
    return (await runsOf(id)).reduce((sum, { state, count }) => sum + (state === 'missed' ? count : 0), 0);
  };

  it('are told although something else of the schedule has changed since', async () => {
    const id = await create({ catchUpWindowMs: HOUR_MS });
    await age(id, 10 * HOUR_MS);
    await updateSchedulePartly(stack.deps, admin, id, { name: 'another name' });
    expect(await missedOf(id)).toBeGreaterThanOrEqual(8);
  });

  it('are not those of other times, nor those after the last run', async () => {
    const other = await create({ catchUpWindowMs: HOUR_MS });
    await age(other, 10 * HOUR_MS);
    await updateSchedulePartly(stack.deps, admin, other, {
      timing: { kind: 'interval', everyMs: HOUR_MS / 2, offsetMs: 0 },
    });
    expect(await missedOf(other)).toBe(0);
    const over = await create({ catchUpWindowMs: HOUR_MS, maxRuns: 1 });
    await age(over, 10 * HOUR_MS);
    await sql('update schedules set runs_started = 1 where id = :id', { id: over });
    await updateSchedulePartly(stack.deps, admin, over, { maxRuns: 2 });
    expect(await missedOf(over)).toBe(0);
  });
});

it('a preview begins with the second in which the schedule does', () => {
  const given = {
    timing: { kind: 'interval', everyMs: HOUR_MS, offsetMs: 0 },
    startAt: '2090-01-01T10:00:00.500Z',
    endAt: null,
  } as const;
  expect(previewTiming(admin, given).times[0]).toBe('2090-01-01T10:00:00.000Z');
});

describe('by hand', () => {
  it('a backfill at once: the runs do not wait for each other', async () => {
    const id = await create({ paused: true });
    const body = {
      from: new Date(hour(3)).toISOString(),
      to: new Date(hour(1)).toISOString(),
      overlap: 'allow_all',
    } as const;
    expect(await backfillSchedule(stack.deps, admin, id, body, null)).toHaveLength(3);
    await admitWaitingRuns(stack.deps);
    expect((await runsOf(id)).map(({ state, trigger }) => [state, trigger])).toEqual(
      Array(3).fill(['running', 'backfill']),
    );
    await endTasks('completed');
  });

  it('what waits when the schedule is deleted never begins', async () => {
    const id = await create({ paused: true });
    const body = {
      from: new Date(hour(2)).toISOString(),
      to: new Date(hour(1)).toISOString(),
      overlap: 'buffer_all',
    } as const;
    const [first] = await backfillSchedule(stack.deps, admin, id, body, null);
    await deleteSchedule(stack.deps, admin, id);
    await admitWaitingRuns(stack.deps);
    expect(await findRun(stack.db, first ?? '')).toMatchObject({ state: 'skipped', reason: 'deleted' });
  });
});

describe('Temporal is told', () => {
  function fakeServer(): ScheduleServer & {
    held: Map<string, ServerSchedule>;
    isAway: boolean;
    failures: number;
  } {
    const held = new Map<string, ServerSchedule>();
    const stateOf = (schedule: ServerSchedule) => ({ fingerprint: JSON.stringify(schedule), nextTimes: [] });
    const server = {
      held,
      isAway: false,
      failures: 0,
      ready: () => !server.isAway,
      async put(schedule: ServerSchedule) {
        if (server.failures-- > 0) throw new Error('no');
        held.set(schedule.scheduleId, schedule);
        return stateOf(schedule);
      },
      async look(id: string) {
        const schedule = held.get(id);
        return schedule && stateOf(schedule);
      },
      async remove(id: string) {
        held.delete(id);
      },
    };
    return server;
  }

  it('of every change, as soon as it is there', async () => {
    const server = fakeServer();
    const deps = { ...stack.deps, scheduleServer: server };
    await syncSchedules(deps); // what the tests before have left
    server.isAway = true;
    const id = await create({ timing: { kind: 'cron', expression: '5 4 * * 1', timeZone: 'Europe/Berlin' } });
    expect(await syncSchedules(deps)).toBe(0);
    expect((await getSchedule(deps, admin, id)).sync.state).toBe('pending');
    server.isAway = false;
    server.failures = 1;
    expect(await syncSchedules(deps)).toBe(0);
    expect((await getSchedule(deps, admin, id)).sync).toMatchObject({ state: 'failed', error: 'no' });
    await sql('update schedules set next_sync_at = now() where id = :id', { id });
    expect(await syncSchedules(deps)).toBe(1);
    expect((await getSchedule(deps, admin, id)).sync.state).toBe('synced');
    expect(server.held.get(id)).toMatchObject({
      revision: 1,
      isPaused: false,
      timing: {
        kind: 'calendar',
        calendars: [{ minute: [5], hour: [4], dayOfWeek: [1] }],
        comment: '5 4 * * 1',
      },
    });
    await pauseSchedule(deps, admin, id, 'why');
    await updateSchedulePartly(deps, admin, id, { name: 'renamed' });
    expect(await syncSchedules(deps)).toBe(1);
    expect(server.held.get(id)).toMatchObject({ revision: 3, name: 'renamed', isPaused: true, note: 'why' });
    expect(await syncSchedules(deps)).toBe(0);
    await deleteSchedule(deps, admin, id);
    expect(await syncSchedules(deps)).toBe(1);
    expect(server.held.has(id)).toBe(false);
    expect(await findSchedule(stack.db, id)).toBeUndefined();
  });

  it('again where it has forgotten, or where somebody else has changed it', async () => {
    const server = fakeServer();
    const deps = { ...stack.deps, scheduleServer: server };
    const id = await create();
    await syncSchedules(deps);
    await sql(`update schedules set looked_at = now() where looked_at is not null`);
    const told = server.held.get(id);
    const look = async (): Promise<number> => {
      await sql(`update schedules set looked_at = now() - interval '1 day' where id = :id`, { id });
      return findDriftedSchedules(deps, HOUR_MS);
    };
    expect(await look()).toBe(0);
    if (told !== undefined) server.held.set(id, { ...told, isPaused: true });
    expect(await look()).toBe(1);
    await syncSchedules(deps);
    expect(server.held.get(id)).toEqual(told);
    server.held.delete(id);
    await sql(`update schedules set looked_at = now() where looked_at is not null`);
    expect(await look()).toBe(1);
    await syncSchedules(deps);
    expect(server.held.get(id)).toEqual(told);
  });

  it('again of a deletion, where what was deleted still fires', async () => {
    const id = await create();
    await deleteSchedule(stack.deps, admin, id);
    await sql('update schedules set synced_revision = revision where id = :id', { id });
    expect(await begin(id, hour(0))).toEqual({ outcome: 'unknown' });
    const unsynced = await sql('select 1 from schedules where id = :id and synced_revision < revision', {
      id,
    });
    expect(unsynced).toHaveLength(1);
  });

  it('of the others, where it never says what it holds of one', async () => {
    const server = fakeServer();
    const deps = { ...stack.deps, scheduleServer: server };
    const ids = [await create(), await create(), await create()];
    await syncSchedules(deps);
    for (const silent of ids) {
      for (const [id, schedule] of server.held) server.held.set(id, { ...schedule, note: 'not ours' });
      await sql(`update schedules set looked_at = now() where looked_at is not null`);
      await sql(
        `update schedules set looked_at = now() - interval '1 day' where id = any(cast(:ids as uuid[]))`,
        {
          ids,
        },
      );
      const look = async (id: string) => {
        if (id === silent) throw new Error('no answer');
        return server.look(id);
      };
      expect(await findDriftedSchedules({ ...deps, scheduleServer: { ...server, look } }, HOUR_MS)).toBe(2);
      await syncSchedules(deps);
    }
  });
});

it('lists are read by their indexes', async () => {
  const id = await create();
  const ids = Array.from({ length: 3_000 }, () => randomUUID());
  await sql(
    `insert into schedules (id, name, timing, action, target, overlap, catch_up_window_ms, jitter_ms, creator_kind,
       creator_id, creator_name, editor_kind, editor_id, editor_name, synced_revision, created_at)
     select s.id, 'x', '{}', '{}', '{}', 'skip', 1, 0, 'user', s.n % 50, 'x', 'user', 'x', 'x', 1,
       now() - s.n * interval '1 minute'
     from unnest(cast(:ids as uuid[])) with ordinality as s(id, n)`,
    { ids },
  );
  await sql(
    `insert into schedule_runs (id, schedule_id, trigger, due_at, last_due_at, state, revision, ended_at)
     select gen_random_uuid(), :id, 'due', now() - n * interval '1 hour', now(), 'succeeded', 1, now()
     from generate_series(1, 5000) as n`,
    { id },
  );
  await sql('analyze schedules');
  await sql('analyze schedule_runs');
  const planOf = async ({
    sql: text,
    bindings,
  }: {
    sql: string;
    bindings: Record<string, unknown>;
  }): Promise<string> => {
    const rows = await sql<Record<string, string>>(`explain ${text}`, bindings);
    return rows.map((row) => row['QUERY PLAN']).join('\n');
  };
  const page = { before: { at: new Date(), id }, limit: 51 };
  expect(await planOf(listSchedulesSql({ ownerId: undefined, isPaused: undefined, ...page }))).toContain(
    'schedules_list_idx',
  );
  expect(await planOf(listSchedulesSql({ ownerId: '7', isPaused: undefined, ...page }))).toContain(
    'schedules_creator_idx',
  );
  expect(await planOf(listRunsSql({ scheduleId: id, state: undefined, ...page }))).toContain(
    'schedule_runs_list_idx',
  );
  expect(await planOf(listRunsSql({ scheduleId: id, state: 'skipped', ...page }))).toContain(
    'schedule_runs_state_idx',
  );
});
