/** The shared log, the events of tasks, and the probe of steel: on the real server, byte by byte. */
import http from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { steelEventSchema } from '../../contracts/families/steel/events.ts';
import { appendPostedEvent } from '../../db/posted-events.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';
const PATH = '/api/v1/events';
const TAIL = '/api/v1/events/tail';
const OF_TASK = '/api/v1/orchestrator/events';

let system: System;
const tokens = { operator: '', viewer: '', user: '', other: '' };
beforeAll(async () => {
  system = await startSystem({ worker: false, env: { AGENT_TOKEN } });
  const desk = deskOf(system);
  tokens.operator = await desk.addUser('operator', 'ada');
  tokens.viewer = await desk.addUser('viewer', 'vera');
  tokens.user = await desk.addUser('user', 'uma');
  tokens.other = await desk.addUser('user', 'otto');
});
afterAll(() => system.close());

interface RawStream {
  status: number;
  headers: http.IncomingHttpHeaders;
  text(): string;
  ended: Promise<void>;
  close(): void;
}

const open: RawStream[] = [];
afterEach(() => {
  vi.useRealTimers();
  for (const stream of open.splice(0)) stream.close();
});

/** A stream and its very bytes. */
async function raw(path: string, headers: Record<string, string> = {}): Promise<RawStream> {
  const bearer = { authorization: `Bearer ${system.token()}` };
  const request = http.get(`${system.url}${path}`, { headers: { ...bearer, ...headers }, agent: false });
  request.on('error', () => undefined);
  const message = await new Promise<http.IncomingMessage>((resolve, reject) => {
    request.once('response', resolve);
    request.once('error', reject);
  });
  let text = '';
  message.setEncoding('utf8');
  message.on('data', (part: string) => {
    text += part;
  });
  const ended = new Promise<void>((resolve) => message.once('close', () => resolve()));
  const stream = {
    status: message.statusCode ?? 0,
    headers: message.headers,
    text: () => text,
    ended,
    close: () => request.destroy(),
  };
  open.push(stream);
  return stream;
}

const once = async (query = '', headers: Record<string, string> = {}): Promise<string> => {
  const stream = await raw(`${TAIL}?once=1${query}`, headers);
  expect(stream.status).toBe(200);
  await stream.ended;
  return stream.text();
};

const framesOf = (text: string): Record<string, unknown>[] =>
  text
    .split('\n\n')
    .filter((frame) => frame.startsWith('data: '))
    .map((frame) => JSON.parse(frame.slice('data: '.length)));

const post = (body: unknown, options = {}) => system.request<{ ok: true }>('POST', PATH, body, options);
const refusal = (method: string, path: string, code: number, message: string) => ({
  error: { type: 'http_exception', code, message, path, method },
  detail: message,
});

