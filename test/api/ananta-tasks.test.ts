/** The task routes of ananta, row by row. What is proposed and executed has tests of its own. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AnantaTask } from '../../contracts/families/ananta/tasks.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { endTask } from '../../domain/tasks/engine.ts';
import { callbackTokenName, taskAgentTokenName } from '../../domain/tasks/task-secrets.ts';
import { type House, startHouse } from '../support/house.ts';
import { readAudit } from '../support/identity.ts';

let house: House;
beforeAll(async () => {
  house = await startHouse();
});
afterAll(() => house.close());

interface Envelope<Data> {
  status: string;
  message?: string;
  data: Data;
}
const ask = <Data = Record<string, unknown>>(
  method: string,
  path: string,
  body?: unknown,
  options?: Parameters<House['ask']>[3],
) => house.ask<Envelope<Data>>(method, path, body, options);

let number = 0;
const newId = (): string => `t-${++number}`;

/** @returns the id */
async function create(words: object = {}, as = 'admin:ada'): Promise<string> {
  const made = await ask<{ id: string }>('POST', '/tasks', words, { as });
  expect(made).toMatchObject({ status: 201, body: { status: 'success', data: { status: 'created' } } });
  return made.body.data.id;
}
async function get(id: string, as = 'admin:ada'): Promise<AnantaTask> {
  const answer = await ask<AnantaTask>('GET', `/tasks/${id}`, undefined, { as });
  expect(answer.status).toBe(200);
  return answer.body.data;
}
async function patch(id: string, words: object): Promise<void> {
  const answer = await ask('PATCH', `/tasks/${id}`, words);
  expect(answer).toMatchObject({ status: 200, body: { data: { id, status: 'updated' } } });
}
const ids = (tasks: readonly AnantaTask[]): string[] => tasks.map(({ id }) => id);
const listed = async (query: string, path = '/tasks'): Promise<AnantaTask[]> => {
  const answer = await ask<AnantaTask[]>('GET', `${path}?${query}`);
  expect(answer.status).toBe(200);
  return answer.body.data;
};
const workflowStarts = async (publicId: string): Promise<number> => {
  const { id } = await house.db('tasks').first('id').where({ public_id: publicId });
  const rows = await house.db('outbox').where({ workflow_id: `task/${id}/1`, kind: 'start_task' });
  return rows.length;
};

