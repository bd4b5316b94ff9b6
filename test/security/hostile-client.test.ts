/** Requests that are made to confuse parsers, logs, queries and other readers; and what the system says of itself. */
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOpenStreams, MAX_STREAMS_OF_PRINCIPAL } from '../../api/open-streams.ts';
import type { AgentView } from '../../contracts/agents.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { createLogger, formatPretty } from '../../log.ts';
import { openSse } from '../support/event-streams.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';

let system: System;
beforeAll(async () => {
  system = await startSystem({
    worker: false,
    env: { AGENT_TOKEN, BACKEND_CORS_ORIGINS: 'https://console.example' },
  });
});
afterAll(() => system.close());

/** Sends bytes as they are and reads until the server closes. */
function speak(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const { port, hostname } = new URL(system.url);
    const socket = connect(Number(port), hostname, () => socket.write(bytes));
    let text = '';
    socket.setTimeout(5_000, () => socket.destroy());
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('close', () => resolve(text));
    socket.on('error', reject);
  });
}
const statusesOf = (text: string): number[] =>
  [...text.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status]) => Number(status));
const head = (line: string, ...headers: string[]): string =>
  `${[line, 'Host: a', `Authorization: Bearer ${system.token()}`, ...headers].join('\r\n')}\r\n\r\n`;

describe('a path', () => {
  it.each([
    '/v1//tasks',
    '//v1/tasks',
    '/v1/./tasks',
    '/v1/x/../tasks',
    '/v1/%2e%2e/v1/tasks',
    '/V1/tasks',
    '/v1/Tasks',
    '/v1%2ftasks',
    '/v1/tasks%2f',
    '/v1/tasks;x=1',
    '/v1\\tasks',
    '/docs/..%2f..%2fpackage.json',
    '/docs/%2e%2e%2fpackage.json',
    '/docs/__proto__',
    '/docs/constructor',
  ])('%s is no other spelling of a route', async (path) => {
    const statuses = statusesOf(await speak(head(`GET ${path} HTTP/1.1`, 'Connection: close')));
    expect(statuses).toHaveLength(1);
    expect([400, 404]).toContain(statuses[0]);
  });

  it('that is no text is refused without a stack', async () => {
    for (const path of ['/v1/tasks/%', '/v1/tasks/%ff', '/v1/tasks/%00', '/v1/tasks/%0d%0aX-Evil:%201']) {
      const answer = await speak(head(`GET ${path} HTTP/1.1`, 'Connection: close'));
      expect([400, 404, 422], path).toContain(statusesOf(answer)[0]);
      expect(answer).not.toMatch(/^X-Evil/im);
      expect(answer).not.toMatch(/node_modules|\.ts:\d|select |Error:/);
    }
  });
});

describe('smuggling', () => {
  it.each([
    ['two lengths', ['Content-Length: 2', 'Content-Length: 40']],
    ['length and chunks', ['Content-Length: 2', 'Transfer-Encoding: chunked']],
    ['chunks in another spelling', ['Transfer-Encoding: xchunked', 'Content-Length: 2']],
    ['a length with a sign', ['Content-Length: +2']],
    ['a header with a blank before the colon', ['Content-Length : 2']],
    ['a folded header', ['X-A: b\r\n c: d']],
  ])('%s: at most one answer, and none of a smuggled request', async (_name, headers) => {
    const smuggled = head('GET /v1/auth/me HTTP/1.1', 'Connection: close');
    const text = head('POST /v1/auth/login HTTP/1.1', 'Content-Type: application/json', ...headers);
    const answer = await speak(`${text}{}${smuggled}`);
    expect(statusesOf(answer).filter((status) => status === 200)).toEqual([]);
  });

  it('a request without a host is refused', async () => {
    expect(statusesOf(await speak('GET /livez HTTP/1.1\r\n\r\n'))).toEqual([400]);
  });
});

