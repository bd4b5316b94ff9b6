/**
 * A thousand schedules that are due in the same second: each begins exactly once, what it runs runs once, and Temporal
 * goes through them without a pause.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { serverScheduleId } from '../../contracts/schedule-io.ts';
import type { ScheduleDetailView } from '../../contracts/schedules.ts';
import { query } from '../../db/database.ts';
import { type Effects, openEffects } from '../chaos/effects.ts';
import { type AgentPart, createInstallation, type Installation } from '../support/installation.ts';
import { withTemporal } from '../support/temporal.ts';

const SCHEDULES = 1_000;
/** Requests at the same time. */
const LANES = 8;
/** From the first creation to the due second: Temporal is to have heard of all by then, on two busy cores. */
const LEAD_MS = 150_000;
const HOUR_MS = 3_600_000;
/** How long a slow machine may take for one part of it; and for all. */
const PATIENCE_MS = 400_000;
const TEST_TIMEOUT_MS = 15 * 60_000;
/** Temporal's own workflow of a schedule. */
const SERVER_WORKFLOW_PREFIX = 'temporal-sys-scheduler:';
/** EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT of Temporal's API. */
const TIMED_OUT = 8;

let installation: Installation;
let effects: Effects;
let agent: AgentPart;

beforeAll(async () => {
  effects = openEffects();
  installation = await createInstallation();
  await installation.startApi();
  await installation.startWorker();
  agent = await installation.startAgent();
});
afterAll(async () => {
  await installation?.close();
  effects?.close();
});

const numberOf = async (sql: string, bindings: Record<string, unknown> = {}): Promise<number> =>
  Number((await query<{ n: number }>(installation.db, sql, bindings))[0]?.n);

test('each of them begins once and runs once', { timeout: TEST_TIMEOUT_MS }, async () => {
  const dueAt = Math.ceil((Date.now() + LEAD_MS) / 1_000) * 1_000;
  const numbers = Array.from({ length: SCHEDULES }, (_, index) => index).values();
  const lane = async (): Promise<void> => {
    for (const index of numbers) {
      await installation.call<ScheduleDetailView>('POST', '/v1/schedules', {
        name: `number ${index}`,
        timing: { kind: 'interval', everyMs: HOUR_MS, offsetMs: dueAt % HOUR_MS },
        action: { kind: 'command', act: { command: effects.createQuick(`schedule-${index}`).script } },
        target: { agentIds: [agent.agentId] },
        catchUpWindowMs: HOUR_MS,
      });
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  await installation.until(
    () => numberOf('select count(*) as n from schedules where synced_revision = revision'),
    (count) => count === SCHEDULES,
    'Temporal has heard of all of them',
    PATIENCE_MS,
  );
  await installation.until(
    () => numberOf(`select count(*) as n from schedule_runs where state = 'succeeded'`),
    (count) => count === SCHEDULES,
    'every run has succeeded',
    LEAD_MS + PATIENCE_MS,
  );
  const drainMs = await numberOf(
    'select extract(epoch from max(started_at)) * 1000 - :dueAt as n from schedule_runs',
    { dueAt },
  );
  process.stdout.write(`${SCHEDULES} schedules began within ${Math.round(drainMs)} ms\n`);
  const [counts] = await query<{ runs: number; schedules: number; dueTimes: number; commands: number }>(
    installation.db,
    `select count(*) as runs, count(distinct schedule_id) as schedules, count(distinct due_at) as "dueTimes",
       (select count(*) from commands) as commands from schedule_runs`,
  );
  expect(counts).toEqual({ runs: SCHEDULES, schedules: SCHEDULES, dueTimes: 1, commands: SCHEDULES });
  expect([...effects.counts().values()].filter((count) => count !== 1)).toEqual([]);
  expect(effects.counts().size).toBe(SCHEDULES);
  expect(await countTimeouts()).toBe(0);
});

/**
 * Workflow tasks of Temporal's own schedules that waited too long for its worker. One is the beginning of a minute in
 * which that worker looks for them in the wrong queue (stack/temporal.ts).
 */
async function countTimeouts(): Promise<number> {
  const ids = (await query<{ id: string }>(installation.db, 'select id from schedules')).values();
  let timeouts = 0;
  await withTemporal(async ({ workflow }) => {
    const lane = async (): Promise<void> => {
      for (const { id } of ids) {
        const handle = workflow.getHandle(`${SERVER_WORKFLOW_PREFIX}${serverScheduleId(id)}`);
        const { events } = await handle.fetchHistory();
        timeouts += (events ?? []).filter((event) => event.eventType === TIMED_OUT).length;
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  });
  return timeouts;
}