describe('creating', () => {
  it('answers 201 and stores exactly what was given, as TaskDB', async () => {
    const before = Date.now() / 1000;
    const id = await create({ title: 'Neue Aufgabe', description: 'Beschreibung' });
    const task = await get(id);
    expect(task).toEqual({
      id,
      title: 'Neue Aufgabe',
      description: 'Beschreibung',
      status: 'created',
      priority: 'medium',
      created_at: expect.any(Number),
      updated_at: expect.any(Number),
      team_id: null,
      assigned_agent_url: null,
      assigned_role_id: null,
      history: [],
      last_proposal: null,
      last_output: null,
      last_exit_code: null,
      callback_url: null,
      callback_token: null,
      parent_task_id: null,
      depends_on: [],
    });
    expect(Math.abs(task.created_at - before)).toBeLessThan(60);
    const [row] = await house.db('tasks').where({ public_id: id });
    expect(row).toMatchObject({ mode: 'manual', kind: 'task' });
  });

  it('takes a task of nothing, with an id of the client, on every path, and a form of every word', async () => {
    const empty = await get(await create({}));
    expect(empty).toMatchObject({ title: null, description: null, priority: 'medium' });
    const id = newId();
    const words = {
      id,
      title: null,
      description: 'x',
      status: 'To-Do',
      tags: ['a', 'b', 'a'],
      priority: 'High',
      parent_task_id: 'of-another-hub',
      unknown_word: 1,
    };
    const made = await ask('POST', '/api/tasks/', words);
    expect(made).toMatchObject({ status: 201, body: { data: { id, status: 'created' } } });
    expect(made.headers.get('Location')).toBe(`/tasks/${id}`);
    expect(await get(id)).toMatchObject({
      status: 'todo',
      priority: 'High',
      title: null,
      parent_task_id: 'of-another-hub',
    });
    expect((await house.ask('GET', `/v1/tasks/${id}`)).body).toMatchObject({
      title: 'x',
      tags: ['a', 'b'],
      priority: 'High',
      parentTaskId: 'of-another-hub',
    });
  });

  it('answers the same request with the same id again, and another one with task_exists', async () => {
    const id = newId();
    const words = { id, title: 'once', callback_token: 'secret' };
    await create(words);
    await create(words);
    await patch(id, { title: 'changed since' });
    await create(words);
    expect(await house.db('tasks').where({ public_id: id })).toHaveLength(1);
    const other = await ask('POST', '/tasks', { ...words, title: 'other' });
    expect(other).toMatchObject({ status: 409, body: { status: 'error', message: 'task_exists' } });
    const stranger = await ask('POST', '/tasks', words, { as: 'operator:otto' });
    expect(stranger).toMatchObject({ status: 409, body: { message: 'task_exists' } });
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => ask('POST', '/tasks', { id: 'at-once', title: 'same' })),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 201));
  });

  it('answers it also under an Idempotency-Key that came after it, as often as that is sent', async () => {
    const words = { id: newId(), title: 'once' };
    await create(words);
    const headers = { 'Idempotency-Key': `late-${words.id}` };
    for (let i = 0; i < 2; i++) {
      const again = await ask('POST', '/tasks', words, { headers });
      expect(again).toMatchObject({ status: 201, body: { data: { id: words.id } } });
    }
  });

  it('never halves a character of the words that stand for a title', async () => {
    const description = `${'x'.repeat(39)}${'\u{1f680}'.repeat(60)}`;
    const id = await create({ description });
    const { body } = await house.ask<{ title: string }>('GET', `/v1/tasks/${id}`);
    expect(body.title).toBe(`${'x'.repeat(39)}…`);
  });

  it('makes one task of many requests with one Idempotency-Key', async () => {
    const headers = { 'Idempotency-Key': 'hub-1' };
    const made = await Promise.all(
      Array.from({ length: 5 }, () => ask<{ id: string }>('POST', '/tasks', { title: 'once' }, { headers })),
    );
    expect(new Set(made.map(({ body }) => body.data.id)).size).toBe(1);
    const other = await ask('POST', '/tasks', { title: 'else' }, { headers });
    expect(other).toMatchObject({ status: 422, body: { message: 'idempotency_conflict' } });
  });

  it.each(
    [
      ['archived', 'timeline', 'autopilot', '-x', 'a b', 'x'.repeat(129)].map((id) => ({ id })),
      [{ status: 'sleeping' }, { tags: 'a' }, { depends_on: ['a b'] }, { title: 'x'.repeat(256) }],
      [{ priority: '' }, { description: 1 }],
    ].flat(),
  )('refuses %j with 422 and what is wrong', async (words) => {
    const answer = await ask<{ details: unknown[]; cid: string }>('POST', '/tasks', words);
    expect(answer).toMatchObject({ status: 422, body: { status: 'error', message: 'validation_failed' } });
    expect(answer.body.data.details).toHaveLength(1);
    expect(answer.body.data.cid).toBeTruthy();
  });

  it.each([
    ['created', 'created'],
    ['backlog', 'todo'],
    ['In Progress', 'in_progress'],
    ['blocked', 'blocked'],
    ['done', 'completed'],
    ['failed', 'failed'],
    ['canceled', 'cancelled'],
    ['assigned', 'created'],
    ['proposing', 'in_progress'],
  ])('stores the status %s as %s', async (given, stored) => {
    expect(await get(await create({ title: 's', status: given }))).toMatchObject({ status: stored });
  });

  it('keeps tokens sealed and shows none of them', async () => {
    const id = await create({ title: 'x', callback_token: 'plain-callback' });
    const [row] = await house.db('tasks').where({ public_id: id });
    expect(row.sealed_callback_token).not.toContain('plain');
    expect(house.deps.secrets.open(callbackTokenName(row.id), row.sealed_callback_token)).toBe(
      'plain-callback',
    );
    const task = await get(id);
    expect(task.callback_token).toMatch(/^\*+$/);
    expect(JSON.stringify(await house.ask('GET', `/v1/tasks/${id}`))).not.toContain('plain-callback');
  });

  it('fills in a template', async () => {
    const [template] = await house
      .db('templates')
      .insert({
        id: '01930000-0000-7000-8000-0000000000aa',
        name: 'hub template',
        prompt_template: 'Do {{task_title}} so: {{task_description}}',
      })
      .returning('id');
    const id = await create({ title: 'tests', description: 'all of them', template_id: template.id });
    expect(await get(id)).toMatchObject({ title: 'tests', description: 'Do tests so: all of them' });
    const unknown = await ask('POST', '/tasks', { title: 'x', template_id: 'nothing' });
    expect(unknown).toMatchObject({ status: 404, body: { message: 'template_not_found' } });
  });

  it('asks who it is, and whether they may', async () => {
    const words = { title: 'x' };
    expect(await ask('POST', '/tasks', words, { as: null })).toMatchObject({
      status: 401,
      body: { message: 'unauthorized' },
    });
    expect((await ask('POST', '/tasks', words, { as: 'viewer:vic' })).status).toBe(403);
    expect((await ask('POST', '/tasks', words, { as: 'user:uma' })).status).toBe(201);
    expect((await ask('POST', '/tasks', words, { as: 'system:shared' })).status).toBe(201);
    const placed = await ask('POST', '/tasks', { ...words, team_id: 'team' }, { as: 'user:uma' });
    expect(placed).toMatchObject({ status: 403, body: { message: 'forbidden' } });
  });
});