describe('text that means something to somebody else', () => {
  const quotes = [
    `x' or '1'='1`,
    `x'); drop table tasks; --`,
    '$1 :id ?',
    '%_\\',
    '"; select pg_sleep(9); --',
  ];

  it('is a value to the database, wherever it stands', async () => {
    for (const text of quotes) {
      const encoded = encodeURIComponent(text);
      for (const path of [
        `/v1/tasks/${encoded}`,
        `/v1/tasks?agentId=${encoded}`,
        `/v1/tasks?cursor=${encoded}`,
        `/v1/commands?taskId=${encoded}`,
        `/v1/commands/${encoded}`,
        `/v1/agents/${encoded}`,
        `/v1/agents?tag=${encoded}`,
        `/v1/batches/${encoded}`,
        `/v1/events?lastEventId=${encoded}`,
      ]) {
        const { status, body } = await system.request<object>('GET', path);
        expect([path, status < 500], JSON.stringify(body)).toEqual([path, true]);
        expect(JSON.stringify(body)).not.toMatch(/syntax error|SQLSTATE|relation|node_modules/);
      }
      const task = await system.call<TaskView>('POST', '/v1/tasks', { goal: text, title: text });
      expect(task).toMatchObject({ goal: text.trim(), title: text.trim() });
      const { body } = await system.request<{ items?: unknown[] }>('GET', `/v1/commands?taskId=${encoded}`);
      expect(body.items ?? []).toEqual([]);
    }
    for (const username of quotes) {
      expect((await system.request('POST', '/v1/auth/login', { username, password: 'x' })).status).toBe(401);
    }
  });

  it('cursors that were made up are refused, not run', async () => {
    for (const cursor of [
      { at: "now'", id: 'x' },
      { at: 1, id: 2 },
      ['a'],
      'x',
      { at: '2020-01-01', id: "' --" },
    ]) {
      const encoded = Buffer.from(JSON.stringify(cursor)).toString('base64url');
      for (const path of ['/v1/tasks', '/v1/commands', '/v1/agents', '/v1/agents/enrolments']) {
        const { status } = await system.request('GET', `${path}?cursor=${encoded}`);
        expect([path, [400, 422].includes(status)], String(status)).toEqual([path, true]);
      }
    }
  });

  it('starts no second event in a stream', async () => {
    const stream = await openSse(`${system.url}/v1/events`, { Authorization: `Bearer ${system.token()}` });
    await stream.until((events) => events.length > 0);
    const title = 'x\n\nevent: ready\ndata: {"cursor":"1.1"}\r\rid: 9\u2028\n\n';
    const task = await system.call<TaskView>('POST', '/v1/tasks', { goal: title, title: `a${title}b` });
    await stream.until((events) => JSON.stringify(events).includes(task.id));
    expect(stream.events.filter(({ event }) => event === 'ready')).toHaveLength(1);
    expect(stream.events.map(({ id }) => id)).not.toContain('9');
    stream.close();
  });

  it('in a header that is echoed is not taken', async () => {
    for (const id of ['a b', 'x'.repeat(200), '<script>', 'a"b', '%0d%0a']) {
      const reply = await system.request('GET', '/livez', undefined, { headers: { 'x-request-id': id } });
      expect(reply.headers.get('x-request-id')).not.toBe(id);
    }
  });

  it('in what a machine says of itself is made plain before it is stored', async () => {
    const { enrolmentToken } = await system.call<{ enrolmentToken: string }>(
      'POST',
      '/v1/agents/enrolments',
      {},
    );
    const hostname = 'h\u001b[2J\u202eost\u200b\r\nx';
    const body = { enrolmentToken, hostname, os: '\u001b]0;x\u0007', agentId: 'odd' };
    await system.call('POST', '/v1/agents/enrol', body);
    const agent = await system.call<AgentView>('GET', '/v1/agents/odd');
    expect(`${agent.hostname}${agent.os}`).not.toMatch(/[\p{C}]/u);
    const [row] = await deskOf(system).sql<{ details: object; principal_name: string }>(
      `select details, principal_name from audit_events where action = 'agent.enrol' and target_id = 'odd'`,
    );
    expect(JSON.stringify(row)).not.toMatch(/\\u001b|\\r|\u202e/);
  });
});

describe('a body', () => {
  const send = (body: string, type = 'application/json') =>
    fetch(`${system.url}/v1/tasks`, {
      method: 'POST',
      body,
      headers: { authorization: `Bearer ${system.token()}`, 'content-type': type },
    });

  it.each([
    ['reaches for prototypes', '{"goal":"x","__proto__":{"mode":"auto"}}'],
    ['reaches for prototypes in disguise', '{"goal":"x","\\u005f_proto__":{"mode":"auto"}}'],
    ['reaches for constructors', '{"goal":"x","constructor":{"prototype":{"admin":true}}}'],
    ['has a key twice', '{"goal":"x","goal":"y"}'],
    ['has a key twice in two spellings', '{"goal":"x","g\\u006fal":"y"}'],
    ['is deep', `{"goal":${'['.repeat(20_000)}${']'.repeat(20_000)}}`],
    ['holds NUL', '{"goal":"a\\u0000b"}'],
    ['is no JSON', '{goal: 1}'],
  ])('that %s is refused', async (_name, body) => {
    expect((await send(body)).status).toBe(400);
  });

  it('of another type, or that claims more fields, is refused', async () => {
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data',
      '',
      'application/jsonp',
    ]) {
      expect((await send('{"goal":"x"}', type)).status, type).toBe(415);
    }
    expect((await send('{"goal":"x","creatorId":"somebody"}')).status).toBe(422);
    expect((await send(`{"goal":"${'x'.repeat(1_100_000)}"}`)).status).toBe(413);
  });
});

