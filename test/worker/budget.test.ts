import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDatabase, type Db, query } from '../../db/database.ts';
import { createBudget } from '../../domain/budget.ts';
import { noLimits } from '../support/budget.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let db: Db;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 2, applicationName: 'budget-test' });
});

afterAll(async () => {
  await db.destroy();
  await database.drop();
});

const usage = (costUsd: number) => ({
  model: 'm',
  inputTokens: 10,
  outputTokens: 1,
  costUsd,
  mock: false,
});

it.each([
  ['task', { taskUsd: 0.3 }],
  ['user', { userDayUsd: 0.3 }],
  ['day', { dayUsd: 0.3 }],
])('refuses when the %s budget is used up, and not before', async (name, limit) => {
  await db.raw('truncate llm_calls');
  const budget = createBudget({ db, limits: { ...noLimits, ...limit } });
  const scope = { taskId: randomUUID(), principalId: 'user-1' };
  await budget.record(scope, usage(0.2), 'ok');
  await budget.assertWithin(scope);
  await budget.record(scope, usage(0.1), 'llm_bad_answer'); // charged all the same
  await expect(budget.assertWithin(scope)).rejects.toMatchObject({
    code: 'llm_budget_exceeded',
    message: `The ${name} budget for the model is used up`,
  });
  const elsewhere = { taskId: randomUUID(), principalId: 'user-2' };
  const other = budget.assertWithin(elsewhere);
  await (name === 'day' ? expect(other).rejects.toThrow() : other);
});

it('counts a day, and a task for ever', async () => {
  await db.raw('truncate llm_calls');
  const scope = { taskId: randomUUID(), principalId: 'user-1' };
  await createBudget({ db, limits: noLimits }).record(scope, usage(5), 'ok');
  await db.raw("update llm_calls set at = at - interval '1 day'");
  await createBudget({ db, limits: { ...noLimits, userDayUsd: 1, dayUsd: 1 } }).assertWithin(scope);
  const perTask = createBudget({ db, limits: { ...noLimits, taskUsd: 1 } });
  await expect(perTask.assertWithin(scope)).rejects.toMatchObject({ code: 'llm_budget_exceeded' });
});

it('records calls that cost nothing', async () => {
  await db.raw('truncate llm_calls');
  const budget = createBudget({ db, limits: noLimits });
  const scope = { taskId: randomUUID(), principalId: 'user-1' };
  await budget.record(scope, { ...usage(0), mock: true }, 'ok');
  const rows = await query(db, 'select mock, purpose, outcome, cost_usd from llm_calls');
  expect(rows).toEqual([{ mock: true, purpose: 'propose', outcome: 'ok', cost_usd: 0 }]);
});