describe('listing', () => {
  it('filters by status in every spelling, agent and time, and pages by offset', async () => {
    const agent = await house.addAgent();
    const todo = await create({ title: 'a', status: 'todo' });
    const plain = await create({ title: 'b' });
    const ended = await create({ title: 'c', status: 'done' });
    const expired = await create({ title: 'd' });
    await house.db('tasks').update({ state: 'expired', ended_at: new Date() }).where({ public_id: expired });
    const failed = await create({ title: 'e', status: 'failed' });
    await ask('POST', `/tasks/${plain}/assign`, { agent_url: agent });
    for (const word of ['todo', 'To-Do', 'backlog']) {
      const found = ids(await listed(`status=${word}`));
      expect(found).toContain(todo);
      expect(found).not.toContain(plain);
    }
    expect(ids(await listed('status=complete'))).toContain(ended);
    expect(ids(await listed('status=failed')).slice(0, 2)).toEqual([failed, expired]);
    expect(ids(await listed(`agent=${agent.toUpperCase()}`))).toEqual([plain]);
    expect(await listed('agent=nobody')).toEqual([]);
    expect(ids(await listed('limit=2&offset=1'))).toEqual([expired, ended]);
    expect(ids(await listed('limit=2&offset=1', '/api/tasks'))).toEqual([expired, ended]);

    await house
      .db('tasks')
      .update({ created_at: new Date(1_000_500) })
      .where({ public_id: todo });
    expect(ids(await listed('until=1001'))).toEqual([todo]);
    expect(ids(await listed('since=1000.5&until=1000.5'))).toEqual([todo]);
    expect(await listed('since=1000.6&until=1001')).toEqual([]);
    expect((await ask('GET', '/tasks?status=asleep')).status).toBe(422);
    expect((await ask('GET', '/tasks?limit=0')).status).toBe(422);
    expect((await listed('limit=100000')).length).toBeGreaterThan(4);
  });

  it('shows users their own', async () => {
    const own = await create({ title: 'mine' }, 'user:olga');
    const others = await create({ title: 'not mine' });
    const seen = await ask<AnantaTask[]>('GET', '/tasks', undefined, { as: 'user:olga' });
    expect(ids(seen.body.data)).toEqual([own]);
    const read = await ask('GET', `/tasks/${others}`, undefined, { as: 'user:olga' });
    expect(read).toMatchObject({ status: 404, body: { status: 'error', message: 'not_found' } });
    expect(ids(await listed('limit=500'))).toEqual(expect.arrayContaining([own, others]));
  });
});

