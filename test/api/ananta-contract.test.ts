/**
 * Every row of the ananta contract, walked as a client does: under each of its paths, with and without the last slash;
 * the status, the envelope, exactly the keys that the row names (and those that are ours), the errors that it names, and
 * the refusal of strangers and of those who may not. What bodies mean is tested beside each resource.
 */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OpenApiDocument } from '../../contracts/openapi.ts';
import { routesOf } from '../../contracts/route-inventory.ts';
import { insertSnapshot } from '../../db/stats.ts';
import {
  createAnantaDesk,
  LOCAL_AGENT,
  type Method,
  PASSWORD,
  SHARED_TOKEN,
  startUrlWorker,
} from '../support/ananta-desk.ts';
import { anantaRows } from '../support/ananta-rows/index.ts';
import { anantaRefusals } from '../support/ananta-rows/refusals.ts';
import { underApi, underSystem } from '../support/ananta-rows/row.ts';
import { openSse } from '../support/event-streams.ts';
import { type System, startSystem } from '../support/system.ts';
import { type Desk, deskOf } from '../support/tasks.ts';
import { openTerminal, type TerminalClientOptions } from '../support/terminal-client.ts';
import { startWebhookReceiver } from '../support/webhook-receiver.ts';

let system: System;
let people: Desk;
let worker: Awaited<ReturnType<typeof startUrlWorker>>;
const desk = createAnantaDesk(() => ({ system, workerUrl: worker.url }));
const { make, newTask } = desk;
/** One account of each role that is refused somewhere. */
const tokens = { viewer: '', user: '', operator: '' };

beforeAll(async () => {
  worker = await startUrlWorker();
  const env = {
    AGENT_TOKEN: SHARED_TOKEN,
    LOCAL_AGENT_ID: LOCAL_AGENT,
    HOST_TERMINAL: 'on',
    WEBHOOK_URL_ALLOW: '127.0.0.1',
    CONTEXT_ROOT: dirname(fileURLToPath(new URL('../support/system.ts', import.meta.url))),
  };
  system = await startSystem({ env });
  people = deskOf(system);
  await system.startAgent({ agentId: LOCAL_AGENT, terminals: { shell: 'sh' } });
  for (const role of ['viewer', 'user', 'operator'] as const)
    tokens[role] = await people.addUser(role, `the-${role}`);
  await insertSnapshot(system.api.parts.db, {
    agents: { total: 1, online: 1, connected: 1, busy: 0 },
    tasks: { completed: 1 },
    resources: { cpuPercent: 1, ramBytes: 1 },
  });
  await people.sql(
    `insert into llm_calls (purpose, principal_id, model, mock, input_tokens, output_tokens, cost_usd, outcome)
     values ('chat', 'x', 'claude-of-before', false, 0, 0, 0, 'ok')`,
  );
  await make('POST', '/register', { name: 'worker', url: worker.url });
  await desk.newArchived();
  await desk.newSchedule();
});
afterAll(async () => {
  await system?.close();
  await worker?.close();
});

/** Of the listener of the family; everything but `/` and `/health` is the same on the others. */
const urlOf = (profile = 'ananta'): string =>
  system.api.addresses.find((address) => address.profile === profile)?.url ?? '';

interface Envelope {
  status: string;
  message?: string;
  data?: unknown;
}

interface Asked {
  method: Method;
  path: string;
  url?: string;
  /** Default: an administrator's. */
  token?: string | null;
  ids?: readonly string[];
  /** Text is sent as it is. */
  body?: unknown;
  headers?: Record<string, string>;
}

