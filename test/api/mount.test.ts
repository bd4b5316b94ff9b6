import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { mount } from '../../api/mount.ts';
import { defineRoute } from '../../contracts/route.ts';
import { exampleRoutes } from '../support/example-routes.ts';
import { allBut, asUser, sendJson, startTestServer, type TestServer } from '../support/http.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ routes: exampleRoutes() });
});
afterAll(() => server.close());

const opened: TestServer[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.close({ deadlineMs: 0 })));
});
async function start(...given: Parameters<typeof startTestServer>): Promise<TestServer> {
  const another = await startTestServer(...given);
  opened.push(another);
  return another;
}

test('a request reaches its handler parsed, and the reply has the headers and the type of its contract', async () => {
  const response = await server.fetch('/v1/widgets/a%2Fb', { headers: asUser });
  expect(response.status).toBe(200);
  expect(response.headers.get('ETag')).toBe('"1"');
  expect(response.headers.get('Content-Type')).toBe('application/json; charset=utf-8');
  expect(await response.json()).toEqual({ id: 'a/b', title: 'a widget', size: null });
});

test('a literal segment wins over a parameter, whatever the order of registration', async () => {
  const response = await server.fetch('/v1/widgets/connected?limit=3', { headers: asUser });
  expect(await response.json()).toEqual({ items: [], limit: 3 });
});

test('/x/ is /x, without a redirect', async () => {
  const response = await server.fetch('/v1/widgets/connected/', { headers: asUser, redirect: 'error' });
  expect(await response.json()).toEqual({ items: [], limit: 20 });
});

test('a form is taken where the contract takes one', async () => {
  const body = new URLSearchParams({ title: 'form' });
  const form = await server.fetch('/v1/widgets', { method: 'POST', body, headers: asUser });
  expect(form.status).toBe(201);
  const refused = await server.fetch('/v1/things', { method: 'POST', body, headers: asUser });
  expect(refused.status).toBe(415);
});

test('the Idempotency-Key is handed on, and refused when it is malformed', async () => {
  const init = sendJson({ title: 'x' }, { ...asUser, 'Idempotency-Key': 'k-1' });
  expect((await server.fetch('/v1/widgets', init)).headers.get('Location')).toBe('/v1/widgets/k-1');
  const bad = sendJson({ title: 'x' }, { ...asUser, 'Idempotency-Key': 'a b' });
  const refused = await server.fetch('/v1/widgets', bad);
  expect(refused.status).toBe(422);
  expect(await refused.json()).toMatchObject({ errors: [{ pointer: '/idempotency-key', in: 'header' }] });
});

test('everything wrong with query and body is reported at once', async () => {
  const response = await server.fetch('/v1/widgets/connected?limit=0&tag=a&tag=b', { headers: asUser });
  expect(response.status).toBe(422);
  const { errors } = (await response.json()) as { errors: { pointer: string }[] };
  expect(errors.map(({ pointer }) => pointer)).toEqual(['/limit', '/tag']);
  const missing = await server.fetch('/v1/widgets', { method: 'POST', headers: asUser });
  expect(await missing.json()).toMatchObject({ errors: [{ pointer: '', message: 'Field required' }] });
});

test('NUL in a path or a query is refused before it can reach the database', async () => {
  expect((await server.fetch('/v1/widgets/a%00b', { headers: asUser })).status).toBe(422);
  expect((await server.fetch('/v1/widgets/connected?tag=%00', { headers: asUser })).status).toBe(422);
});

test('who asks is settled before the body is read, rights before anything is looked up', async () => {
  const strict = await start({ routes: exampleRoutes(), can: allBut('create', 'task') });
  const nonsense = 'not json at all';
  expect((await strict.fetch('/v1/widgets', sendJson(nonsense, {}))).status).toBe(401);
  expect((await strict.fetch('/v1/widgets', sendJson(nonsense))).status).toBe(403);
  const agent = { Authorization: 'Bearer agent:a1' };
  expect((await strict.fetch('/v1/widgets/none', { headers: agent })).status).toBe(403);
  expect((await strict.fetch('/v1/widgets/connected', { headers: agent })).status).toBe(200);
  expect((await strict.fetch('/v1/widgets/none', { headers: asUser })).status).toBe(404);
});

test('a public route is open to a stale token', async () => {
  const response = await server.fetch('/livez', { headers: { Authorization: 'Bearer stale' } });
  expect(response.status).toBe(200);
});

test('HEAD is GET without a body; OPTIONS names the methods; 304 is empty', async () => {
  const head = await server.fetch('/v1/widgets/a', { method: 'HEAD', headers: asUser });
  expect([head.status, head.headers.get('ETag'), await head.text()]).toEqual([200, '"1"', '']);
  const stream = await server.fetch('/v1/widgets/events', { method: 'HEAD', headers: asUser });
  expect(stream.headers.get('Content-Type')).toContain('text/event-stream');
  const options = await server.fetch('/v1/widgets/a', { method: 'OPTIONS' });
  expect([options.status, options.headers.get('Allow')]).toEqual([204, 'GET, HEAD, OPTIONS']);
  const same = await server.fetch('/v1/widgets/same', { headers: asUser });
  expect([same.status, await same.text()]).toEqual([304, '']);
});