describe('changing', () => {
  it('changes words and creates what is not there', async () => {
    const id = newId();
    await patch(id, { title: 'made by patch', status: 'todo' });
    expect(await get(id)).toMatchObject({ title: 'made by patch', status: 'todo' });
    await patch(id, { description: 'more', priority: 'High', tags: ['x'], title: null });
    expect(await get(id)).toMatchObject({ title: 'made by patch', description: 'more', priority: 'High' });
    expect((await ask('PATCH', '/tasks/timeline', { title: 'x' })).status).toBe(422);
    const audit = await readAudit(house.db, 'task.update');
    expect(audit).toContainEqual(
      expect.objectContaining({ target_id: id, details: { changed: ['goal', 'priority', 'tags'] } }),
    );
  });

  it('moves a task through its states, ends it and starts it again', async () => {
    const id = await create({ title: 'x' });
    for (const [status, shown] of [
      ['in-progress', 'in_progress'],
      ['todo', 'todo'],
      ['created', 'created'],
      ['blocked', 'blocked'],
      ['to do', 'todo'],
      ['done', 'completed'],
    ]) {
      await patch(id, { status });
      expect((await get(id)).status).toBe(shown);
    }
    const late = await ask('PATCH', `/tasks/${id}`, { status: 'in_progress' });
    expect(late).toMatchObject({ status: 409, body: { message: 'task_not_open' } });
    const sealed = await ask('PATCH', `/tasks/${id}`, { description: 'another goal' });
    expect(sealed).toMatchObject({ status: 409, body: { message: 'task_not_open' } });
    await patch(id, { status: 'todo', description: 'another goal' });
    expect(await get(id)).toMatchObject({ status: 'todo', description: 'another goal' });
    expect((await house.ask('GET', `/v1/tasks/${id}`)).body).toMatchObject({ runNo: 2 });
  });

  it('gives a task that begins anew the time it had', async () => {
    const id = await create({ title: 'x', status: 'done' });
    const before = await house.ask<TaskView>('GET', `/v1/tasks/${id}`);
    await patch(id, { status: 'todo' });
    const after = await house.ask<TaskView>('GET', `/v1/tasks/${id}`);
    expect(after.body.runNo).toBe(2);
    expect(Date.parse(after.body.deadlineAt)).toBeGreaterThanOrEqual(Date.parse(before.body.deadlineAt));
  });

  it('is for those who may change the task', async () => {
    const id = await create({ title: 'x' }, 'user:paul');
    const stranger = await ask('PATCH', `/tasks/${id}`, { title: 'y' }, { as: 'user:petra' });
    expect(stranger).toMatchObject({ status: 404, body: { message: 'not_found' } });
    expect((await ask('PATCH', `/tasks/${id}`, { title: 'y' }, { as: 'user:paul' })).status).toBe(200);
    const placed = await ask('PATCH', `/tasks/${id}`, { team_id: 't' }, { as: 'user:paul' });
    expect(placed.status).toBe(403);
    expect((await ask('PATCH', `/tasks/${newId()}`, { title: 'y' }, { as: 'viewer:vic' })).status).toBe(403);
  });
});

