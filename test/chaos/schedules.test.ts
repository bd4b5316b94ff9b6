/** Due times that come while everything is down: what its window still takes is caught up, the rest is told as missed. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../config.ts';
import type { ScheduleDetailView, ScheduleRunView } from '../../contracts/schedules.ts';
import { query } from '../../db/database.ts';
import type { StackLog } from '../../stack/log-port.ts';
import { findFreePort } from '../../stack/ports.ts';
import { startTemporal, type Temporal } from '../../stack/temporal.ts';
import {
  type AgentPart,
  type ApiPart,
  createInstallation,
  type Installation,
  type Part,
} from '../support/installation.ts';
import { type Effects, openEffects } from './effects.ts';

const EVERY_MS = 2_000;
/** Longer than the short catch-up window, with what a run may be late besides. */
const SHORT_WINDOW_MS = 10_000;
const DOWN_MS = 14_000;

let home: string;
let temporal: Temporal;
let temporalPid = 0;
let port: number;
let installation: Installation;
let api: ApiPart;
let worker: Part;
let agent: AgentPart;
let effects: Effects;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'steelthread-schedules-'));
  port = await findFreePort();
  await openTemporal();
  effects = openEffects();
  installation = await createInstallation({ temporalAddress: temporal.address });
  api = await installation.startApi();
  worker = await installation.startWorker();
  agent = await installation.startAgent();
});
afterAll(async () => {
  await installation?.close();
  await temporal?.stop();
  effects?.close();
  await rm(home, { recursive: true, force: true });
});

async function openTemporal(): Promise<void> {
  const config = loadConfig('cli');
  const hear = (fields: { event: string; pid?: unknown }): void => {
    if (fields.event === 'temporal_started') temporalPid = Number(fields.pid);
  };
  const log = { debug: hear, info: hear, warn: hear, error: hear } as unknown as StackLog;
  const { temporalCliPath: cliPath, steelthreadCache: cacheDir } = config;
  temporal = await startTemporal({ log, homeDir: home, port, ui: false, cliPath, cacheDir });
}

const create = (name: string, given: Record<string, unknown>) =>
  installation.call<ScheduleDetailView>('POST', '/v1/schedules', {
    name,
    timing: { kind: 'interval', everyMs: EVERY_MS },
    action: { kind: 'command', act: { command: effects.createQuick(name).script } },
    target: { agentIds: [agent.agentId] },
    overlap: 'allow_all',
    ...given,
  });
const runsOf = async (id: string): Promise<ScheduleRunView[]> =>
  (await installation.call<{ items: ScheduleRunView[] }>('GET', `/v1/schedules/${id}/runs?limit=200`)).items;

test('kill -9 of Temporal, the worker and the API across due times', async () => {
  const wide = await create('wide window', { catchUpWindowMs: 3_600_000 });
  const narrow = await create('narrow window', { catchUpWindowMs: SHORT_WINDOW_MS });
  for (const { id } of [wide, narrow]) {
    await installation.until(
      () => runsOf(id),
      (runs) => runs.some(({ state }) => state === 'succeeded'),
      'it runs',
    );
  }
  await Promise.all([api.kill(), worker.kill()]);
  process.kill(temporalPid, 'SIGKILL');
  await temporal.done;
  const downAt = Date.now();
  await installation.until(
    async () => Date.now() - downAt,
    (ms) => ms > DOWN_MS,
    'several due times',
    DOWN_MS * 2,
  );
  const upAt = Date.now();
  await openTemporal();
  await Promise.all([api.start(), worker.start()]);

  const isDown = (run: ScheduleRunView): boolean =>
    Date.parse(run.dueAt) > downAt && Date.parse(run.dueAt) < upAt;
  const expected = Math.floor(DOWN_MS / EVERY_MS) - 1;
  await installation.until(
    () => runsOf(wide.id),
    (runs) => runs.filter((run) => isDown(run) && run.state === 'succeeded').length >= expected,
    'all of the wide window is caught up',
    120_000,
  );
  // What lies too far back is told once nothing can begin it any more.
  const missed = await installation.until(
    () => runsOf(narrow.id),
    (runs) => runs.some((run) => run.state === 'missed'),
    'the narrow window is told',
    180_000,
  );
  expect(missed.find(({ state }) => state === 'missed')).toMatchObject({ reason: 'catch_up_window' });

  for (const { id } of [wide, narrow]) await installation.call('POST', `/v1/schedules/${id}/pause`, {});
  await installation.until(
    () => query<{ n: number }>(installation.db, `select 1 as n from schedule_runs where state = 'running'`),
    (open) => open.length === 0,
    'nothing runs any more',
  );
  const [counts] = await query<{ runs: number; dueTimes: number; commands: number; wrong: number }>(
    installation.db,
    `select count(*) as runs, count(distinct (schedule_id, due_at)) as "dueTimes",
       (select count(*) from commands) as commands, count(*) filter (where state <> 'succeeded') as wrong
     from schedule_runs where started_at is not null`,
  );
  expect(counts?.dueTimes).toBe(counts?.runs);
  expect(counts?.commands).toBe(counts?.runs);
  expect(counts?.wrong).toBe(0);
  // Both scripts leave a mark each time they run.
  const marks = [...effects.counts().values()].reduce((sum, count) => sum + count, 0);
  expect(marks).toBe(counts?.runs);
});
