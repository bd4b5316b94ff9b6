/** Work that somebody let run before: what a token that ends, a password that is reset and an account that is disabled mean for it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ScheduleDetailView, ScheduleRunView } from '../../contracts/schedules.ts';
import { forgetSchedules } from '../support/schedules.ts';
import { type System, startSystem } from '../support/system.ts';
import { type Desk, deskOf } from '../support/tasks.ts';

const PATIENCE_MS = 40_000;

let system: System;
let desk: Desk;
const made: string[] = [];

beforeAll(async () => {
  system = await startSystem();
  desk = deskOf(system);
  await system.startAgent({ agentId: 'target' });
});
afterAll(async () => {
  await forgetSchedules(system, made, PATIENCE_MS);
  await system.close();
});

const runsOf = async (id: string): Promise<ScheduleRunView[]> =>
  (await system.call<{ items: ScheduleRunView[] }>('GET', `/v1/schedules/${id}/runs?limit=200`)).items;
const succeededOf = (runs: readonly ScheduleRunView[]) => runs.filter(({ state }) => state === 'succeeded');
/** Two more than there were: the second has begun after this was asked. */
const untilTwoMore = async (id: string, what: string): Promise<void> => {
  const before = succeededOf(await runsOf(id)).length;
  await system.until(
    () => runsOf(id),
    (runs) => succeededOf(runs).length >= before + 2,
    what,
    PATIENCE_MS,
  );
};

it('outlives the token and the password, and ends with the account', { timeout: 200_000 }, async () => {
  const session = await desk.addUser('operator', 'maker');
  const { token, id: tokenId } = await system.call<{ token: string; id: string }>(
    'POST',
    '/v1/auth/tokens',
    { name: 'automation', scopes: ['tasks', 'commands'] },
    { token: session },
  );
  const schedule = await system.call<ScheduleDetailView>(
    'POST',
    '/v1/schedules',
    {
      name: 'by a token',
      timing: { kind: 'interval', everyMs: 1_000 },
      action: { kind: 'command', act: { command: 'true' } },
      target: { agentIds: ['target'] },
    },
    { token },
  );
  made.push(schedule.id);
  await untilTwoMore(schedule.id, 'it runs');

  await system.call('DELETE', `/v1/auth/tokens/${tokenId}`, undefined, { token: session });
  expect((await system.request('GET', '/v1/tasks', undefined, { token })).status).toBe(401);
  await untilTwoMore(schedule.id, 'it runs without its token');

  const { items } = await system.call<{ items: { id: string; username: string }[] }>('GET', '/v1/users');
  const userId = items.find(({ username }) => username === 'maker')?.id ?? '';
  const password = 'Only-For-Once-77';
  await system.call('POST', `/v1/users/${userId}/reset-password`, { newPassword: password });
  const login = await system.call<{ accessToken: string }>('POST', '/v1/auth/login', {
    username: 'maker',
    password,
  });
  expect(await system.request('GET', '/v1/tasks', undefined, { token: login.accessToken })).toMatchObject({
    status: 403,
    body: { code: 'password_change_required' },
  });
  await untilTwoMore(schedule.id, 'it runs while the password must be changed');

  await system.call('PATCH', `/v1/users/${userId}`, { isActive: false });
  const runs = await system.until(
    () => runsOf(schedule.id),
    (each) => each.some(({ state }) => state === 'failed'),
    'the disabled account runs nothing',
    PATIENCE_MS,
  );
  expect(runs.find(({ state }) => state === 'failed')).toMatchObject({
    reason: 'account_disabled',
    batchIds: [],
  });
});