describe('what is public', () => {
  it('names no host, no secret, no error text', async () => {
    for (const path of [
      '/readyz',
      '/metrics',
      '/livez',
      '/health',
      '/',
      '/openapi.json',
      '/docs',
      '/redoc',
    ]) {
      const response = await fetch(`${system.url}${path}`);
      const text = await response.text();
      expect(response.status, path).toBe(200);
      for (const secret of [
        AGENT_TOKEN,
        system.env.SECRET_KEY,
        system.env.DATABASE_URL,
        'postgres://',
        process.cwd(),
        'Bearer ey',
      ]) {
        expect(text.includes(secret ?? 'never'), `${path} holds ${secret}`).toBe(false);
      }
    }
  });

  it('pages run no script but their own, and are framed by nobody', async () => {
    for (const path of ['/docs', '/redoc', '/livez']) {
      const response = await fetch(`${system.url}${path}`);
      const policy = response.headers.get('content-security-policy') ?? '';
      expect(policy).toMatch(/script-src 'self'(;|$)/);
      expect(policy).toMatch(/frame-ancestors 'none'/);
      expect(policy).not.toMatch(/script-src[^;]*unsafe/);
      expect(response.headers.get('x-content-type-options')).toBe('nosniff');
      expect(await response.text()).not.toMatch(/<script>|https?:\/\/(?!www\.w3)[a-z]+\.[a-z]+\/[^"]*\.js/);
    }
  });

  it('another origin gets no permission, the listed one gets its own', async () => {
    const originFor = async (origin: string) => {
      const response = await fetch(`${system.url}/livez`, { headers: { origin } });
      return response.headers.get('access-control-allow-origin');
    };
    expect(await originFor('https://console.example')).toBe('https://console.example');
    for (const origin of [
      'https://evil.example',
      'https://console.example.evil',
      'null',
      'http://console.example',
    ]) {
      expect((await originFor(origin)) || null, origin).toBe(null);
    }
  });
});

it('errors of ours say nothing of their inside', async () => {
  const other = await startSystem({ worker: false });
  await other.api.parts.db.raw('alter table tasks rename to hidden_tasks');
  const { status, body } = await other.request<Record<string, unknown>>('GET', '/v1/tasks');
  expect(status).toBeGreaterThanOrEqual(500);
  expect(JSON.stringify(body)).not.toMatch(/relation|hidden_tasks|select|\.ts|stack|postgres/i);
  await other.api.parts.db.raw('alter table hidden_tasks rename to tasks');
  await other.close();
});

it('no log line of all this holds a token, a password or a key', async () => {
  const { agentToken } = await system.enrol('logged');
  await fetch(`${system.url}/v1/events?token=${system.token()}&api_token=${agentToken}`);
  await fetch(`${system.url}/v1/tasks?token=${AGENT_TOKEN}&password=Correct-Horse-7`);
  await fetch(`${system.url}/v1/tasks?to%6ben=${AGENT_TOKEN}`);
  await system.until(
    async () => system.lines.length,
    (count) => count > 20,
  );
  const text = JSON.stringify(system.lines);
  const secrets = [
    system.token(),
    agentToken,
    AGENT_TOKEN,
    'Correct-Horse-7',
    system.env.SECRET_KEY ?? '',
    'str_',
    'ste_',
  ];
  for (const secret of secrets) expect(text.includes(secret), `logs hold ${secret.slice(0, 8)}…`).toBe(false);
});

it('hostile text in a log line steers no terminal', () => {
  const lines: string[] = [];
  const log = createLogger({
    name: 'api',
    format: 'pretty',
    stream: { write: (line) => void lines.push(line) },
  });
  const hostile = '\u001b[2J\u009b1m\u202e';
  const err = new Error(`the model said ${hostile}`);
  log.warn({ event: 'x', code: hostile, message: `a ${hostile}`, err });
  expect(lines.join('')).not.toMatch(/[^\P{C}\n]/u);
  expect(formatPretty(`no record ${hostile}\n`)).not.toMatch(/[^\P{C}\n]/u);
});

it('one principal holds a bounded number of streams; their places are free again when they end', () => {
  const streams = createOpenStreams({ max: 2 });
  const principal = { kind: 'user', id: 'a', name: 'a', roles: ['viewer'], sessionId: null } as const;
  const leave = streams.enter(principal);
  streams.enter(principal);
  expect(() => streams.enter(principal)).toThrow(expect.objectContaining({ code: 'rate_limited' }));
  streams.enter({ ...principal, id: 'b' });
  leave();
  leave();
  streams.enter(principal);
  expect(() => streams.enter(principal)).toThrow();
});

it('streams beyond the bound are refused by HTTP and by WebSocket, and come back', async () => {
  const token = await deskOf(system).addUser('viewer', 'many-tabs');
  const headers = { Authorization: `Bearer ${token}` };
  const open = await Promise.all(
    Array.from({ length: MAX_STREAMS_OF_PRINCIPAL }, () => openSse(`${system.url}/v1/events`, headers)),
  );
  expect(open.every(({ response }) => response.status === 200)).toBe(true);
  const refused = await fetch(`${system.url}/v1/events`, { headers });
  expect(refused.status).toBe(429);
  const upgrade = [
    'GET /v1/events HTTP/1.1',
    'Host: a',
    `Authorization: Bearer ${token}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ];
  expect(statusesOf(await speak(`${upgrade.join('\r\n')}\r\n\r\n`))).toEqual([429]);
  for (const stream of open) stream.close();
  await system.until(
    async () => {
      const again = await openSse(`${system.url}/v1/events`, headers);
      again.close();
      return again.response.status;
    },
    (status) => status === 200,
    'a place for a new stream',
  );
});