function ask({
  method,
  path,
  url,
  token = system.token(),
  ids = [],
  body,
  headers,
}: Asked): Promise<Response> {
  const left = [...ids];
  const filled = path.replaceAll(/\{\w+\}/g, () => left.shift() ?? 'any');
  return fetch(`${url ?? urlOf()}${filled}`, {
    method,
    // A redirect would turn a POST into a GET, or drop the credential.
    redirect: 'manual',
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
}
const answerOf = async (reply: Response): Promise<[number, Envelope]> => [
  reply.status,
  (await reply.json()) as Envelope,
];

/** With a slash at the end of the path, before the query. */
const withSlash = (path: string): string => path.replace(/(\?|$)/, '/$1');
const keysOf = (names = ''): string[] => names.split(' ').filter((name) => name !== '' && name !== '*');
const failure = (message: unknown, data?: unknown) => ({
  status: 'error',
  message,
  ...(data === undefined ? {} : { data }),
});
const text = expect.any(String);
const missing = failure('unauthorized', { details: 'Missing Authorization (header or token param)' });
const invalid = failure('unauthorized', { details: 'Invalid token' });
const forbidden = failure('forbidden', { details: 'Admin privileges required' });

const rows = anantaRows(desk).map((row) => ({
  ...row,
  title: `${row.method} ${row.paths[0]?.split('?')[0]}`,
}));

describe.each(rows)('$title', (row) => {
  it.each(row.paths.flatMap((path) => [path, withSlash(path)]))('answers at %s', async (path) => {
    const reply = await ask({ method: row.method, path, body: row.body, ...(await row.given?.()) });
    const [status, body] = await answerOf(reply);
    expect(status, JSON.stringify(body)).toBe(row.status ?? 200);
    expect(reply.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(Object.keys(body).sort()).toEqual(['data', ...(row.beside ?? []), 'status'].sort());
    expect(body.status).toBe(row.word ?? 'success');
    const items: unknown[] = Array.isArray(body.data) ? body.data : [body.data];
    expect(items.length).toBeGreaterThan(0);
    const must = [...keysOf(row.keys), ...keysOf(row.more)];
    for (const item of items) {
      const keys = Object.keys(item ?? {});
      expect(keys).toEqual(expect.arrayContaining(must));
      if (row.maybe !== '*')
        expect(keys.filter((key) => !must.includes(key) && !keysOf(row.maybe).includes(key))).toEqual([]);
    }
    if (Array.isArray(body.data)) expect(body.data).toEqual(row.like ?? body.data);
    else expect(body.data).toMatchObject(row.like ?? {});
  });
});

describe('strangers are refused in the words of the family at', () => {
  const closed = rows
    .filter(({ isPublic }) => !isPublic)
    .flatMap(({ method, paths }) => paths.map((path) => ({ method, path: path.split('?')[0] ?? path })));
  it.each(closed)('$method $path', async (asked) => {
    const url = urlOf('steel');
    // With a body that no parser takes: who asks is looked at first.
    const body = asked.method === 'GET' ? undefined : '{';
    expect(await answerOf(await ask({ ...asked, url, body, token: null }))).toEqual([401, missing]);
    expect(await answerOf(await ask({ ...asked, url, body, token: 'nonsense' }))).toEqual([401, invalid]);
  });
});

describe('who may not is told so, before anything is looked up, at', () => {
  const closed = rows.flatMap(({ method, paths, closedTo }) =>
    closedTo === undefined
      ? []
      : paths.map((path) => ({ method, path: path.split('?')[0] ?? path, closedTo })),
  );
  it.each(closed)('$method $path ($closedTo)', async ({ closedTo, ...asked }) => {
    const body = asked.method === 'GET' ? undefined : '{';
    const reply = await ask({ ...asked, body, token: tokens[closedTo] });
    expect(await answerOf(reply)).toEqual([403, forbidden]);
  });
});

describe('errors that the contract names', () => {
  const named = anantaRefusals(desk).map((refusal) => ({
    ...refusal,
    title: `${refusal.method} ${refusal.path} ${refusal.status} ${String(refusal.message)}`,
  }));
  it.each(named)('$title', async ({ method, path, token, body, given, status, message, data }) => {
    const asked = { method, path, body, ...(token === undefined ? {} : { token }), ...(await given?.()) };
    expect(await answerOf(await ask(asked))).toEqual([status, failure(message, data)]);
  });

  it('an address with too many failed logins is told to wait', async () => {
    const expires = new Date(Date.now() + 60_000);
    const { db } = system.api.parts;
    await db('banned_addresses').insert({ network: '127.0.0.1', failures: 50, expires_at: expires });
    for (const [path, body] of [
      ['/login', { username: 'the-user', password: PASSWORD }],
      ['/refresh-token', { refresh_token: 'x' }],
    ] as const) {
      expect(await answerOf(await ask({ method: 'POST', path, body }))).toEqual([
        429,
        failure('Too many login attempts. Please try again later.'),
      ]);
    }
    await db('banned_addresses').delete();
  });

  it('without the team type Scrum there is no Scrum team to set up', async () => {
    const types = await make<{ id: string; name: string }[]>('GET', '/teams/types');
    const scrum = types.find(({ name }) => name === 'Scrum');
    await make('DELETE', `/teams/types/${scrum?.id}`);
    const reply = await ask({ method: 'POST', path: '/teams/setup-scrum', body: {} });
    expect(await answerOf(reply)).toEqual([404, failure('scrum_type_not_found')]);
    await make('POST', '/teams/types', { name: 'Scrum' });
  });

  it('a method that a path has not is told which it has, a form is no JSON', async () => {
    const put = await ask({ method: 'PUT', path: '/tasks' });
    expect(put.headers.get('allow')?.split(', ')).toEqual(expect.arrayContaining(['GET', 'POST']));
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const form = await ask({ method: 'POST', path: '/tasks', body: 'title=x', headers });
    expect(await answerOf(form)).toEqual([
      415,
      failure('unsupported_media_type', { details: text, cid: text }),
    ]);
  });
});

it.each([
  '/tasks?status=&agent=&since=&until=&limit=&offset=',
  '/tasks/archived?limit=&offset=',
  '/tasks/timeline?team_id=&agent=&status=&error_only=&since=&limit=',
  '/stats/history?limit=&offset=',
  '/audit-logs?limit=&offset=',
])('what a form leaves empty is read over: %s', async (path) => {
  const [bare = ''] = path.split('?');
  const [, plain] = await answerOf(await ask({ method: 'GET', path: bare }));
  const [status, body] = await answerOf(await ask({ method: 'GET', path }));
  expect([status, Object.keys(body.data ?? {})]).toEqual([200, Object.keys(plain.data ?? {})]);
});

describe('who asks', () => {
  it('may be an agent with the shared token, or with a token that it has signed with it', async () => {
    const signed = jwt.sign({ sub: 'worker' }, SHARED_TOKEN, { algorithm: 'HS256', expiresIn: 600 });
    for (const token of [SHARED_TOKEN, signed]) {
      expect((await ask({ method: 'GET', path: '/tasks', token })).status).toBe(200);
      const query = await ask({ method: 'GET', path: `/tasks?token=${token}`, token: null });
      expect(query.status).toBe(200);
    }
    const forged = jwt.sign({ sub: 'worker' }, 'another', { algorithm: 'HS256', expiresIn: 600 });
    const reply = await ask({ method: 'GET', path: '/tasks', token: forged });
    expect(await answerOf(reply)).toEqual([401, invalid]);
  });

  it('is told by the query as by the header', async () => {
    const url = urlOf('dex');
    const reply = await ask({ method: 'GET', url, path: `/me?token=${tokens.user}`, token: null });
    expect(await answerOf(reply)).toEqual([
      200,
      { status: 'success', data: { username: 'the-user', role: 'user', mfa_enabled: false } },
    ]);
  });
});

describe('headers', () => {
  it('are on every answer, with the correlation id of the client', async () => {
    for (const [path, token] of [
      ['/tasks', null],
      ['/health', null],
      ['/nothing', null],
      ['/stats', system.token()],
    ] as const) {
      const { headers } = await ask({ method: 'GET', path, token, headers: { 'X-Correlation-ID': 'cid-7' } });
      expect(headers.get('x-correlation-id')).toBe('cid-7');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('x-frame-options')).toBe('DENY');
      for (const name of ['referrer-policy', 'permissions-policy']) expect(headers.get(name)).toBeTruthy();
      expect(headers.get('content-security-policy')).toContain('report-uri /api/system/csp-report;');
    }
  });
});

describe('answers without the envelope', () => {
  const slashed = (paths: readonly string[]) => paths.flatMap((path) => [path, `${path}/`]);

  it.each(slashed(underSystem('/metrics')))('%s is for Prometheus, and for everybody', async (path) => {
    const reply = await ask({ method: 'GET', path, token: null });
    expect([reply.status, reply.headers.get('content-type')]).toEqual([
      200,
      'text/plain; version=0.0.4; charset=utf-8',
    ]);
    expect(await reply.text()).toContain('# TYPE ');
  });

  it.each(slashed(['/apidocs']))('%s leads to the documentation', async (path) => {
    const reply = await ask({ method: 'GET', path, token: null });
    expect([reply.status, reply.headers.get('location')]).toEqual([302, '/docs']);
  });

  it.each(slashed(['/api/system/csp-report']))('%s takes a report of anybody', async (path) => {
    const body = { 'csp-report': { 'document-uri': 'https://x.example', 'effective-directive': 'img-src' } };
    const headers = { 'content-type': 'application/csp-report' };
    expect((await ask({ method: 'POST', path, token: null, body, headers })).status).toBe(204);
  });

  it.each(slashed(['/approve']))('%s answers the form of old workers', async (path) => {
    const form = { method: 'POST', path, body: 'cmd=uptime&summary=x' } as const;
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const answers = [];
    for (const token of [system.token(), null]) {
      const reply = await ask({ ...form, headers, token });
      answers.push([reply.status, await reply.text()]);
    }
    expect(answers).toEqual([
      [200, '{"status": "approved"}'],
      [200, 'SKIP'],
    ]);
  });

  it.each(slashed(underSystem('/events')))('%s streams what happens', async (path) => {
    const stream = await openSse(`${urlOf()}${path}?token=${system.token()}`, {});
    expect([stream.response.status, stream.response.headers.get('content-type')]).toEqual([
      200,
      'text/event-stream; charset=utf-8',
    ]);
    const id = await newTask();
    const isIt = ({ data }: { data: unknown }) => JSON.stringify(data).includes(id);
    const events = await stream.until((all) => all.some(isIt));
    stream.close();
    expect(events.find(isIt)).toEqual({
      id: undefined,
      event: undefined,
      data: {
        ...{
          type: 'task_created',
          data: expect.objectContaining({ task_id: id }),
          timestamp: expect.any(Number),
        },
        id: text,
      },
    });
  });

  it.each(slashed(underApi('/tasks/{id}/stream-logs')))('%s streams what has run', async (path) => {
    const id = await desk.newExecuted();
    const headers = { authorization: `Bearer ${system.token()}` };
    const stream = await openSse(`${urlOf()}${path.replace('{id}', id)}`, headers);
    await stream.ended;
    expect(stream.events).toEqual([
      { id: undefined, event: undefined, data: expect.objectContaining({ command: 'echo 1 passed' }) },
    ]);
  });

  it.each(slashed(['/llm/generate']))('%s streams, if it is asked to', async (path) => {
    const reply = await ask({ method: 'POST', path, body: { prompt: 'hello', stream: true } });
    expect([reply.status, reply.headers.get('content-type')]).toEqual([
      200,
      'text/event-stream; charset=utf-8',
    ]);
    expect(await reply.text()).toMatch(/^(data: .*\n)+\n[^]*\nevent: done\ndata: \[DONE\]\n\n$/);
  });

  it.each([...underSystem('/events'), ...underApi('/tasks/any/stream-logs')])(
    '%s is closed to strangers',
    async (path) => {
      expect(await answerOf(await ask({ method: 'GET', path, token: null }))).toEqual([401, missing]);
    },
  );
});

describe('/ws/terminal', () => {
  const terminalAt = (options: TerminalClientOptions = {}) =>
    openTerminal(system, { url: urlOf(), ...options });

  it('is ready, shows what the shell writes, and takes frames and raw text as input', async () => {
    const terminal = terminalAt({ query: { mode: 'of-another-version', forward_param: 'x' } });
    expect(await terminal.ready).toEqual({
      type: 'ready',
      data: {
        ...{ session_id: expect.stringMatching(/^ws-[0-9a-f-]{36}$/), mode: 'interactive', read_only: false },
        ...{ agent_id: LOCAL_AGENT, offset: 0, resumed: false },
      },
    });
    terminal.send({ type: 'input', data: 'echo $((40+2))-framed\n' });
    await terminal.until('42-framed');
    terminal.send('echo $((40+2))-raw\n');
    await terminal.until('42-raw');
    const output = terminal.frames.find(({ type }) => type === 'output');
    expect(output).toEqual({ type: 'output', data: { chunk: text, offset: expect.any(Number) } });
    terminal.send({ type: 'input', data: 'exit\n' });
    await terminal.closed;
  });

  it('shows the log of terminals to who reads', async () => {
    const terminal = terminalAt({ query: { mode: 'read', token: 'nonsense' } });
    expect(await terminal.ready).toEqual({
      type: 'ready',
      data: { session_id: text, mode: 'read', read_only: true },
    });
    await terminal.until('session_open');
    const [line = ''] = terminal.output().toString().split('\n');
    expect(JSON.parse(line)).toMatchObject({
      ...{ timestamp: expect.any(Number), timestamp_iso: text, session_id: text, event: 'session_open' },
      ...{ mode: 'interactive', principal: 'admin', forward_param: 'x', remote_addr: text },
    });
    await terminal.close();
  });

  it.each([
    ['a stranger', () => null, 'unauthorized'],
    ['a token that is no good, whatever the query says', () => 'nonsense', 'unauthorized'],
    ['who is no administrator', () => tokens.operator, 'forbidden'],
  ])('tells %s in a frame, and closes', async (_who, token, message) => {
    const given = token();
    // The header goes before the query.
    const query: Record<string, string> = given === null ? {} : { token: system.token() };
    const terminal = terminalAt({ token: given, query });
    await terminal.closed;
    expect(terminal.frames).toEqual([{ type: 'error', data: { message } }]);
  });
});

it('a callback_url hears of every status, with its token', async () => {
  const receiver = await startWebhookReceiver();
  const id = await newTask({ callback_url: receiver.url, callback_token: 'of-the-callback' });
  await make('POST', `/tasks/${id}/assign`, { agent_url: LOCAL_AGENT });
  await make('POST', `/tasks/${id}/step/execute`, { command: 'echo 1 passed' });
  const bodies = await system.until(
    async () => receiver.accepted<{ status: string }>(),
    (all) => all.some(({ status }) => status === 'completed'),
    'the callback',
    40_000,
  );
  const ended = bodies.find(({ status }) => status === 'completed');
  expect(ended).toEqual({
    ...{ id, status: 'completed', parent_task_id: null, last_output: '1 passed\n', last_exit_code: 0 },
  });
  expect(bodies.map(({ status }) => status)).toContain('assigned');
  for (const { headers } of receiver.taken) expect(headers.authorization).toBe('Bearer of-the-callback');
  await receiver.close();
}, 60_000);

describe('how often a route may be called', () => {
  let url: string;
  beforeAll(async () => {
    system.env.RATE_LIMIT = 'on';
    ({ url } = await system.openApi());
  });

  // Refused requests are counted as well, and cost nothing.
  it.each([
    ['POST /tasks', '/tasks', 20, 401],
    ['POST /register', '/register', 20, 422],
    ['POST /api/system/csp-report', '/api/system/csp-report', 10, 422],
    ['POST /api/sgpt/execute', '/api/sgpt/execute', 5, 400],
  ])('%s: %s, %i times a minute', async (_route, path, calls, status) => {
    const token = status === 401 ? null : tokens.user;
    const post = () => ask({ method: 'POST', url, path, token, body: {} });
    for (let call = 1; call <= calls; call++) expect((await post()).status).toBe(status);
    const reply = await post();
    expect(reply.headers.get('retry-after')).toMatch(/^\d+$/);
    expect(await answerOf(reply)).toEqual([429, failure('rate_limited')]);
  });
});

describe('the shared token', () => {
  it.each(underSystem('/rotate-token').flatMap((path) => [path, `${path}/`]))(
    'is replaced by administrators at %s',
    async (path) => {
      const post = { method: 'POST', path } as const;
      expect(await answerOf(await ask({ ...post, token: null }))).toEqual([401, missing]);
      expect(await answerOf(await ask({ ...post, token: tokens.operator }))).toEqual([403, forbidden]);
      const [status, body] = await answerOf(await ask(post));
      expect([status, body]).toEqual([
        200,
        { status: 'success', data: { status: 'rotated', new_token: text } },
      ]);
      const { new_token: token } = body.data as { new_token: string };
      expect((await ask({ method: 'GET', path: '/tasks', token })).status).toBe(200);
      const old = await ask({ method: 'GET', path: '/tasks', token: SHARED_TOKEN });
      expect(await answerOf(old)).toEqual([401, invalid]);
    },
  );
});

it('no route of the family is left out', async () => {
  const document = (await (await fetch(`${urlOf()}/openapi.json`)).json()) as OpenApiDocument;
  const isOurs = ({ path, method }: { path: string; method: string }) => {
    const tags: unknown = document.paths[path]?.[method.toLowerCase()]?.tags;
    return Array.isArray(tags) && tags.some((tag) => String(tag).startsWith('ananta'));
  };
  const plain = (path: string) => (path.split('?')[0] ?? '').replaceAll(/\{\w+\}/g, '{}');
  const walked = new Set([
    ...rows.flatMap(({ method, paths }) => paths.map((path) => `${method} ${plain(path)}`)),
    ...underSystem('/metrics').map((path) => `GET ${path}`),
    ...underSystem('/events').map((path) => `GET ${path}`),
    ...underSystem('/rotate-token').map((path) => `POST ${path}`),
    ...underApi('/tasks/{}/stream-logs').map((path) => `GET ${path}`),
    ...['GET /apidocs', 'POST /approve', 'POST /api/system/csp-report'],
  ]);
  const routes = routesOf(document).filter(isOurs);
  expect(routes.length).toBeGreaterThan(100);
  expect(
    routes.map(({ method, path }) => `${method} ${plain(path)}`).filter((one) => !walked.has(one)),
  ).toEqual([]);
});
