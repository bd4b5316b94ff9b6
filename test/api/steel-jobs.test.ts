/** Jobs as clients of steel know them, on the real server with a real workflow behind each. */
import { createHash } from 'node:crypto';
import type { Client } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canonicalJson } from '../../api/etag.ts';
import type { SteelJob } from '../../contracts/families/steel/jobs.ts';
import { type System, startSystem } from '../support/system.ts';
import { type Desk, deskOf } from '../support/tasks.ts';
import { connectTemporal } from '../support/temporal.ts';

const PATH = '/api/v1/jobs';
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/;
const NOBODYS_ID = '01890000-0000-7000-8000-000000000000';

let system: System;
let desk: Desk;
let client: Client;
let closeClient: () => Promise<void>;
const tokens = { operator: '', viewer: '', user: '', other: '' };
beforeAll(async () => {
  const temporal = await connectTemporal();
  client = temporal.client;
  closeClient = temporal.close;
  system = await startSystem();
  desk = deskOf(system);
  tokens.operator = await desk.addUser('operator', 'ada');
  tokens.viewer = await desk.addUser('viewer', 'vera');
  tokens.user = await desk.addUser('user', 'uma');
  tokens.other = await desk.addUser('user', 'otto');
  await system.startAgent({ agentId: 'here', kill: { graceMs: 200 } });
});
afterAll(async () => {
  await system.close();
  await closeClient();
});

type Options = { token?: string; headers?: Record<string, string> };
const create = async (body: object = {}, options: Options = {}): Promise<SteelJob> => {
  const made = await system.request<SteelJob>('POST', PATH, { title: 'Process payroll', ...body }, options);
  expect(made.status).toBe(201);
  return made.body;
};
const get = (id: string, options: Options = {}) =>
  system.request<SteelJob>('GET', `${PATH}/${id}`, undefined, options);
const setStatus = (id: string, query: string, options: Options = {}) =>
  system.request<SteelJob>('PUT', `${PATH}/${id}/status?${query}`, undefined, options);
const hashOf = (body: unknown) => `"${createHash('sha256').update(canonicalJson(body)).digest('hex')}"`;
const refusal = (method: string, path: string, code: number, message: string) => ({
  error: { type: 'http_exception', code, message, path, method },
  detail: message,
});
const workflowState = async (id: string, runNo = 1) => {
  const uuid = desk.workflowId(id).split('/')[1] ?? '';
  return (await client.workflow.getHandle(`task/${uuid}/${runNo}`).describe()).status.name;
};
const untilWorkflow = (id: string, state: string, runNo = 1) =>
  system.until(
    () => workflowState(id, runNo).catch(() => 'none'),
    (now) => now === state,
    `workflow ${state}`,
  );