describe('dependencies', () => {
  it('refuses what is not there and what would wait for itself', async () => {
    const a = await create({ title: 'a' });
    const missing = await ask('POST', '/tasks', { title: 'b', depends_on: [a, 'no-1', 'no-2'] });
    expect(missing).toMatchObject({
      status: 400,
      body: { status: 'error', message: 'missing_dependencies:no-1,no-2' },
    });
    const self = await ask('POST', '/tasks', { id: 'selfish', depends_on: ['selfish'] });
    expect(self).toMatchObject({ status: 400, body: { message: 'dependency_cycle_detected' } });
    const b = await create({ title: 'b', depends_on: [a] });
    const c = await create({ title: 'c', depends_on: [b] });
    const circle = await ask('PATCH', `/tasks/${a}`, { depends_on: [c] });
    expect(circle).toMatchObject({ status: 400, body: { message: 'dependency_cycle_detected' } });
    const foreign = await ask('POST', '/tasks', { depends_on: [a] }, { as: 'user:nosy' });
    expect(foreign).toMatchObject({ status: 400, body: { message: `missing_dependencies:${a}` } });
    const house400 = await house.ask('POST', '/v1/tasks', { goal: 'x', dependsOn: ['no-1'] });
    expect(house400).toMatchObject({ status: 400, body: { code: 'missing_dependencies' } });
  });

  it('holds a task until all it depends on are done, through the domain and with events', async () => {
    const a = await create({ title: 'a' });
    const b = await create({ title: 'b' });
    const c = await create({ title: 'c', status: 'todo', depends_on: [a, b] });
    expect(await get(c)).toMatchObject({ status: 'blocked', depends_on: [a, b] });
    expect(await workflowStarts(c)).toBe(0);
    const asked = await house.ask('POST', `/v1/tasks/${c}/propose`, { waitMs: 0 });
    expect(asked).toMatchObject({ status: 409, body: { code: 'task_blocked' } });
    const run = await ask('PATCH', `/tasks/${c}`, { status: 'in_progress' });
    expect(run).toMatchObject({ status: 409, body: { message: 'task_blocked' } });

    await patch(a, { status: 'done' });
    expect((await get(c)).status).toBe('blocked');
    await patch(b, { status: 'failed' });
    expect((await get(c)).status).toBe('blocked');
    await patch(b, { status: 'todo' });
    await patch(b, { status: 'done' });
    expect((await get(c)).status).toBe('todo');
    expect(await workflowStarts(c)).toBe(1);
    const { id } = await house.db('tasks').first('id').where({ public_id: c });
    const types = house.events.filter(({ taskId }) => taskId === id).map(({ type }) => type);
    expect(types).toEqual(['task.created', 'task.blocked', 'task.waiting', 'task.unblocked']);
  });

  it('says nothing of archived ones, and nothing of deleted ones', async () => {
    const a = await create({ title: 'a' });
    const b = await create({ title: 'b', depends_on: [a] });
    expect((await ask('POST', `/tasks/${a}/archive`)).status).toBe(200);
    expect((await get(b)).status).toBe('blocked');
    await ask('POST', `/tasks/archived/${a}/restore`);
    expect((await ask('DELETE', `/tasks/${a}`)).status).toBe(200);
    expect((await get(b)).status).toBe('blocked');
    await patch(b, { depends_on: [] });
    expect(await get(b)).toMatchObject({ status: 'created', depends_on: [] });
    const done = await create({ title: 'done', status: 'done' });
    await ask('POST', `/tasks/${done}/archive`);
    expect((await get(await create({ title: 'c', depends_on: [done] }))).status).toBe('created');
  });

  it('can be given later to a task that has not begun, and released once by two that end together', async () => {
    const [a, b] = [await create({ title: 'a' }), await create({ title: 'b' })];
    const c = await create({ title: 'c' });
    await patch(c, { depends_on: [a, b] });
    expect((await get(c)).status).toBe('blocked');
    await Promise.all([patch(a, { status: 'done' }), patch(b, { status: 'done' })]);
    expect((await get(c)).status).toBe('created');
    const { id } = await house.db('tasks').first('id').where({ public_id: c });
    const released = house.events.filter(({ taskId, type }) => taskId === id && type === 'task.unblocked');
    expect(released).toHaveLength(1);
    await patch(c, { status: 'in_progress' });
    const d = await create({ title: 'd' });
    const begun = await ask('PATCH', `/tasks/${c}`, { depends_on: [d] });
    expect(begun).toMatchObject({ status: 409, body: { message: 'conflict' } });
  });

  it('never lets two changes at once make a circle', async () => {
    for (let round = 0; round < 5; round++) {
      const [a, b] = [await create({ title: 'a' }), await create({ title: 'b' })];
      const answers = await Promise.all([
        ask('PATCH', `/tasks/${a}`, { depends_on: [b] }),
        ask('PATCH', `/tasks/${b}`, { depends_on: [a] }),
      ]);
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 400]);
    }
  });

  it('never misses an end that comes while a task begins to wait', async () => {
    for (let round = 0; round < 10; round++) {
      const a = await create({ title: 'a' });
      const [made] = await Promise.all([
        ask<{ id: string }>('POST', '/tasks', { title: 'b', depends_on: [a] }),
        patch(a, { status: 'done' }),
      ]);
      expect((await get(made.body.data.id)).status).toBe('created');
    }
  });

  it('waits again for what has not completed when it is started again', async () => {
    const a = await create({ title: 'a', status: 'done' });
    const b = await create({ title: 'b', depends_on: [a] });
    await patch(b, { status: 'done' });
    await patch(a, { status: 'todo' });
    await patch(b, { status: 'todo' });
    expect((await get(b)).status).toBe('blocked');
    await patch(a, { status: 'done' });
    expect((await get(b)).status).toBe('created');
  });

  it('counts no waiting against the deadline', async () => {
    const a = await create({ title: 'a' });
    const made = await house.createTask({ mode: 'manual', dependsOn: [a], deadlineMs: 60_000 });
    expect(made).toMatchObject({ state: 'blocked', waitingReason: 'dependencies', dependsOn: [a] });
    await house
      .db('tasks')
      .update({ blocked_at: new Date(Date.now() - 3_600_000) })
      .where({ public_id: made.id });
    await patch(a, { status: 'done' });
    const [row] = await house.db('tasks').where({ public_id: made.id });
    expect(row.deadline_at.getTime() - Date.now()).toBeGreaterThan(3_500_000);
    expect(row).toMatchObject({ state: 'created', waiting_reason: null, blocked_at: null });
  });

  it('counts no time on hold against it either, although its workflow has begun', async () => {
    const made = await house.createTask({ mode: 'manual', deadlineMs: 60_000 });
    const [{ id: taskId }] = await house.db('tasks').select('id').where({ public_id: made.id });
    const minutes = (count: number) => new Date(Date.now() + count * 60_000);
    const isOver = (knownDeadlineAtMs: number) =>
      endTask(house.deps, { taskId, runNo: 1, end: 'expired', reason: 'deadline', knownDeadlineAtMs });
    const known = Date.now() - 59 * 60_000;
    await patch(made.id, { status: 'blocked' });
    await house
      .db('tasks')
      .update({ blocked_at: minutes(-60), deadline_at: new Date(known) })
      .where({ id: taskId });
    expect(await isOver(known)).toMatchObject({ kind: 'open' });
    // Also where the clock of the workflow is ahead of this one.
    const ahead = Date.now() + 3_600_000;
    const later = await isOver(ahead);
    expect(later.kind === 'open' && later.deadlineAtMs).toBeGreaterThan(ahead);
    await patch(made.id, { status: 'todo' });
    const [{ deadline_at: deadlineAt }] = await house.db('tasks').where({ id: taskId });
    expect(await isOver(known)).toEqual({ kind: 'open', deadlineAtMs: deadlineAt.getTime() });
    // What it knows already is over when it says so, whatever this clock says.
    expect(await isOver(deadlineAt.getTime())).toEqual({ kind: 'ended', end: 'expired' });
  });

  it('ends one whose deadline has moved for a workflow of an older worker, which knows no later one', async () => {
    const made = await house.createTask({ mode: 'manual' });
    const [{ id: taskId }] = await house.db('tasks').select('id').where({ public_id: made.id });
    const ending = { taskId, runNo: 1, end: 'expired', reason: 'deadline' } as const;
    expect(await endTask(house.deps, ending)).toEqual({ kind: 'ended', end: 'expired' });
  });
});

