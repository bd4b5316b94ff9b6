/** What the house API says of a task besides its goal: its words, what it waits for, and the tokens it holds. */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TaskView } from '../../contracts/tasks.ts';
import { resealSecrets } from '../../domain/reseal-secrets.ts';
import { createSecretBox } from '../../domain/secret-box.ts';
import { callbackTokenName, taskAgentTokenName } from '../../domain/tasks/task-secrets.ts';
import { type House, startHouse } from '../support/house.ts';
import { testFernetKey } from '../support/identity.ts';

let house: House;
beforeAll(async () => {
  house = await startHouse();
});
afterAll(() => house.close());

const edit = (id: string, change: object, as = 'admin:ada') =>
  house.ask<TaskView>('PATCH', `/v1/tasks/${id}`, change, { as });

describe('words of a task', () => {
  it('has defaults, is given at creation, and changes later', async () => {
    const plain = await house.createTask();
    expect(plain).toMatchObject({ priority: 'medium', tags: [], dependsOn: [], parentTaskId: null });
    const full = await house.createTask({
      priority: 'critical',
      tags: ['b', 'a', 'b'],
      dependsOn: [plain.id, plain.id],
      parentTaskId: plain.id,
    });
    expect(full).toMatchObject({
      priority: 'critical',
      tags: ['b', 'a'],
      state: 'blocked',
      waitingReason: 'dependencies',
      dependsOn: [plain.id],
      parentTaskId: plain.id,
    });
    const changed = await edit(full.id, { title: ' new ', goal: 'another', priority: 'low', tags: [] });
    expect(changed).toMatchObject({
      status: 200,
      body: { title: 'new', goal: 'another', priority: 'low', tags: [], version: full.version + 1 },
    });
    const same = await edit(full.id, { title: 'new' });
    expect(same.body.version).toBe(full.version + 1);
    expect((await edit(full.id, { dependsOn: [] })).body).toMatchObject({ state: 'created', dependsOn: [] });
    const [started] = await house.db('outbox').where({ workflow_id: `task/${full.id}/1` });
    expect(started).toMatchObject({ kind: 'start_task' });
  });

  it.each([
    [{ priority: 'High' }],
    [{ tags: [''] }],
    [{ dependsOn: ['a b'] }],
    [{ goal: ' ' }],
    [{ mode: 'auto' }],
    [{ preApproved: ['ls'] }],
    [{ state: 'completed' }],
  ])('refuses %j', async (change) => {
    const task = await house.createTask({ mode: 'manual' });
    expect(await edit(task.id, change)).toMatchObject({ status: 422, body: { code: 'validation_failed' } });
  });

  it('is changed by whoever may', async () => {
    const task = await house.createTask({}, 'user:uma');
    expect((await edit(task.id, { title: 'x' }, 'user:otto')).status).toBe(404);
    expect((await edit(task.id, { title: 'x' }, 'viewer:vic')).status).toBe(403);
    expect((await edit(task.id, { title: 'x' }, 'user:uma')).status).toBe(200);
    expect((await edit('nothing', { title: 'x' })).status).toBe(404);
  });

  it('keeps the goal of an ended task, of which its seal speaks, and nothing else', async () => {
    const task = await house.createTask({ mode: 'manual' });
    await house.ask('POST', `/v1/tasks/${task.id}/cancel`, {});
    expect(await edit(task.id, { goal: 'another' })).toMatchObject({
      status: 409,
      body: { code: 'task_not_open' },
    });
    expect((await edit(task.id, { tags: ['kept'] })).body).toMatchObject({ tags: ['kept'] });
  });

  it('lets nothing wait that goes on by itself', async () => {
    const first = await house.createTask();
    const task = await house.createTask();
    expect(await edit(task.id, { dependsOn: [first.id] })).toMatchObject({
      status: 409,
      body: { code: 'conflict' },
    });
    expect((await house.ask('GET', `/v1/tasks/${task.id}`)).body).toEqual(task);
  });
});

it('puts the tokens that tasks hold under a new key', async () => {
  const agent = await house.addAgent();
  const made = await house.ask<{ data: { id: string } }>('POST', '/tasks', {
    title: 'x',
    callback_token: 'to-call-back',
  });
  const { id } = made.body.data;
  await house.ask('POST', `/tasks/${id}/assign`, { agent_url: agent, token: 'of-the-agent' });
  const newKey = `${randomBytes(32).toString('base64url')}=`;
  const both = { db: house.db, secrets: createSecretBox([newKey, testFernetKey]), log: house.deps.log };
  const results = await Promise.all([resealSecrets(both), resealSecrets(both)]);
  expect(results.map(({ resealed }) => resealed).reduce((a, b) => a + b)).toBe(2);
  expect(await resealSecrets(both)).toEqual({ resealed: 0, unreadable: 0 });
  const [row] = await house.db('tasks').where({ public_id: id });
  const fresh = createSecretBox([newKey]);
  expect(fresh.open(callbackTokenName(row.id), row.sealed_callback_token)).toBe('to-call-back');
  expect(fresh.open(taskAgentTokenName(row.id), row.sealed_agent_token)).toBe('of-the-agent');
});
