/** Two hundred tasks at once through one worker and a few real agents. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { TaskView } from '../../contracts/tasks.ts';
import { query } from '../../db/database.ts';
import { type Effects, openEffects } from '../chaos/effects.ts';
import { findViolations, waitUntilQuiet } from '../chaos/invariants.ts';
import { type Model, startModel } from '../chaos/model.ts';
import { createInstallation, type Installation } from '../support/installation.ts';

const TASKS = 200;
const AGENTS = 3;

let installation: Installation;
let effects: Effects;
let model: Model;

beforeAll(async () => {
  effects = openEffects();
  model = await startModel();
  installation = await createInstallation({ env: model.env });
  await installation.startApi();
  await installation.startWorker();
  for (let index = 0; index < AGENTS; index++) await installation.startAgent();
});
afterAll(async () => {
  await installation?.close();
  await model?.close();
  effects?.close();
});

test('all of them end, each command ran once', async () => {
  const startedAt = performance.now();
  const tasks = await Promise.all(
    Array.from({ length: TASKS }, (_, index) => {
      const { script } = effects.createQuick(`task-${index}`);
      const body = { goal: model.plan(`task-${index}`, [script]), mode: 'auto', preApproved: [script] };
      return installation.call<TaskView>('POST', '/v1/tasks', body);
    }),
  );
  expect(new Set(tasks.map((task) => task.id)).size).toBe(TASKS);
  await waitUntilQuiet(installation, { timeoutMs: 180_000 });
  process.stdout.write(`${TASKS} tasks: ${Math.round(performance.now() - startedAt)} ms\n`);
  const states = await query(installation.db, 'select state, count(*) as count from tasks group by state');
  expect(states).toEqual([{ state: 'completed', count: TASKS }]);
  const perAgent = await query<{ count: number }>(
    installation.db,
    'select count(*) as count from commands group by agent_id',
  );
  expect(perAgent).toHaveLength(AGENTS); // the least busy agent was chosen, so nobody stood idle
  expect(effects.counts().size).toBe(TASKS);
  expect(await findViolations(installation, effects)).toEqual([]);
});
