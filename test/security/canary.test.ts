/**
 * A whole life with secrets of which every one is known, told by every dialect and by every way in which it goes wrong;
 * then none of them may stand in what was logged, in what was refused, or in any row of the database.
 */
import { createServer, type Server } from 'node:http';
import { Secret, TOTP } from 'otpauth';
import { afterAll, beforeAll, expect, it } from 'vitest';
import WebSocket from 'ws';
import { createLogger } from '../../log.ts';
import { type Canaries, createCanaries, dumpDatabase, wholeText } from '../support/canaries.ts';
import { type Reply, type RequestOptions, type System, startSystem } from '../support/system.ts';

const canaries: Canaries = createCanaries();
const secretKey = canaries.keep('SECRET_KEY', 'canary-secret-key-0123456789-abcdefghij');
const agentTokenEnv = canaries.keep('AGENT_TOKEN', 'canary-shared-agent-token-0123456789');
const settingsKey = canaries.keep(
  'SETTINGS_ENCRYPTION_KEY',
  Buffer.alloc(32, 'canary').toString('base64url'),
);
const adminPassword = canaries.keep('ADMIN_PASSWORD', 'Correct-Horse-7');
const password = canaries.keep('password of ada', 'Canary-Ada-Password-1');
const newPassword = canaries.keep('new password of ada', 'Canary-Ada-Password-2');
const modelKey = canaries.keep('key of the model', 'sk-ant-canary-model-key-0123456789');
const customSecret = canaries.keep('custom secret', 'canary-custom-setting-value');
const wrong = canaries.keep('wrong password', 'Canary-Wrong-Password-3');
const inNameField = canaries.keep('password typed as a name', 'Canary-Typed-As-A-Name-4');

let system: System;
let provider: Server;
/** Bodies and headers of everything that was refused. */
const refusals: string[] = [];

beforeAll(async () => {
  provider = await startRudeProvider();
  const address = provider.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  system = await startSystem({
    env: {
      SECRET_KEY: secretKey,
      AGENT_TOKEN: agentTokenEnv,
      SETTINGS_ENCRYPTION_KEY: settingsKey,
      ADMIN_PASSWORD: adminPassword,
      REGISTRATION: 'open',
      ANTHROPIC_BASE_URL: `http://127.0.0.1:${port}`,
    },
  });
});
afterAll(async () => {
  await system.close();
  provider.close();
});