describe('POST /api/v1/events', () => {
  it.each([PATH, `${PATH}/`])('%s takes an event and tells the state of the log', async (path) => {
    const body = { event: 'deploy', target: 'api', details: { b: 1, a: { nested: ['ü', null] } } };
    const answer = await system.request('POST', path, body, { token: tokens.operator });
    expect([answer.status, answer.body]).toEqual([200, { ok: true }]);
    expect(answer.headers.get('etag')).toMatch(/^"[0-9a-f]{64}"$/);
    const [newest] = framesOf(await once()).slice(-1);
    expect(newest).toEqual({
      id: expect.any(Number),
      ts: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/),
      actor: 'ada',
      ...body,
    });
    // The members stand as they were sent.
    expect(await once()).toContain('"details":{"b":1,"a":{"nested":["ü",null]}}');
  });

  it('has details only where there are some', async () => {
    expect((await post({ event: 'bare', target: 'x' })).status).toBe(200);
    expect(framesOf(await once()).at(-1)).toMatchObject({ event: 'bare', details: {} });
  });

  it('never tells the same state twice, and the system token may post as well', async () => {
    const tags = [];
    for (const token of [tokens.operator, AGENT_TOKEN, tokens.operator]) {
      tags.push((await post({ event: 'same', target: 'x' }, { token })).headers.get('etag'));
    }
    expect(new Set(tags).size).toBe(3);
  });

  it('writes one entry for one Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'post-1' };
    const body = { event: 'once', target: 'only' };
    const first = await post(body, { headers });
    const again = await post(body, { headers });
    expect([again.status, again.headers.get('etag')]).toEqual([200, first.headers.get('etag')]);
    expect(framesOf(await once()).filter(({ event }) => event === 'once')).toHaveLength(1);
    const changed = await post({ ...body, target: 'other' }, { headers });
    expect([changed.status, changed.body]).toMatchObject([422, { error: { code: 422 } }]);
  });

  it.each([
    [{}, ['event', 'target']],
    [{ event: '', target: 'x' }, ['event']],
    [{ event: 'x', target: 'x'.repeat(1_025) }, ['target']],
    [{ event: 'x', target: 'y', details: [] }, ['details']],
    [{ event: 'x', target: 'y', details: { a: 'x'.repeat(16 * 1024) } }, ['details']],
    [{ event: 'x', target: 'y', actor: 'somebody' }, ['actor']],
    [{ event: 'x', target: 'y', details: null }, ['details']],
  ])('finds %# invalid', async (body, fields) => {
    const { status, body: answer } = await system.request<{ error: unknown; detail: { loc: string[] }[] }>(
      'POST',
      PATH,
      body,
    );
    expect([status, answer.error]).toEqual([
      422,
      { type: 'validation_error', code: 422, message: 'Validation error', path: PATH, method: 'POST' },
    ]);
    expect(answer.detail.map(({ loc }) => loc[1])).toEqual(fields);
  });

  it('is for those who may: no stranger, no viewer, no agent', async () => {
    const body = { event: 'x', target: 'y' };
    expect(await post(body, { token: 'nonsense' })).toMatchObject({
      status: 401,
      body: refusal('POST', PATH, 401, 'Could not validate credentials'),
    });
    const viewer = await post(body, { token: tokens.viewer });
    expect([viewer.status, viewer.body]).toEqual([403, refusal('POST', PATH, 403, 'Not enough permissions')]);
    const { agentToken } = await system.enrol('steel-agent');
    expect((await post(body, { token: agentToken })).status).toBe(403);
  });

  it('leaves an audit row and an event of the house', async () => {
    await post({ event: 'told', target: 'the house\u0007' }, { token: tokens.operator });
    const { db } = system.api.parts;
    const [audit] = await db('audit_events').where({ action: 'event.post' }).orderBy('id', 'desc').limit(1);
    expect(audit).toMatchObject({
      principal_name: 'ada',
      target_kind: 'event',
      outcome: 'success',
      details: { name: 'told', target: 'the house␇' },
    });
    const [event] = await db('events').where({ type: 'event.posted' }).orderBy('id', 'desc').limit(1);
    expect(event).toMatchObject({ owner_id: audit.principal_id, data: { number: Number(audit.target_id) } });
  });
});