test('bytes arrive as they are', async () => {
  const response = await server.fetch('/v1/widgets/a/output', { headers: asUser });
  expect([...new Uint8Array(await response.arrayBuffer())]).toEqual([0, 255, 10, 0]);
});

test.each([
  ['extra', 'holds more than its schema'],
  ['shape', 'does not match its schema'],
  ['status', 'the reply 299'],
  ['undeclared', 'does not declare the error budget_exceeded'],
])('a reply that breaks its contract (%s) is a 500, and the log says why', async (how, why) => {
  const response = await server.fetch(`/v1/broken/${how}`);
  expect(response.status).toBe(500);
  const line = server.lines.findLast(({ event }) => event === 'http_request_failed');
  expect(String(line?.err)).toContain(why);
});

test('a fault of ours says nothing about itself to the client', async () => {
  const response = await server.fetch('/v1/broken/throw');
  expect(response.status).toBe(500);
  expect(await response.text()).not.toContain('hunter2');
});

test('what an installation goes without on purpose is told to the client, and is no fault in the log', async () => {
  const faults = () => server.lines.filter(({ event }) => event === 'http_request_failed').length;
  const before = faults();
  expect((await server.fetch('/v1/broken/lack')).status).toBe(503);
  expect(faults()).toBe(before);
  await server.fetch('/v1/broken/throw');
  expect(faults()).toBe(before + 1);
});

test('an event stream: frames, resume id, keep-alive text, end on shutdown', async () => {
  const streaming = await start({ routes: exampleRoutes() });
  const response = await streaming.fetch('/v1/widgets/events', {
    headers: { ...asUser, 'Last-Event-ID': '6', 'Accept-Encoding': 'gzip' },
  });
  expect(response.headers.get('Content-Type')).toBe('text/event-stream; charset=utf-8');
  expect(response.headers.get('Content-Encoding')).toBeNull();
  expect(response.headers.get('Cache-Control')).toBe('no-cache, no-transform');
  const reader = (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  while (!text.includes('heartbeat')) text += (await reader.read()).value ?? '';
  expect(text).toContain(
    'id: 7\nevent: widget\ndata: {"after":"6"}\n\ndata: two\ndata: lines\n\n: heartbeat\n\n',
  );
  streaming.shutdown();
  while (!(await reader.read()).done);
});

test('a client that does not read its events is dropped', async () => {
  const flooding = await start({ routes: exampleRoutes() });
  const response = await flooding.fetch('/v1/widgets/events?flood=true', { headers: asUser });
  await expect
    .poll(() => flooding.lines.find(({ event }) => event === 'http_request'), { timeout: 10_000 })
    .toMatchObject({
      aborted: true,
      route: '/v1/widgets/events',
    });
  await response.body?.cancel().catch(() => {});
});

test('a contract that contradicts itself stops the program at import', () => {
  const route = {
    family: 'house',
    method: 'GET',
    summary: 's',
    tags: [],
    auth: 'public',
    rateClass: 'read',
  } as const;
  const replies = { 200: z.object({}) };
  expect(() => defineRoute({ ...route, path: '/v1/{id}', replies })).toThrow('parameters');
  expect(() => defineRoute({ ...route, path: '/v1/', replies })).toThrow('last slash');
  expect(() => defineRoute({ ...route, path: '/v1', replies: {} })).toThrow('no reply');
  expect(() => defineRoute({ ...route, path: '/v1', replies, body: z.string() })).toThrow('no body');
});

test('a handler that does not keep its contract does not compile', () => {
  const route = {
    family: 'house',
    method: 'GET',
    summary: 's',
    tags: [],
    auth: 'public',
    rateClass: 'read',
  } as const;
  const contract = defineRoute({
    ...route,
    path: '/v1/typed',
    replies: { 200: z.object({ ok: z.boolean() }) },
  });
  mount(contract, async () => ({ status: 200, body: { ok: true } }));
  // @ts-expect-error the status is not declared
  mount(contract, async () => ({ status: 201, body: { ok: true } }));
  // @ts-expect-error the body has another shape
  mount(contract, async () => ({ status: 200, body: { ok: 'yes' } }));
  // @ts-expect-error a public route may have no principal
  mount(contract, async ({ principal }) => ({ status: 200, body: { ok: principal.id === '' } }));
  // @ts-expect-error a route that is not public names its right
  defineRoute({ ...route, auth: 'user', path: '/v1/typed', replies: { 200: z.object({}) } });
});

test('two routes for one request, or a route under the path of another family, stop the start', async () => {
  const route = { method: 'GET', summary: 's', tags: [], auth: 'public', rateClass: 'read' } as const;
  const replies = { 200: z.object({}) };
  const one = defineRoute({
    ...route,
    family: 'house',
    path: '/v1/{a}',
    params: z.object({ a: z.string() }),
    replies,
  });
  const other = defineRoute({
    ...route,
    family: 'house',
    path: '/v1/{b}',
    params: z.object({ b: z.string() }),
    replies,
  });
  const foreign = defineRoute({ ...route, family: 'house', path: '/tasks', replies });
  const handler = async () => ({ status: 200 as const, body: {} });
  await expect(start({ routes: [mount(one, handler), mount(other, handler)] })).rejects.toThrow('two routes');
  await expect(start({ routes: [mount(foreign, handler)] })).rejects.toThrow('ananta');
});
