import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Page } from '../../contracts/shared.ts';
import type { TaskView, TimelineItem } from '../../contracts/tasks.ts';
import { archiveEndedTasks } from '../../domain/tasks/archive.ts';
import { done, type House, startHouse } from '../support/house.ts';
import { readAudit } from '../support/identity.ts';

let house: House;
beforeAll(async () => {
  house = await startHouse();
});
afterAll(() => house.close());

const user = { as: 'user:uma' };
const other = { as: 'user:otto' };

describe('creating tasks', () => {
  it('answers 201 with Location and the defaults, and writes what starts the workflow', async () => {
    const made = await house.ask<TaskView>('POST', '/v1/tasks', { goal: '  count\nall the files  ' });
    expect(made.status).toBe(201);
    expect(made.headers.get('Location')).toBe(`/v1/tasks/${made.body.id}`);
    expect(made.body).toMatchObject({
      title: 'count all the files',
      mode: 'supervised',
      state: 'created',
      target: { any: true },
      maxSteps: 25,
      commandTimeoutMs: 30_000,
      step: 0,
      createdBy: { kind: 'user', id: 'ada', name: 'ada' },
    });
    const [outbox] = await house.db('outbox').where({ workflow_id: `task/${made.body.id}/1` });
    expect(outbox).toMatchObject({
      kind: 'start_task',
      payload: { input: { taskId: made.body.id, runNo: 1 } },
    });
    expect(await readAudit(house.db, 'task.create')).toContainEqual(
      expect.objectContaining({ principal_id: 'ada', target_id: made.body.id, outcome: 'success' }),
    );
    expect((await house.ask('GET', `/v1/tasks/${made.body.id}`)).body).toEqual(made.body);
  });

  it('makes one task of twenty parallel requests with one Idempotency-Key', async () => {
    const headers = { 'Idempotency-Key': 'one-task' };
    const answers = await Promise.all(
      Array.from({ length: 20 }, () =>
        house.ask<TaskView>('POST', '/v1/tasks', { goal: 'once' }, { headers }),
      ),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(19);
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
    const explicit = { goal: 'once', mode: 'supervised', preApproved: [] };
    expect((await house.ask('POST', '/v1/tasks', explicit, { headers })).status).toBe(200);
    const changed = await house.ask('POST', '/v1/tasks', { goal: 'twice' }, { headers });
    expect(changed).toMatchObject({ status: 422, body: { code: 'idempotency_conflict' } });
    const anothers = await house.ask('POST', '/v1/tasks', { goal: 'twice' }, { headers, as: 'admin:eve' });
    expect(anothers.status).toBe(201);
  });

  it('points at everything that is wrong', async () => {
    const wrong = { goal: ' ', mode: 'fast', target: { agentId: 'a', tags: ['x'] }, maxSteps: 0, extra: 1 };
    const answer = await house.ask<{ code: string; errors: { pointer: string }[] }>(
      'POST',
      '/v1/tasks',
      wrong,
    );
    expect(answer).toMatchObject({ status: 422, body: { code: 'validation_failed' } });
    expect(answer.body.errors.map(({ pointer }) => pointer).sort()).toEqual([
      '/extra',
      '/goal',
      '/maxSteps',
      '/mode',
      '/target',
    ]);
    const limits = { goal: 'x', commandTimeoutMs: 300_001, expiryMs: 31 * 24 * 3600 * 1000 };
    const tooLong = await house.ask<{ errors: { pointer: string }[] }>('POST', '/v1/tasks', limits);
    expect(tooLong.body.errors.map(({ pointer }) => pointer)).toEqual(['/commandTimeoutMs', '/expiryMs']);
  });

  it('refuses unknown agents, and pre-approval by those who may not decide', async () => {
    const ask = (wish: object, options = {}) =>
      house.ask('POST', '/v1/tasks', { goal: 'x', ...wish }, options);
    expect(await ask({ target: { agentId: 'nobody' } })).toMatchObject({
      status: 404,
      body: { code: 'agent_not_found' },
    });
    expect((await ask({ preApproved: ['ls'] }, user)).status).toBe(403);
    expect((await ask({}, { as: 'viewer:vic' })).status).toBe(403);
    expect((await ask({}, { as: 'agent:a1' })).status).toBe(403);
    expect((await ask({}, { as: null })).status).toBe(401);
  });
});

describe('reading tasks', () => {
  it('pages newest first to the end, each task once', async () => {
    const made = new Set<string>();
    for (let i = 0; i < 7; i++) made.add((await house.createTask({}, 'operator:pager')).id);
    // Equal times are told apart by the id.
    await house.db('tasks').update({ created_at: new Date() }).where({ creator_id: 'pager' });
    const found: string[] = [];
    for (let cursor: string | null = null; ; ) {
      const query: string = cursor === null ? '' : `&cursor=${cursor}`;
      const page: Page<TaskView> = (await house.ask<Page<TaskView>>('GET', `/v1/tasks?limit=3${query}`)).body;
      found.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor;
      if (cursor === null) break;
    }
    expect(new Set(found).size).toBe(found.length);
    expect(found.filter((id) => made.has(id))).toHaveLength(7);
  });

  it('filters by state, mode, agent and being open', async () => {
    const agentId = await house.addAgent();
    const task = await house.createTask({ mode: 'manual', target: { agentId } });
    await house.propose(task.id, 1);
    const list = async (query: string) =>
      (await house.ask<Page<TaskView>>('GET', `/v1/tasks?agentId=${agentId}${query}`)).body.items.map(
        ({ id }) => id,
      );
    expect(await list('')).toEqual([task.id]);
    expect(await list('&state=awaiting_decision&mode=manual&open=true&kind=task')).toEqual([task.id]);
    expect(await list('&open=false')).toEqual([]);
    expect(await list('&state=running')).toEqual([]);
    expect(await list('&archived=true')).toEqual([]);
  });

  it('refuses cursors of other lists, and garbage', async () => {
    const foreign = Buffer.from(JSON.stringify([1, 'db.example:1'])).toString('base64url');
    for (const cursor of ['junk', foreign]) {
      const answer = await house.ask('GET', `/v1/tasks?cursor=${cursor}`);
      expect(answer).toMatchObject({ status: 422, body: { code: 'invalid_cursor' } });
    }
    expect((await house.ask('GET', '/v1/tasks?state=asleep')).status).toBe(422);
    expect((await house.ask('GET', '/v1/tasks?limit=201')).status).toBe(422);
  });

  it('shows users their own tasks; others do not exist for them', async () => {
    const mine = await house.createTask({}, 'user:uma');
    const theirs = await house.createTask({}, 'user:otto');
    const listed = await house.ask<Page<TaskView>>('GET', '/v1/tasks', undefined, user);
    expect(listed.body.items.map(({ id }) => id)).toEqual([mine.id]);
    for (const path of ['', '/steps', '/timeline']) {
      expect((await house.ask('GET', `/v1/tasks/${mine.id}${path}`, undefined, user)).status).toBe(200);
      const hidden = await house.ask('GET', `/v1/tasks/${theirs.id}${path}`, undefined, user);
      expect(hidden).toMatchObject({ status: 404, body: { code: 'task_not_found' } });
    }
    for (const path of ['/cancel', '/propose', '/archive', '/restore']) {
      const refused = await house.ask('POST', `/v1/tasks/${theirs.id}${path}`, undefined, user);
      expect([path, refused.status, refused.body.code]).toEqual([path, 404, 'task_not_found']);
    }
    // These are not the user's to do anywhere, which says nothing about the task.
    expect((await house.ask('POST', `/v1/tasks/${theirs.id}/execute`, {}, user)).status).toBe(403);
    expect((await house.ask('DELETE', `/v1/tasks/${mine.id}`, undefined, user)).status).toBe(403);
    expect((await house.ask('GET', `/v1/tasks/${theirs.id}`, undefined, other)).status).toBe(200);
    expect((await house.ask('GET', `/v1/tasks/${theirs.id}`, undefined, { as: 'viewer:vic' })).status).toBe(
      200,
    );
  });
});

describe('the end of a task', () => {
  it('is archived, restored and deleted only after it has ended', async () => {
    const task = await house.createTask();
    const act = (name: string, options = {}) =>
      house.ask<TaskView & { code?: string }>('POST', `/v1/tasks/${task.id}/${name}`, undefined, options);
    expect((await act('archive')).body.code).toBe('conflict');
    expect((await house.ask('DELETE', `/v1/tasks/${task.id}`)).status).toBe(409);

    const canceled = await house.ask<TaskView>('POST', `/v1/tasks/${task.id}/cancel`, { reason: 'no need' });
    expect(canceled.body).toMatchObject({
      state: 'canceled',
      result: { success: false, summary: 'no need', reason: 'canceled' },
      seal: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect((await act('cancel')).body).toEqual(canceled.body);

    const headers = { 'Idempotency-Key': `archive-${task.id}` };
    const archived = await act('archive', { headers });
    expect(archived.body.archivedAt).not.toBeNull();
    expect((await act('archive')).body.archivedAt).toBe(archived.body.archivedAt);
    expect((await act('restore')).body.archivedAt).toBeNull();
    // The first request again, not a new wish.
    expect((await act('archive', { headers })).body.archivedAt).toBeNull();
    expect((await act('restore', { headers })).body.code).toBe('idempotency_conflict');

    expect((await house.ask('DELETE', `/v1/tasks/${task.id}`)).status).toBe(204);
    expect((await house.ask('DELETE', `/v1/tasks/${task.id}`)).status).toBe(404);
    expect((await house.ask('GET', `/v1/tasks/${task.id}`)).status).toBe(404);
  });

  it('long ago: retention archives it, but not again what somebody has restored', async () => {
    const task = await house.createTask();
    await house.ask('POST', `/v1/tasks/${task.id}/cancel`, {});
    const day = (count: number) => new Date(Date.now() - count * 24 * 3_600_000);
    await house
      .db('tasks')
      .update({ ended_at: day(60), updated_at: day(60) })
      .where({ public_id: task.id });
    const archivedAt = async () =>
      (await house.ask<TaskView>('GET', `/v1/tasks/${task.id}`)).body.archivedAt !== null;
    const retain = () => archiveEndedTasks(house.deps, { endedBefore: day(30), limit: 200 });
    await retain();
    expect(await archivedAt()).toBe(true);
    expect((await house.ask('POST', `/v1/tasks/${task.id}/restore`)).status).toBe(200);
    await retain();
    expect(await archivedAt()).toBe(false);
  });

  it('comes when the model is done; nothing can be decided after it', async () => {
    await house.addAgent();
    const task = await house.createTask();
    expect(await house.propose(task.id, 1, done(true, 'nothing to do'))).toMatchObject({ end: 'completed' });
    const read = await house.ask<TaskView>('GET', `/v1/tasks/${task.id}`);
    expect(read.body).toMatchObject({
      state: 'completed',
      result: { success: true, summary: 'nothing to do' },
    });
    for (const [path, body] of [
      ['propose', {}],
      ['execute', {}],
      ['cancel', {}],
      ['assign', { agentId: 'x' }],
    ] as const) {
      const answer = await house.ask('POST', `/v1/tasks/${task.id}/${path}`, body);
      expect([path, answer.status, answer.body.code]).toEqual([path, 409, 'task_not_open']);
    }
    const timeline = await house.ask<{ items: TimelineItem[] }>('GET', `/v1/tasks/${task.id}/timeline`);
    expect(timeline.body.items.map(({ type }) => type)).toEqual(['created', 'completed']);
  });
});