describe('assigning', () => {
  it('takes an id or a host name, keeps the token sealed, and unassigns to todo', async () => {
    const agent = await house.addAgent();
    await house.db('agents').update({ hostname: 'Web-Host' }).where({ id: agent });
    const id = await create({ title: 'x' });
    const assigned = await ask('POST', `/tasks/${id}/assign`, { agent_url: 'web-host', token: 'agents-own' });
    expect(assigned).toMatchObject({
      status: 200,
      body: { data: { status: 'assigned', agent_url: 'web-host' } },
    });
    expect(await get(id)).toMatchObject({ status: 'assigned', assigned_agent_url: agent });
    const [row] = await house.db('tasks').where({ public_id: id });
    expect(house.deps.secrets.open(taskAgentTokenName(row.id), row.sealed_agent_token)).toBe('agents-own');
    const unassigned = await ask('POST', `/api/tasks/${id}/unassign`);
    expect(unassigned.body.data).toEqual({ status: 'todo', unassigned: true });
    expect(await get(id)).toMatchObject({ status: 'todo', assigned_agent_url: null });
    const [bare] = await house.db('tasks').where({ public_id: id });
    expect(bare.sealed_agent_token).toBeNull();
  });

  it('refuses what is not there, and those who may not', async () => {
    const id = await create({ title: 'x' });
    const unknown = await ask('POST', `/tasks/${id}/assign`, { agent_url: 'http://nobody:5000' });
    expect(unknown).toMatchObject({ status: 404, body: { message: 'not_found' } });
    expect((await ask('POST', `/tasks/${id}/assign`, {})).status).toBe(422);
    expect((await ask('POST', '/tasks/nothing/assign', { agent_url: 'x' })).status).toBe(404);
    expect((await ask('POST', '/tasks/nothing/unassign')).status).toBe(404);
    const user = { as: 'user:uma' };
    expect((await ask('POST', `/tasks/${id}/assign`, { agent_url: 'x' }, user)).status).toBe(403);
    expect((await ask('POST', `/tasks/${id}/unassign`, undefined, user)).status).toBe(403);
  });
});

