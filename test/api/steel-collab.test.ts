/** Collaboration tasks as clients of steel know them: notes, on the real server. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canonicalJson } from '../../api/etag.ts';
import type { SteelCollabTask } from '../../contracts/families/steel/collab.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { listIdleTasks } from '../../domain/tasks/lost.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const PATH = '/api/v1/collab/tasks';
const STATE = '/api/v1/collab/state/tasks';
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/;
const NOBODYS_ID = '01890000-0000-7000-8000-000000000000';

let system: System;
const tokens = { operator: '', viewer: '', user: '', other: '' };
beforeAll(async () => {
  system = await startSystem({ worker: false });
  const desk = deskOf(system);
  tokens.operator = await desk.addUser('operator', 'ada');
  tokens.viewer = await desk.addUser('viewer', 'vera');
  tokens.user = await desk.addUser('user', 'uma');
  tokens.other = await desk.addUser('user', 'otto');
});
afterAll(() => system.close());

type Options = { token?: string; headers?: Record<string, string> };
const create = async (body: object = {}, options: Options = {}): Promise<SteelCollabTask> => {
  const made = await system.request<SteelCollabTask>(
    'POST',
    PATH,
    { title: 'Review PR #123', ...body },
    options,
  );
  expect(made.status).toBe(201);
  return made.body;
};
const get = (id: string, options: Options = {}) =>
  system.request<SteelCollabTask>('GET', `${PATH}/${id}`, undefined, options);
const edit = (id: string, body: object, options: Options = {}) =>
  system.request<SteelCollabTask & { detail: string }>('PUT', `${PATH}/${id}`, body, options);
const remove = (id: string, options: Options = {}) =>
  system.request('DELETE', `${PATH}/${id}`, undefined, options);
const hashOf = (value: unknown) => `"${createHash('sha256').update(canonicalJson(value)).digest('hex')}"`;

describe('POST /api/v1/collab/tasks', () => {
  it.each([PATH, `${PATH}/`])('%s makes a note: version 1, Location, ETag of the body', async (path) => {
    const made = await system.request<SteelCollabTask>('POST', path, {
      title: ' Review PR #123 ',
      description: ' Frontend – ünïcode 🚀\n',
    });
    expect([made.status, made.body]).toEqual([
      201,
      {
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        title: 'Review PR #123',
        description: 'Frontend – ünïcode 🚀',
        version: 1,
        created_at: expect.stringMatching(TIME),
      },
    ]);
    expect(made.headers.get('location')).toBe(`${PATH}/${made.body.id}`);
    expect(made.headers.get('etag')).toBe(hashOf(made.body));
    expect((await get(made.body.id)).body).toEqual(made.body);
  });

  it('has null for a description where there is none', async () => {
    for (const description of [undefined, null, '', '  ']) {
      expect((await create({ description })).description).toBeNull();
    }
  });

  it.each([
    ['no title', {}],
    ['a blank title', { title: ' ' }],
    ['a title of 256', { title: 'x'.repeat(256) }],
    ['an unknown field', { title: 'x', version: 1 }],
  ])('refuses %s with 422 and both keys', async (_name, body) => {
    const refused = await system.request('POST', PATH, body);
    expect(refused.status).toBe(422);
    expect(refused.body).toMatchObject({
      error: { type: 'validation_error', code: 422 },
      detail: [expect.objectContaining({ loc: expect.anything() })],
    });
  });

  it('starts nothing: no workflow, no agent, no model; nobody takes it for lost', async () => {
    const { db, domain } = system.api.parts;
    const { id } = await create();
    await db('tasks')
      .where({ public_id: id })
      .update({ progress_at: new Date(0) });
    expect(await db('outbox').where('workflow_id', 'like', `task/${id}/%`)).toEqual([]);
    expect(
      (await listIdleTasks(domain, { idleMs: 1, limit: 100 })).map(({ taskId }) => taskId),
    ).not.toContain(id);
    for (const [act, body] of [
      ['propose', {}],
      ['execute', { act: { command: 'true' } }],
      ['assign', { agentId: 'nobody' }],
    ] as const) {
      const refused = await system.request('POST', `/v1/tasks/${id}/${act}`, body);
      expect([act, refused.status, refused.body]).toEqual([
        act,
        409,
        expect.objectContaining({ code: 'conflict' }),
      ]);
    }
    expect(await db('llm_calls').where({ task_id: id })).toEqual([]);
    expect(await db('outbox').where('workflow_id', 'like', `task/${id}/%`)).toEqual([]);
  });

  it('makes one note for one Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'note-1' };
    const first = await create({}, { headers });
    expect((await create({}, { headers })).id).toBe(first.id);
    expect((await system.request('POST', PATH, { title: 'other' }, { headers })).status).toBe(422);
    expect(
      (await system.request('POST', '/api/v1/jobs', { title: 'Review PR #123' }, { headers })).status,
    ).toBe(422);
  });
});

describe('GET /api/v1/collab/state/tasks', () => {
  const list = (query = '', options: Options = {}) =>
    system.request<{ kind: string; items: SteelCollabTask[] }>('GET', `${STATE}${query}`, undefined, options);

  it('lists notes alone, newest first, with the ETag of the items', async () => {
    const [older, newer] = [await create(), await create()];
    await system.call('POST', '/api/v1/jobs', { title: 'no note' });
    const answer = await list();
    expect(Object.keys(answer.body)).toEqual(['kind', 'items']);
    expect(answer.body.kind).toBe('tasks');
    expect(answer.body.items.slice(0, 2)).toEqual([newer, older]);
    expect(answer.body.items.map(({ title }) => title)).not.toContain('no note');
    expect(answer.headers.get('etag')).toBe(hashOf(answer.body.items));
    const known = await fetch(`${system.url}${STATE}`, {
      headers: {
        authorization: `Bearer ${system.token()}`,
        'if-none-match': `W/"x", ${answer.headers.get('etag')}`,
      },
    });
    expect([known.status, await known.text(), known.headers.get('etag')]).toEqual([
      304,
      '',
      answer.headers.get('etag'),
    ]);
    expect((await list('?skip=1&limit=1')).body.items).toEqual([older]);
  });

  it('shows a user their own, and all to whoever sees all', async () => {
    const note = await create({}, { token: tokens.user });
    const idsFor = async (token: string) => (await list('', { token })).body.items.map(({ id }) => id);
    expect(await idsFor(tokens.user)).toEqual([note.id]);
    expect(await idsFor(tokens.other)).toEqual([]);
    for (const token of [tokens.viewer, tokens.operator]) expect(await idsFor(token)).toContain(note.id);
  });

  it('the house sees them as tasks of their kind', async () => {
    const note = await create({ description: 'look' });
    const task = await system.call<TaskView>('GET', `/v1/tasks/${note.id}`);
    expect(task).toMatchObject({
      kind: 'collab',
      title: note.title,
      goal: 'look',
      state: 'created',
      version: 1,
    });
    const page = await system.call<{ items: TaskView[] }>('GET', '/v1/tasks?kind=collab&limit=1');
    expect(page.items.map(({ id }) => id)).toEqual([note.id]);
  });
});

describe('PUT /api/v1/collab/tasks/{id}', () => {
  it('changes what is named and raises the version', async () => {
    const note = await create({ description: 'first' });
    const second = await edit(note.id, { title: ' Second ' });
    expect([second.status, second.body]).toEqual([200, { ...note, title: 'Second', version: 2 }]);
    expect(second.headers.get('etag')).toBe(hashOf(second.body));
    const third = await edit(note.id, { description: null });
    expect(third.body).toEqual({ ...note, title: 'Second', description: null, version: 3 });
    expect((await get(note.id)).body).toEqual(third.body);
  });

  it('with a version: that one only; with If-Match: what has that ETag only', async () => {
    const note = await create();
    expect((await edit(note.id, { title: 'b', version: 1 })).body.version).toBe(2);
    const late = await edit(note.id, { title: 'c', version: 1 });
    expect([late.status, late.body.detail]).toEqual([
      409,
      expect.stringContaining('the version is 2, not 1'),
    ]);
    const now = (await get(note.id)).body;
    const stale = await edit(note.id, { title: 'c' }, { headers: { 'if-match': hashOf(note) } });
    expect(stale.status).toBe(412);
    const good = await edit(note.id, { title: 'c', version: 2 }, { headers: { 'if-match': hashOf(now) } });
    expect([good.status, good.body]).toEqual([200, { ...now, title: 'c', version: 3 }]);
  });

  it.each([[{}], [{ version: 1 }], [{ title: '' }], [{ title: 'x', id: 'y' }], [{ title: 'x', version: 0 }]])(
    'refuses %j',
    async (body) => {
      const note = await create();
      expect((await edit(note.id, body)).status).toBe(422);
      expect((await get(note.id)).body).toEqual(note);
    },
  );

  it('of fifty edits at once with the same If-Match one wins', async () => {
    const note = await create();
    const headers = { 'if-match': hashOf(note) };
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => edit(note.id, { title: `edit ${i}` }, { headers })),
    );
    const won = answers.filter(({ status }) => status === 200);
    expect(answers.filter(({ status }) => status === 412)).toHaveLength(49);
    expect(won).toHaveLength(1);
    expect((await get(note.id)).body).toEqual(won[0]?.body);
    expect(won[0]?.body.version).toBe(2);
  });

  it('of fifty edits at once with the same version one wins', async () => {
    const note = await create();
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => edit(note.id, { title: `edit ${i}`, version: 1 })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(49).fill(409)]);
  });

  it('is for whoever may change it', async () => {
    const note = await create({}, { token: tokens.user });
    expect((await edit(note.id, { title: 'x' }, { token: tokens.other })).status).toBe(404);
    expect((await edit(note.id, { title: 'x' }, { token: tokens.viewer })).status).toBe(403);
    expect((await edit(note.id, { title: 'x' }, { token: tokens.user })).status).toBe(200);
    expect((await edit(note.id, { title: 'y' }, { token: tokens.operator })).status).toBe(200);
    const trail = await deskOf(system).audit(note.id);
    expect(trail.map(({ action, principal }) => `${action} ${principal}`)).toEqual([
      'task.create uma',
      'task.update uma',
      'task.update ada',
    ]);
  });
});

describe('DELETE /api/v1/collab/tasks/{id}', () => {
  it('deletes what the client has seen', async () => {
    const note = await create({}, { token: tokens.user });
    expect((await remove(note.id, { token: tokens.other })).status).toBe(404);
    expect((await remove(note.id, { token: tokens.viewer })).status).toBe(403);
    expect((await remove(note.id, { token: tokens.user, headers: { 'if-match': '"x"' } })).status).toBe(412);
    const gone = await remove(note.id, { token: tokens.user, headers: { 'if-match': hashOf(note) } });
    expect([gone.status, gone.body]).toEqual([200, { message: 'Task deleted successfully' }]);
    for (const answer of [await get(note.id), await remove(note.id), await edit(note.id, { title: 'x' })]) {
      expect([answer.status, answer.body]).toMatchObject([404, { detail: 'Task not found' }]);
    }
  });

  it('does not find jobs and tasks', async () => {
    const job = await system.call<{ id: string }>('POST', '/api/v1/jobs', { title: 'x' });
    for (const id of [job.id, NOBODYS_ID]) {
      expect((await get(id)).status).toBe(404);
      expect((await edit(id, { title: 'x' })).status).toBe(404);
      expect((await remove(id)).status).toBe(404);
    }
  });
});