describe('POST /api/v1/jobs', () => {
  it.each([PATH, `${PATH}/`])('%s makes a job, pending, with the ETag of the body', async (path) => {
    const made = await system.request<SteelJob>('POST', path, {
      title: '  Process payroll \n',
      description: ' Monthly ',
    });
    expect([made.status, made.body]).toEqual([
      201,
      {
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        name: 'Process payroll',
        status: 'pending',
        created_at: expect.stringMatching(TIME),
        updated_at: null,
      },
    ]);
    expect(made.headers.get('etag')).toBe(hashOf(made.body));
    const task = await desk.get(made.body.id);
    expect(task).toMatchObject({
      kind: 'job',
      title: 'Process payroll',
      goal: 'Monthly',
      mode: 'manual',
      version: 1,
    });
    await untilWorkflow(made.body.id, 'RUNNING');
    // Manual: nothing is proposed until somebody asks.
    expect(await desk.steps(made.body.id)).toEqual([]);
  });

  it('takes the title for the goal where there is no description', async () => {
    for (const description of [null, '', undefined]) {
      const job = await create({ title: 'Count', description });
      expect((await desk.get(job.id)).goal).toBe('Count');
    }
  });

  it.each([
    ['no title', {}, 'missing'],
    ['an empty title', { title: '' }, 'string_too_short'],
    ['a blank title', { title: '   ' }, 'string_too_short'],
    ['a title of 256', { title: 'x'.repeat(256) }, 'string_too_long'],
    ['a number for a title', { title: 5 }, 'string_type'],
    ['an unknown field', { title: 'x', priority: 1 }, 'extra_forbidden'],
  ])('refuses %s with 422 and both keys', async (_name, body, type) => {
    const refused = await system.request('POST', PATH, body);
    expect(refused.status).toBe(422);
    expect(refused.body).toMatchObject({
      error: { type: 'validation_error', code: 422, path: PATH, method: 'POST' },
      detail: [{ type, loc: expect.arrayContaining(['body']) }],
    });
  });

  it('takes a title of 255 with blanks around it', async () => {
    expect((await create({ title: ` ${'x'.repeat(255)} ` })).name).toHaveLength(255);
  });

  it('is 401 for strangers with WWW-Authenticate, 403 for who only reads', async () => {
    const stranger = await fetch(`${system.url}${PATH}`, { method: 'POST', body: '{' });
    expect([stranger.status, stranger.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    const viewer = await system.request('POST', PATH, { title: 'x' }, { token: tokens.viewer });
    expect(viewer.status).toBe(403);
  });

  it('makes one job for one Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'job-1' };
    const [first, second] = [await create({}, { headers }), await create({}, { headers })];
    expect(second.id).toBe(first.id);
    const other = await system.request('POST', PATH, { title: 'other' }, { headers });
    expect(other.status).toBe(422);
    const note = await system.request(
      'POST',
      '/api/v1/collab/tasks',
      { title: 'Process payroll' },
      { headers },
    );
    expect(note.status).toBe(422);
  });
});

describe('GET /api/v1/jobs', () => {
  const list = (query = '', options: Options = {}) =>
    system.request<{ jobs: SteelJob[] }>('GET', `${PATH}${query}`, undefined, options);

  it('lists jobs alone, newest first, with the ETag of the whole body', async () => {
    const [older, newer] = [await create(), await create({ title: 'Größe 🚀' })];
    await desk.create({ goal: 'no job', mode: 'manual' });
    await system.call('POST', '/api/v1/collab/tasks', { title: 'no job' });
    const answer = await list();
    expect(answer.status).toBe(200);
    expect(answer.body.jobs.slice(0, 2).map(({ id }) => id)).toEqual([newer.id, older.id]);
    expect(answer.body.jobs.map(({ name }) => name)).not.toContain('no job');
    expect(answer.headers.get('etag')).toBe(hashOf(answer.body));
    expect(Object.keys(answer.body)).toEqual(['jobs']);
  });

  it('by status, skip and limit', async () => {
    const job = await create();
    await setStatus(job.id, 'status=completed');
    const done = await list('?status=completed');
    expect(done.body.jobs.map(({ id }) => id)).toContain(job.id);
    expect(new Set(done.body.jobs.map(({ status }) => status))).toEqual(new Set(['completed']));
    const all = (await list()).body.jobs.map(({ id }) => id);
    const some = (await list('?skip=1&limit=2')).body.jobs.map(({ id }) => id);
    expect(some).toEqual(all.slice(1, 3));
    expect((await list('?skip=1000')).body.jobs).toEqual([]);
    for (const query of ['?limit=0', '?limit=10001', '?skip=-1', '?status=done', '?page=1']) {
      expect([query, (await list(query)).status]).toEqual([query, 422]);
    }
  });

  it('shows a user their own and an operator all', async () => {
    const job = await create({ title: 'of uma' }, { token: tokens.user });
    const idsFor = async (token: string) => (await list('', { token })).body.jobs.map(({ id }) => id);
    expect(await idsFor(tokens.user)).toEqual([job.id]);
    expect(await idsFor(tokens.other)).toEqual([]);
    expect(await idsFor(tokens.viewer)).toContain(job.id);
    expect((await get(job.id, { token: tokens.other })).status).toBe(404);
  });
});

describe('GET /api/v1/jobs/{id}', () => {
  it('reads a job with its ETag; 304 without a body for who has it', async () => {
    const job = await create();
    const answer = await get(job.id);
    expect([answer.status, answer.body]).toEqual([200, job]);
    const etag = answer.headers.get('etag') ?? '';
    expect(etag).toBe(hashOf(job));
    for (const header of [etag, etag.replaceAll('"', ''), `W/${etag}`, `"x", ${etag}`, '*']) {
      const known = await fetch(`${system.url}${PATH}/${job.id}`, {
        headers: { authorization: `Bearer ${system.token()}`, 'if-none-match': header },
      });
      expect([header, known.status, await known.text(), known.headers.get('etag')]).toEqual([
        header,
        304,
        '',
        etag,
      ]);
      expect(known.headers.get('content-type')).toBeNull();
    }
    for (const header of ['"x"', '"', 'W/', '', `"${etag}`]) {
      expect((await get(job.id, { headers: { 'if-none-match': header } })).status).toBe(200);
    }
  });

  it('is 404 for what is not there and for tasks of another kind', async () => {
    const task = await desk.create({ goal: 'no job', mode: 'manual' });
    for (const id of [NOBODYS_ID, task.id]) {
      const missing = await get(id);
      expect([missing.status, missing.body]).toEqual([
        404,
        refusal('GET', `${PATH}/${id}`, 404, 'Job not found'),
      ]);
      expect((await setStatus(id, 'status=completed')).status).toBe(404);
      expect((await system.request('DELETE', `${PATH}/${id}`)).status).toBe(404);
    }
  });
});

describe('PUT /api/v1/jobs/{id}/status', () => {
  it.each([
    ['completed', 'completed', { success: true, summary: 'by hand', reason: null }],
    ['failed', 'failed', { success: false, summary: 'by hand', reason: 'reported' }],
    ['cancelled', 'canceled', { success: false, summary: 'by hand', reason: 'canceled' }],
  ])('%s ends the job and its workflow', async (status, state, result) => {
    const job = await create();
    await untilWorkflow(job.id, 'RUNNING');
    const answer = await setStatus(job.id, `status=${status}&reason=by+hand`, { token: tokens.operator });
    expect([answer.status, answer.body]).toEqual([
      200,
      { ...job, status, updated_at: expect.stringMatching(TIME) },
    ]);
    expect(answer.headers.get('etag')).toBe(hashOf(answer.body));
    expect(await desk.get(job.id)).toMatchObject({ state, result, seal: expect.any(String) });
    await untilWorkflow(job.id, 'COMPLETED');
    const trail = (await desk.audit(job.id)).map(({ action, principal }) => `${action} ${principal}`);
    expect(trail).toEqual(['task.create admin', 'task.report ada', `task.${state} ada`]);
    // What it is already is the same answer; another end is a conflict.
    expect((await setStatus(job.id, `status=${status}`)).body).toEqual(answer.body);
    const other = status === 'failed' ? 'completed' : 'failed';
    const refused = await setStatus(job.id, `status=${other}`);
    expect(refused.status).toBe(409);
    expect((await setStatus(job.id, 'status=running')).status).toBe(409);
  });

  it('running and pending are words for people while nothing is out', async () => {
    const job = await create();
    for (const status of ['running', 'running', 'pending', 'pending']) {
      const answer = await setStatus(job.id, `status=${status}`);
      expect([answer.status, answer.body.status]).toEqual([200, status]);
    }
    expect(await desk.get(job.id)).toMatchObject({ state: 'created', version: 3 });
    expect(await desk.steps(job.id)).toEqual([]);
  });

  it('pending on an ended job begins its next run, with a workflow of its own', async () => {
    const job = await create();
    await setStatus(job.id, 'status=completed&reason=first');
    const again = await setStatus(job.id, 'status=pending', { token: tokens.operator });
    expect(again.body).toMatchObject({ id: job.id, status: 'pending' });
    expect(await desk.get(job.id)).toMatchObject({
      runNo: 2,
      state: 'created',
      result: null,
      endedAt: null,
      step: 0,
    });
    await untilWorkflow(job.id, 'COMPLETED', 1);
    await untilWorkflow(job.id, 'RUNNING', 2);
    // It works as any run: a step is executed and the job completed.
    await system.call('POST', `/v1/tasks/${job.id}/assign`, { agentId: 'here' });
    await system.call('POST', `/v1/tasks/${job.id}/execute`, { act: { command: 'true' } });
    await desk.untilCommand(job.id, 1, 'succeeded');
    expect((await setStatus(job.id, 'status=completed')).status).toBe(200);
    await untilWorkflow(job.id, 'COMPLETED', 2);
    expect((await desk.audit(job.id)).map(({ action }) => action)).toContain('task.restart');
  });

  it.each(['completed', 'failed', 'cancelled'])(
    '%s is refused while a command is out, unless forced',
    async (status) => {
      const job = await create();
      await system.call('POST', `/v1/tasks/${job.id}/assign`, { agentId: 'here' });
      await system.call('POST', `/v1/tasks/${job.id}/execute`, { act: { command: 'sleep 60' } });
      await desk.untilCommand(job.id, 1, 'running');
      expect((await get(job.id)).body.status).toBe('running');
      const refused = await setStatus(job.id, `status=${status}`);
      expect(refused.status).toBe(409);
      expect((await setStatus(job.id, 'status=pending')).status).toBe(409);
      expect((await system.request('DELETE', `${PATH}/${job.id}`)).status).toBe(409);
      const [step] = await desk.steps(job.id);
      expect(step?.commands[0]?.cancelRequestedAt).toBeNull();

      const forced = await setStatus(job.id, `status=${status}&force=true&reason=enough`);
      expect([forced.status, forced.body.status]).toEqual([200, 'running']);
      const ended = await desk.untilEnded(job.id);
      expect((await get(job.id)).body.status).toBe(status);
      expect(ended.result).toMatchObject({ success: status === 'completed', summary: 'enough' });
      await desk.untilCommand(job.id, 1, 'canceled');
      await untilWorkflow(job.id, 'COMPLETED');
    },
  );

  it('needs a status that there is, and the right to change', async () => {
    const job = await create({}, { token: tokens.user });
    for (const query of [
      '',
      'status=done',
      'status=todo',
      'status=pending&x=1',
      'status=failed&force=maybe',
    ]) {
      expect([query, (await setStatus(job.id, query)).status]).toEqual([query, 422]);
    }
    expect((await setStatus(job.id, 'status=failed', { token: tokens.viewer })).status).toBe(403);
    expect((await setStatus(job.id, 'status=failed', { token: tokens.other })).status).toBe(404);
    expect((await setStatus(job.id, 'status=failed', { token: tokens.user })).status).toBe(200);
  });
});

describe('If-Match', () => {
  it('changes what the client has seen, and nothing else (412)', async () => {
    const job = await create();
    const seen = hashOf(job);
    const changed = await setStatus(job.id, 'status=running', { headers: { 'if-match': `"x", ${seen}` } });
    expect(changed.status).toBe(200);
    for (const header of [seen, '"x"', 'W/"x"', '"']) {
      const stale = await setStatus(job.id, 'status=failed', { headers: { 'if-match': header } });
      expect([header, stale.status]).toEqual([header, 412]);
      expect(stale.body).toMatchObject({ error: { type: 'http_exception', code: 412 } });
      const kept = await system.request('DELETE', `${PATH}/${job.id}`, undefined, {
        headers: { 'if-match': header },
      });
      expect(kept.status).toBe(412);
    }
    expect((await get(job.id)).body).toEqual(changed.body);
    const any = await setStatus(job.id, 'status=pending', { headers: { 'if-match': '*' } });
    expect(any.status).toBe(200);
  });
});

describe('DELETE /api/v1/jobs/{id}', () => {
  it('deletes an ended job and an open one, which is canceled first', async () => {
    const ended = await create();
    await setStatus(ended.id, 'status=completed');
    const open = await create();
    await untilWorkflow(open.id, 'RUNNING');
    const uuids = [desk.workflowId(ended.id), desk.workflowId(open.id)];
    for (const { id } of [ended, open]) {
      const gone = await system.request('DELETE', `${PATH}/${id}`);
      expect([gone.status, gone.body]).toEqual([200, { message: 'Job deleted successfully' }]);
      expect((await get(id)).status).toBe(404);
      expect((await system.request('DELETE', `${PATH}/${id}`)).status).toBe(404);
    }
    for (const id of uuids) {
      await system.until(
        async () => (await client.workflow.getHandle(id).describe()).status.name,
        (state) => state === 'COMPLETED',
      );
    }
  });

  it('takes a forced one away while its command is told to stop', async () => {
    const job = await create();
    await system.call('POST', `/v1/tasks/${job.id}/assign`, { agentId: 'here' });
    await system.call('POST', `/v1/tasks/${job.id}/execute`, { act: { command: 'sleep 60' } });
    const step = await desk.untilCommand(job.id, 1, 'running');
    expect((await system.request('DELETE', `${PATH}/${job.id}?force=1`)).status).toBe(200);
    expect((await get(job.id)).status).toBe(404);
    await system.until(
      () => system.call<{ state: string }>('GET', `/v1/commands/${step.commands[0]?.commandId}`),
      ({ state }) => state === 'canceled',
    );
    await untilWorkflow(job.id, 'COMPLETED');
  });

  it('is for administrators, as the deletion of any record', async () => {
    const job = await create({}, { token: tokens.user });
    for (const token of [tokens.user, tokens.operator, tokens.viewer]) {
      expect((await system.request('DELETE', `${PATH}/${job.id}`, undefined, { token })).status).toBe(403);
    }
  });
});