describe('follow-ups', () => {
  interface Followups {
    parent_task_id: string;
    created: { id: string; status: string; description: string; assigned_agent_url: string | null }[];
    skipped: { description?: string; reason: string }[];
  }
  const followups = (id: string, items: unknown) =>
    ask<Followups>('POST', `/tasks/${id}/followups`, { items });

  it('makes each part once, waiting for its parent', async () => {
    const agent = await house.addAgent();
    const parent = await create({ title: 'parent' });
    const made = await followups(parent, [
      { description: 'Write  tests', priority: 'High' },
      { description: 'write tests ' },
      { description: '  ' },
      {},
      { description: 'Deploy', agent_url: agent, agent_token: 'x' },
    ]);
    expect(made.status).toBe(200);
    const { created, skipped } = made.body.data;
    expect(created).toEqual([
      {
        id: expect.any(String),
        status: 'blocked',
        parent_task_id: parent,
        description: 'Write  tests',
        assigned_agent_url: null,
      },
      expect.objectContaining({ status: 'blocked', description: 'Deploy', assigned_agent_url: agent }),
    ]);
    expect(skipped).toEqual([
      { description: 'write tests', reason: 'duplicate' },
      { reason: 'empty_description' },
      { reason: 'empty_description' },
    ]);
    const again = await followups(parent, [{ description: 'DEPLOY' }, { description: 'Announce' }]);
    expect(again.body.data).toMatchObject({
      created: [{ description: 'Announce' }],
      skipped: [{ description: 'DEPLOY', reason: 'duplicate' }],
    });
    await patch(parent, { status: 'done' });
    const statuses = await Promise.all(created.map(async ({ id }) => (await get(id)).status));
    expect(statuses).toEqual(['todo', 'assigned']);
    const late = await followups(parent, [{ description: 'Later' }]);
    expect(late.body.data.created[0]).toMatchObject({ status: 'todo' });
    expect(await get(late.body.data.created[0]?.id ?? '')).toMatchObject({
      status: 'todo',
      parent_task_id: parent,
      depends_on: [],
    });
  });

  it('makes one of each when asked by many at once', async () => {
    const parent = await create({ title: 'parent' });
    const made = await Promise.all(
      Array.from({ length: 5 }, () => followups(parent, [{ description: 'only once' }])),
    );
    expect(made.flatMap(({ body }) => body.data.created)).toHaveLength(1);
  });

  it('refuses an unknown parent, bad items, and agents named by those who may not assign', async () => {
    const parent = await create({ title: 'parent' }, 'user:uma');
    expect((await followups('nothing', [])).status).toBe(404);
    expect((await followups(parent, 'x')).status).toBe(422);
    const answer = await ask(
      'POST',
      `/tasks/${parent}/followups`,
      { items: [{ description: 'x', agent_url: 'any' }] },
      { as: 'user:uma' },
    );
    expect(answer.status).toBe(403);
  });
});