describe('GET /api/v1/events/tail', () => {
  it('gives the log in frames of data alone, and ends with `once`', async () => {
    await post({ event: 'first', target: 'x' });
    await post({ event: 'second', target: 'y', details: { n: 2 } });
    const stream = await raw(`${TAIL}?once=true`);
    await stream.ended;
    expect(stream.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    expect(stream.headers['cache-control']).toBe('no-cache, no-transform');
    const entries = framesOf(stream.text());
    expect(stream.text()).toBe(entries.map((entry) => `data: ${JSON.stringify(entry)}\n\n`).join(''));
    const numbers = entries.map(({ id }) => id);
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
    expect(entries.slice(-2)).toMatchObject([
      { event: 'first', details: {} },
      { event: 'second', target: 'y', actor: 'admin', details: { n: 2 } },
    ]);
  });

  it.each(['1', 'True', 'yes', 'on'])('ends with once=%s', async (word) => {
    const stream = await raw(`${TAIL}?once=${word}`);
    await stream.ended;
    expect(stream.status).toBe(200);
  });

  it.each(['maybe', '', '1&once=1'])('refuses once=%s', async (word) => {
    expect((await system.request('GET', `${TAIL}?once=${word}`)).status).toBe(422);
  });

  it('goes on with what is added, by this process and by another', async () => {
    const other = await system.openApi();
    const stream = await raw(TAIL);
    const before = framesOf(await once()).length;
    await vi.waitFor(() => expect(framesOf(stream.text())).toHaveLength(before), 5_000);
    await post({ event: 'here', target: 'x' });
    await vi.waitFor(() => expect(framesOf(stream.text()).at(-1)).toMatchObject({ event: 'here' }), 5_000);
    const reply = await fetch(`${other.url}${PATH}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${system.token()}`, 'content-type': 'application/json' },
      body: JSON.stringify({ event: 'there', target: 'x' }),
    });
    expect(reply.status).toBe(200);
    await vi.waitFor(() => expect(framesOf(stream.text()).at(-1)).toMatchObject({ event: 'there' }), 5_000);
  });

  it('goes on behind the id that is given back', async () => {
    const [id] = framesOf(await once())
      .map((entry) => entry.id)
      .slice(-1);
    await post({ event: 'newer', target: 'x' });
    expect(framesOf(await once('', { 'last-event-id': String(id) }))).toMatchObject([{ event: 'newer' }]);
    expect(framesOf(await once(`&lastEventId=${id}`))).toMatchObject([{ event: 'newer' }]);
    for (const cursor of ['x', '-1', '1.5', '12.3', '9'.repeat(16)]) {
      const { status, body } = await system.request('GET', `${TAIL}?once=1&lastEventId=${cursor}`);
      expect([status, body]).toMatchObject([422, { error: { code: 422 } }]);
    }
  });

  it('loses and repeats nothing while many write at once', async () => {
    const stream = await raw(TAIL);
    const marks = Array.from({ length: 60 }, (_, index) => `mark-${index}`);
    await Promise.all(marks.map((event) => post({ event, target: 'x' })));
    const seen = () => framesOf(stream.text()).filter(({ event }) => String(event).startsWith('mark-'));
    await vi.waitFor(() => expect(seen()).toHaveLength(marks.length), 10_000);
    expect(new Set(seen().map(({ event }) => event))).toEqual(new Set(marks));
    const numbers = framesOf(stream.text()).map(({ id }) => id);
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
  });

  it('shows those who see only their own what they posted, with a state of its own', async () => {
    const mine = await post({ event: 'mine', target: 'x' }, { token: tokens.user });
    await post({ event: 'his', target: 'x' }, { token: tokens.other });
    const again = await post({ event: 'mine-too', target: 'x' }, { token: tokens.user });
    expect(again.headers.get('etag')).not.toBe(mine.headers.get('etag'));
    const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
    expect(framesOf(await once('', bearer(tokens.user))).map(({ event }) => event)).toEqual([
      'mine',
      'mine-too',
    ]);
    expect(framesOf(await once('', bearer(tokens.viewer))).length).toBeGreaterThan(3);
    const stream = await raw(TAIL, bearer(tokens.user));
    await post({ event: 'secret', target: 'x' }, { token: tokens.other });
    await post({ event: 'mine-again', target: 'x' }, { token: tokens.user });
    await vi.waitFor(() => expect(stream.text()).toContain('mine-again'), 5_000);
    expect(stream.text()).not.toContain('secret');
  });

  it('says `: heartbeat` when 30 seconds were silent', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const { text, status } = await raw(`${TAIL}?lastEventId=999999`);
    expect(status).toBe(200);
    vi.advanceTimersByTime(29_999);
    vi.advanceTimersByTime(1);
    await vi.waitFor(() => expect(text()).toBe(': heartbeat\n\n'), 5_000);
  });

  it('takes a token or a ticket from the query', async () => {
    const byToken = await fetch(`${system.url}${TAIL}?once=1&token=${tokens.viewer}`);
    expect([byToken.status, await byToken.text()]).toEqual([200, expect.stringContaining('data: ')]);
    const { ticket } = await system.call<{ ticket: string }>('POST', '/v1/auth/tickets');
    const byTicket = () => fetch(`${system.url}${TAIL}?once=1&ticket=${ticket}`).then(({ status }) => status);
    expect([await byTicket(), await byTicket()]).toEqual([200, 401]);
    const nobody = await fetch(`${system.url}${TAIL}`);
    expect([nobody.status, await nobody.json()]).toEqual([
      401,
      refusal('GET', TAIL, 401, 'Not authenticated'),
    ]);
  });

  it('ends within 5 seconds after the session', async () => {
    const token = await deskOf(system).addUser('operator', 'leaver');
    const stream = await raw(TAIL, { authorization: `Bearer ${token}` });
    expect(stream.status).toBe(200);
    const since = performance.now();
    await system.call('POST', '/auth/logout', undefined, { token });
    await stream.ended;
    expect(performance.now() - since).toBeLessThan(5_000);
  });

  it('gives all of a log that is larger than a stream may buffer', async () => {
    const { db } = system.api.parts;
    const from = framesOf(await once()).length;
    const details = { text: 'x'.repeat(16_000) };
    for (let n = 0; n < 100; n++) {
      const entry = {
        posterKind: 'user',
        posterId: 'filler',
        posterName: 'filler',
        name: `large-${n}`,
        target: 'x',
      };
      await appendPostedEvent(db, { ...entry, details }, 'ab'.repeat(32));
    }
    const entries = framesOf(await once('', { 'last-event-id': String(from) }));
    expect(entries.map(({ event }) => event)).toEqual(Array.from({ length: 100 }, (_, n) => `large-${n}`));
  });
});