/** A model provider that repeats in its refusal what it was sent. */
function startRudeProvider(): Promise<Server> {
  const server = createServer((request, response) => {
    const message = `bad key ${request.headers['x-api-key']} in ${JSON.stringify(request.headers)}`;
    response.writeHead(401, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ type: 'error', error: { type: 'authentication_error', message } }));
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

/** JSON (or form) request without a principal unless a token is named; refusals are kept. */
async function send<T = Record<string, unknown>>(
  method: string,
  path: string,
  body?: unknown,
  { token, headers = {} }: RequestOptions = {},
): Promise<Reply<T>> {
  const response = await fetch(`${system.url}${path}`, {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined || typeof body === 'string' ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  if (response.status >= 400) {
    refusals.push(
      `${method} ${path.split('?')[0]} ${response.status} ${text} ${JSON.stringify([...response.headers])}`,
    );
  }
  const isJson = /[/+]json\b/.test(response.headers.get('content-type') ?? '');
  return {
    status: response.status,
    headers: response.headers,
    body: (isJson ? JSON.parse(text) : text) as T,
  };
}

async function sendOk<T>(method: string, path: string, body?: unknown, options?: RequestOptions): Promise<T> {
  const reply = await send<T>(method, path, body, options);
  if (reply.status >= 300)
    throw new Error(`${method} ${path}: ${reply.status} ${JSON.stringify(reply.body)}`);
  return reply.body;
}

const json = { 'content-type': 'application/json' };
const form = { 'content-type': 'application/x-www-form-urlencoded' };

interface Tokens {
  accessToken: string;
  refreshToken: string;
}

function keepTokens(name: string, tokens: Tokens): Tokens {
  // Header and payload of a JWT are no secret by themselves, and jti and sid stand in rows.
  canaries.keep(`${name}: signature of the access token`, tokens.accessToken.split('.')[2] ?? '');
  canaries.keep(`${name}: refresh token`, tokens.refreshToken);
  return tokens;
}

async function login(name: string, body: object): Promise<Tokens> {
  return keepTokens(name, await sendOk<Tokens>('POST', '/v1/auth/login', body));
}

const totp = (secret: string, step: number): string =>
  new TOTP({ secret: Secret.fromBase32(secret) }).generate({ timestamp: Date.now() + step * 30_000 });

const openSocket = (path: string, headers: Record<string, string> = {}): Promise<void> =>
  new Promise((resolve) => {
    const socket = new WebSocket(`${system.url.replace('http', 'ws')}${path}`, { headers });
    socket.once('open', () => socket.close());
    socket.once('close', () => resolve());
    socket.on('error', () => resolve());
  });

it('a life of an account leaves no secret behind', async () => {
  const admin = system.token();
  const root = { token: admin };
  canaries.keep('the token of the admin', admin.split('.')[2] ?? '');

  // Accounts: by an administrator, by registration in two dialects.
  const ada = await sendOk<{ id: string }>(
    'POST',
    '/v1/users',
    { username: 'ada', password, role: 'admin' },
    root,
  );
  keepTokens(
    'registered',
    await sendOk('POST', '/v1/auth/register', {
      username: 'eve',
      password: canaries.keep('password of eve', 'Canary-Eve-Password-5'),
    }),
  );
  await sendOk('POST', '/api/v1/auth/register', {
    email: 'mallory@example.org',
    password: canaries.keep('password of mallory', 'Canary-Mallory-Password-6'),
    display_name: 'Mallory',
  });
  await send('POST', '/v1/auth/register', {
    username: 'weak',
    password: canaries.keep('short', 'canarycanary'),
    x: 1,
  });

  // Logins in every dialect, right and wrong.
  const session = await login('ada', { username: 'ada', password });
  const steel = await sendOk<{ access_token: string }>('POST', '/auth/login', { username: 'ada', password });
  canaries.keep('steel token', steel.access_token.split('.')[2] ?? '');
  await sendOk('POST', '/auth/login', `username=ada&password=${encodeURIComponent(password)}`, {
    headers: form,
  });
  await sendOk('POST', '/login', { username: 'ada', password });
  await sendOk('POST', '/api/v1/auth/login', { username: 'ada', password });
  expect((await send('POST', '/v1/auth/login', { username: 'ada', password: wrong })).status).toBe(401);
  expect((await send('POST', '/v1/auth/login', { username: inNameField, password: wrong })).status).toBe(401);
  expect((await send('POST', '/login', { username: 'nobody', password: wrong })).status).toBe(401);

  // The same in requests that cannot be read, or hold what nobody asked for.
  await send('POST', '/v1/auth/login', `{"username":"ada","password":"${password}"`, { headers: json });
  await send('POST', '/v1/auth/login', { username: 'ada', password: [password] });
  await send('POST', '/v1/auth/login', { username: 'ada', password, mfaToken: { a: password } });
  await send('POST', '/login', { user: 'ada', password: { is: password } });
  await send('POST', '/auth/login', `password=${password}`, { headers: form });
  await send('POST', '/api/v1/auth/login', { username: 7, password: [password] });
  await send('POST', `/v1/auth/login?password=${password}`, { username: 'ada', password: 1 });
  await send('GET', `/v1/tasks?api_token=${session.accessToken}&limit=no`);
  await send('GET', `/nowhere?access_token=${session.accessToken}&refresh_token=${session.refreshToken}`);

  // Refresh: rotated, repeated, made up.
  const second = keepTokens(
    'refreshed',
    await sendOk('POST', '/v1/auth/refresh', { refreshToken: session.refreshToken }),
  );
  await sendOk('POST', '/v1/auth/refresh', { refreshToken: session.refreshToken });
  const madeUp = canaries.keep('made up refresh token', `str_${'canary'.repeat(7)}x`);
  expect((await send('POST', '/v1/auth/refresh', { refreshToken: madeUp })).status).toBe(401);
  const own = { token: second.accessToken };

  // Credentials that are no good, in every place for one.
  const bad: Record<string, string>[] = [
    { authorization: `Bearer ${madeUp}` },
    { 'x-api-key': madeUp },
    { authorization: madeUp },
  ];
  for (const headers of bad) {
    expect((await send('GET', '/v1/tasks', undefined, { headers })).status).toBe(401);
  }
  const forged = `${second.accessToken.split('.').slice(0, 2).join('.')}.${canaries.keep('forged', 'Canary-forged-signature')}`;
  expect((await send('GET', '/v1/auth/me', undefined, { token: forged })).status).toBe(401);
  await send('GET', `/me?token=${madeUp}`);

  // The second factor.
  const mfa = await sendOk<{ secret: string; otpauthUrl: string; qrCode: string }>(
    'POST',
    '/v1/auth/mfa/setup',
    undefined,
    own,
  );
  canaries.keep('secret of the second factor', mfa.secret);
  canaries.keep('QR code of the second factor', mfa.qrCode.slice(100, 400));
  const verified = await sendOk<{ backupCodes: string[] }>(
    'POST',
    '/v1/auth/mfa/verify',
    { token: totp(mfa.secret, -1) },
    own,
  );
  verified.backupCodes.forEach((code, i) => void canaries.keep(`backup code ${i}`, code));
  expect((await send('POST', '/v1/auth/login', { username: 'ada', password })).status).toBe(401);
  await login('with a token', { username: 'ada', password, mfaToken: totp(mfa.secret, 0) });
  await login('with a backup code', { username: 'ada', password, mfaToken: verified.backupCodes[0] });
  const usedCode = { username: 'ada', password, mfaToken: verified.backupCodes[0] };
  expect((await send('POST', '/v1/auth/login', usedCode)).status).toBe(401);

  // Tickets and sockets, with good and bad credentials in the address.
  const { ticket } = await sendOk<{ ticket: string }>('POST', '/v1/auth/tickets', undefined, own);
  canaries.keep('ticket', ticket);
  await openSocket(`/v1/events?ticket=${ticket}`);
  await openSocket(`/v1/events?ticket=${ticket}`);
  const other = await sendOk<{ ticket: string }>('POST', '/v1/auth/tickets', undefined, own);
  canaries.keep('a ticket nobody used', other.ticket);
  await openSocket(`/v1/events?token=${madeUp}`);
  await openSocket('/v1/agent', { authorization: `Bearer ${madeUp}` });

  // Personal tokens.
  const made = await sendOk<{ id: string; token: string }>(
    'POST',
    '/v1/auth/tokens',
    { name: 'a program', scopes: ['read'] },
    own,
  );
  canaries.keep('personal token', made.token);
  await sendOk('GET', '/v1/tasks', undefined, { token: made.token });
  expect((await send('POST', '/v1/tasks', { goal: 'x' }, { token: made.token })).status).toBe(403);
  await sendOk('DELETE', `/v1/auth/tokens/${made.id}`, undefined, own);
  expect((await send('GET', '/v1/tasks', undefined, { token: made.token })).status).toBe(401);

  // Settings with secrets, and a provider that repeats them.
  await sendOk('PUT', '/v1/settings/config/ANTHROPIC_API_KEY', { value: modelKey }, root);
  await sendOk('PUT', '/v1/settings/custom/webhook', { value: customSecret, isSecret: true }, root);
  await send('PUT', '/v1/settings/custom/webhook', { value: [customSecret] }, root);
  await send('PUT', '/v1/settings/config/ANTHROPIC_BASE_URL', { value: customSecret }, root);
  const settings = await sendOk<unknown>('GET', '/v1/settings', undefined, root);
  const dexSettings = await sendOk<unknown>('GET', '/api/v1/settings', undefined, root);
  const test = await sendOk<unknown>('POST', '/v1/settings/model/test', undefined, root);
  await send('POST', '/api/v1/settings/chatgpt/test', undefined, root);
  refusals.push(JSON.stringify([settings, dexSettings, test]));

  // Agents: enrolment, a real agent, a used enrolment token, a new agent token.
  const enrolment = await sendOk<{ enrolmentToken: string }>('POST', '/v1/agents/enrolments', {}, root);
  canaries.keep('enrolment token', enrolment.enrolmentToken);
  const facts = { enrolmentToken: enrolment.enrolmentToken, hostname: 'h', agentId: 'canary-agent' };
  const enrolled = await sendOk<{ agentToken: string }>('POST', '/v1/agents/enrol', facts);
  canaries.keep('agent token', enrolled.agentToken);
  expect((await send('POST', '/v1/agents/enrol', { ...facts, agentId: 'another' })).status).toBe(401);
  const agent = await system.startAgent({ agentId: 'canary-agent', token: enrolled.agentToken });
  const task = await sendOk<{ id: string }>('POST', '/v1/tasks', { goal: 'count the files' }, root);
  await agent.close();

  // The shared token, before and after its rotation.
  await sendOk('GET', '/v1/tasks', undefined, { token: agentTokenEnv });
  const rotated = await sendOk<{ agentToken: string }>(
    'POST',
    '/v1/system/agent-token/rotate',
    undefined,
    root,
  );
  canaries.keep('rotated shared token', rotated.agentToken);
  expect((await send('GET', '/v1/tasks', undefined, { token: agentTokenEnv })).status).toBe(401);
  await sendOk('GET', '/v1/tasks', undefined, { token: rotated.agentToken });

  // Passwords: changed, wrong, refused, reset.
  await send('POST', '/v1/auth/password', { oldPassword: wrong, newPassword }, own);
  await send('POST', '/v1/auth/password', { oldPassword: password, newPassword: password }, own);
  await send('POST', '/v1/auth/password', { oldPassword: password, newPassword, x: password }, own);
  await sendOk('POST', '/v1/auth/password', { oldPassword: password, newPassword }, own);
  const reset = await sendOk<{ generatedPassword: string }>(
    'POST',
    `/v1/users/${ada.id}/reset-password`,
    {},
    root,
  );
  canaries.keep('generated password', reset.generatedPassword);

  // The audit trail itself, in every way it is read.
  await sendOk('POST', '/audit/analyze', undefined, root);
  const trail = await sendOk<unknown>('GET', '/v1/audit?limit=200', undefined, root);
  const logs = await sendOk<unknown>('GET', '/audit-logs?limit=500', undefined, root);
  const exported = await sendOk<unknown>('GET', '/v1/audit/export', undefined, root);
  const read = JSON.stringify([trail, logs, exported]);
  expect(canaries.findIn(read)).toEqual([]);

  // A database that fails with all of them in its bindings.
  const { db } = system.api.parts;
  for (const table of ['sessions', 'refresh_tokens', 'settings', 'tickets', 'users']) {
    await db.raw(`alter table ${table} rename to ${table}_away`);
    try {
      await send('POST', '/v1/auth/login', { username: 'eve', password: 'Canary-Eve-Password-5' });
      await send('POST', '/v1/auth/refresh', { refreshToken: second.refreshToken });
      await send('PUT', '/v1/settings/custom/webhook', { value: customSecret, isSecret: true }, root);
      await send('POST', '/v1/auth/tickets', undefined, root);
      await openSocket(`/v1/events?ticket=${other.ticket}`);
    } finally {
      await db.raw(`alter table ${table}_away rename to ${table}`);
    }
  }
  expect(refusals.filter((text) => / 50\d /.test(text)).length).toBeGreaterThan(3);
  await system.untilTask(task.id, (row) => row.endedAt !== null);
});

it('and a search finds what is there to be found', () => {
  const probe = createCanaries();
  probe.keep('one', 'a secret & "quotes" + more/==');
  for (const form of [
    'x a secret & "quotes" + more/== y',
    JSON.stringify({ a: 'a secret & "quotes" + more/==' }),
    `?a=${encodeURIComponent('a secret & "quotes" + more/==')}`,
    Buffer.from('x a secret & "quotes" + more/==').toString('hex'),
    Buffer.from('x a secret & "quotes" + more/==').toString('base64'),
    Buffer.from('{"a":"a secret & "quotes" + more/=="}').toString('base64url'),
  ]) {
    expect(probe.findIn(form), form).toEqual(['one']);
  }
  expect(probe.findIn('a secret')).toEqual([]);
});

it('not in what was refused', () => {
  expect(refusals.length).toBeGreaterThan(20);
  expect(refusals.filter((text) => canaries.findIn(text).length > 0)).toEqual([]);
});

it('not in the log, even before the logger takes out what looks like a secret', () => {
  expect(system.lines.length).toBeGreaterThan(100);
  const found = system.lines.flatMap((line) => {
    const names = canaries.findIn(wholeText(line));
    return names.length === 0 ? [] : [{ event: line.event, names, line: wholeText(line).slice(0, 600) }];
  });
  expect(found).toEqual([]);
});

it('not in the lines of the log', () => {
  const written: string[] = [];
  const log = createLogger({ name: 'api', level: 'debug', stream: { write: (line) => written.push(line) } });
  for (const { level, ...fact } of system.lines) log[level as 'info'](fact);
  expect(written).toHaveLength(system.lines.length);
  expect(canaries.findIn(written.join(''))).toEqual([]);
});

it('not in any row of the database', async () => {
  expect(canaries.names().length).toBeGreaterThan(35);
  const dump = await dumpDatabase(system.api.parts.db);
  expect(dump.size).toBeGreaterThan(20);
  expect(dump.get('public.audit_events')?.length).toBeGreaterThan(1_000);
  const found = [...dump].flatMap(([table, text]) => {
    const names = canaries.findIn(text);
    return names.length === 0 ? [] : [{ table, names }];
  });
  expect(found).toEqual([]);
});