describe('archive and deletion', () => {
  it('hides ended tasks and such as nobody is at, and gives them back as they were', async () => {
    const id = await create({ title: 'x', status: 'todo' });
    const archived = await ask('POST', `/tasks/${id}/archive`);
    expect(archived.body).toEqual({ status: 'archived', data: { id } });
    expect(ids(await listed('limit=500'))).not.toContain(id);
    expect(ids(await listed('', '/tasks/archived'))).toContain(id);
    expect((await get(id)).status).toBe('todo');
    const asked = await house.ask('POST', `/v1/tasks/${id}/propose`, { waitMs: 0 });
    expect(asked).toMatchObject({ status: 409, body: { code: 'conflict' } });
    const restored = await ask('POST', `/api/tasks/archived/${id}/restore`);
    expect(restored.body).toEqual({ status: 'restored', data: { id } });
    expect(ids(await listed('limit=500'))).toContain(id);
    expect((await ask('POST', '/tasks/nothing/archive')).body).toEqual({
      status: 'error',
      message: 'not_found',
    });
    expect((await ask('POST', '/tasks/archived/nothing/restore')).status).toBe(404);
  });

  it('archives nothing that is under way', async () => {
    const agent = await house.addAgent();
    const id = await create({ title: 'x' });
    await ask('POST', `/tasks/${id}/assign`, { agent_url: agent });
    await house.ask('POST', `/v1/tasks/${id}/propose`, { waitMs: 0 });
    const answer = await ask('POST', `/tasks/${id}/archive`);
    expect(answer).toMatchObject({ status: 409, body: { message: 'conflict' } });
  });

  it('is deleted by administrators, open or not, and gone then', async () => {
    const id = await create({ title: 'x' });
    expect((await ask('DELETE', `/tasks/${id}`, undefined, { as: 'operator:otto' })).status).toBe(403);
    expect((await ask('DELETE', `/tasks/${id}`)).body).toEqual({
      status: 'success',
      data: { id, status: 'deleted' },
    });
    expect((await ask('GET', `/tasks/${id}`)).status).toBe(404);
    expect((await ask('DELETE', `/tasks/${id}`)).status).toBe(404);
    expect(await ask('PATCH', `/tasks/${id}`, { title: 'again' })).toMatchObject({
      status: 409,
      body: { message: 'task_exists' },
    });
  });
});