describe('GET /api/v1/orchestrator/events', () => {
  const create = (token = system.token()) =>
    system.call<{ id: string }>('POST', '/v1/tasks', { goal: 'look around' }, { token });
  const listed = (query: string, token = system.token()) =>
    system.request<{ events: Record<string, unknown>[] }>('GET', `${OF_TASK}?${query}`, undefined, { token });

  it('lists what happened to a task, by either name of the id', async () => {
    const { id } = await create();
    await system.call('POST', `/v1/tasks/${id}/cancel`, {});
    const { status, body } = await listed(`task_id=${id}`);
    expect([status, body]).toEqual([
      200,
      {
        events: [
          {
            id: expect.stringMatching(/^\d+\.\d+$/),
            event: 'task.created',
            timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/),
            task_id: id,
            run_id: id,
            command_id: null,
            agent_id: null,
            data: expect.objectContaining({ mode: 'supervised' }),
          },
          expect.objectContaining({ event: 'task.canceled', task_id: id }),
        ],
      },
    ]);
    expect((await listed(`run_id=${id}`)).body).toEqual(body);
    expect((await listed(`task_id=${id}&run_id=other`)).body).toEqual(body);
  });

  it.each([OF_TASK, `${OF_TASK}/stream`])('%s needs one of the ids', async (path) => {
    const { status, body } = await system.request('GET', path);
    expect([status, body]).toEqual([
      422,
      {
        error: { type: 'validation_error', code: 422, message: 'Validation error', path, method: 'GET' },
        detail: [
          {
            loc: ['query', 'task_id'],
            msg: 'Either task_id or run_id must be provided',
            type: 'value_error',
          },
        ],
      },
    ]);
  });

  it.each(['', '/stream'])('%s is 404 for a task that is not there, or not theirs', async (part) => {
    const { id } = await create(tokens.other);
    for (const [taskId, token] of [
      ['nobody', system.token()],
      [id, tokens.user],
    ]) {
      const path = `${OF_TASK}${part}`;
      const answer = await system.request('GET', `${path}?task_id=${taskId}`, undefined, { token });
      expect([answer.status, answer.body]).toEqual([404, refusal('GET', path, 404, 'Task not found')]);
    }
  });

  it('streams them: what was, and each as it commits', async () => {
    const { id } = await create();
    const stream = await raw(`${OF_TASK}/stream?task_id=${id}`);
    await vi.waitFor(() => expect(framesOf(stream.text())).toHaveLength(1), 5_000);
    await create();
    await system.call('POST', `/v1/tasks/${id}/cancel`, {});
    await vi.waitFor(() => expect(stream.text()).toContain('task.canceled'), 5_000);
    const events = framesOf(stream.text()).map((frame) => steelEventSchema.parse(frame));
    expect(events.map(({ event, task_id }) => [event, task_id])).toEqual([
      ['task.created', id],
      ['task.canceled', id],
    ]);
    expect(stream.text()).toBe(events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(''));
    const resumed = await raw(`${OF_TASK}/stream?task_id=${id}&lastEventId=${events[0]?.id}`);
    await vi.waitFor(() => expect(resumed.text()).toContain('task.canceled'), 5_000);
    expect(framesOf(resumed.text()).map(({ event }) => event)).toEqual(['task.canceled']);
    expect(await system.request('GET', `${OF_TASK}/stream?task_id=${id}&lastEventId=x`)).toMatchObject({
      status: 422,
    });
  });
});

describe('GET /healthz', () => {
  it('is open and tells of the database', async () => {
    const response = await fetch(`${system.url}/healthz`);
    expect([response.status, await response.json()]).toEqual([200, { status: 'ok' }]);
  });
});
