import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthenticate } from '../../api/authenticate.ts';
import { agentRoutes } from '../../api/routes/v1/agents.ts';
import { authRoutes } from '../../api/routes/v1/auth.ts';
import { userRoutes } from '../../api/routes/v1/users.ts';
import type { TokensView, UserView } from '../../contracts/auth.ts';
import type { SessionView } from '../../contracts/users.ts';
import { can } from '../../domain/policy.ts';
import { sendJson, startTestServer, type TestServer } from '../support/http.ts';
import { adminPassword, type IdentityStack, startIdentity } from '../support/identity.ts';

const PASSWORD = 'Correct-Horse-8';
const NOBODYS_ID = '01890000-0000-7000-8000-000000000000';

let stack: IdentityStack;
let server: TestServer;
let admin: TokensView;
beforeAll(async () => {
  stack = await startIdentity();
  const routes = [...authRoutes(stack.deps), ...userRoutes(stack.deps), ...agentRoutes(stack.deps)];
  server = await startTestServer({ routes, authenticate: createAuthenticate(stack.deps), can });
  admin = await logIn('admin', adminPassword);
});
afterAll(async () => {
  await server.close();
  await stack.close();
});

interface Answer {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: bodies are compared, not used
  body: any;
}

async function ask(
  method: string,
  path: string,
  body?: unknown,
  token: string | null = admin.accessToken,
  more: Record<string, string> = {},
): Promise<Answer> {
  const headers = { ...(token === null ? {} : { Authorization: `Bearer ${token}` }), ...more };
  const init = body === undefined ? { headers } : sendJson(body, headers);
  const response = await server.fetch(path, { ...init, method });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? null : JSON.parse(text) };
}

async function logIn(username: string, password = PASSWORD): Promise<TokensView> {
  const { status, body } = await ask('POST', '/v1/auth/login', { username, password }, null);
  expect(status, JSON.stringify(body)).toBe(200);
  return body;
}

async function make(username: string, more: object = {}): Promise<UserView> {
  const { status, body } = await ask('POST', '/v1/users', { username, password: PASSWORD, ...more });
  expect(status, JSON.stringify(body)).toBe(201);
  return body;
}

describe('/v1/users', () => {
  it('creates, shows, lists, changes and deletes an account', async () => {
    const made = await make('ada', { email: 'ada@example.org', displayName: ' Ada ', role: 'operator' });
    expect(made).toEqual({
      ...made,
      username: 'ada',
      email: 'ada@example.org',
      displayName: 'Ada',
      avatarUrl: null,
      role: 'operator',
      isActive: true,
      mustChangePassword: false,
      lastLoginAt: null,
    });
    const path = `/v1/users/${made.id}`;
    expect((await ask('GET', path)).body).toEqual(made);
    const listed = await ask('GET', '/v1/users?limit=1&role=operator&isActive=true');
    expect(listed.body).toEqual({ items: [made], nextCursor: null });
    const changed = await ask('PATCH', path, { displayName: null, email: 'ada@example.net' });
    expect(changed.body).toMatchObject({ displayName: null, email: 'ada@example.net', role: 'operator' });
    expect((await ask('PUT', `${path}/role`, { role: 'viewer' })).body).toMatchObject({ role: 'viewer' });
    expect((await ask('DELETE', path)).status).toBe(204);
    expect((await ask('GET', path)).body).toMatchObject({ status: 404, code: 'user_not_found' });
  });

  it('makes one account for one Idempotency-Key', async () => {
    const body = { username: 'twice', password: PASSWORD };
    const key = { 'Idempotency-Key': 'make-twice' };
    const [one, two] = [
      await ask('POST', '/v1/users', body, undefined, key),
      await ask('POST', '/v1/users', body, undefined, key),
    ];
    expect([one.status, two.status]).toEqual([201, 201]);
    expect(two.body.id).toBe(one.body.id);
    expect((await ask('POST', '/v1/users', { ...body, role: 'admin' }, undefined, key)).body).toMatchObject({
      code: 'idempotency_conflict',
    });
    const other = { ...body, password: 'Another-Horse-1' };
    expect((await ask('POST', '/v1/users', other, undefined, key)).body).toMatchObject({
      code: 'idempotency_conflict',
    });
    const reset = `/v1/users/${one.body.id}/reset-password`;
    const again = { 'Idempotency-Key': 'reset-twice' };
    expect((await ask('POST', reset, {}, undefined, again)).status).toBe(200);
    expect((await ask('POST', reset, {}, undefined, again)).body).toMatchObject({ code: 'conflict' });
  });

  it.each([
    ['POST', '/v1/users', { username: 'ADMIN', password: PASSWORD }, 409, 'user_exists'],
    [
      'POST',
      '/v1/users',
      { username: 'x1', email: 'ADMIN@example.org', password: PASSWORD },
      409,
      'email_exists',
    ],
    ['POST', '/v1/users', { username: 'x1', password: 'password1' }, 422, 'password_refused'],
    ['POST', '/v1/users', { username: 'x1', password: PASSWORD, role: 'system' }, 422, 'validation_failed'],
    ['GET', '/v1/users?cursor=x', undefined, 422, 'invalid_cursor'],
    ['GET', '/v1/users/me', undefined, 422, 'validation_failed'],
    ['GET', `/v1/users/${NOBODYS_ID}`, undefined, 404, 'user_not_found'],
    ['PATCH', `/v1/users/${NOBODYS_ID}`, { isActive: false }, 404, 'user_not_found'],
    ['PUT', `/v1/users/${NOBODYS_ID}/role`, { role: 'admin' }, 404, 'user_not_found'],
    ['POST', `/v1/users/${NOBODYS_ID}/reset-password`, {}, 404, 'user_not_found'],
    ['DELETE', `/v1/users/${NOBODYS_ID}`, undefined, 404, 'user_not_found'],
    ['DELETE', `/v1/auth/sessions/${NOBODYS_ID}`, undefined, 404, 'session_not_found'],
    [
      'POST',
      '/v1/auth/password',
      { oldPassword: 'x', newPassword: 'Another-Horse-1' },
      401,
      'invalid_credentials',
    ],
    ['POST', '/v1/auth/password', { oldPassword: 'x', newPassword: 'x'.repeat(73) }, 422, 'password_refused'],
  ])('%s %s %j is %i %s', async (method, path, body, status, code) => {
    const answer = await ask(method, path, body);
    expect(answer.body).toMatchObject({ status, code });
    expect(answer.status).toBe(status);
  });

  it('keeps the last administrator', async () => {
    const path = `/v1/users/${admin.user.id}`;
    for (const [method, target, body] of [
      ['DELETE', path, undefined],
      ['PATCH', path, { isActive: false }],
      ['PUT', `${path}/role`, { role: 'viewer' }],
    ] as const) {
      expect((await ask(method, target, body)).body).toMatchObject({ status: 409, code: 'conflict' });
    }
  });
});

describe('mass assignment', () => {
  const extras = [
    { id: NOBODYS_ID },
    { role: 'admin' },
    { isAdmin: true },
    { is_active: true },
    { mustChangePassword: false },
    { passwordHash: '$2b$04$x' },
    { lockedUntil: null },
    { canonicalName: 'admin' },
    { createdAt: '2020-01-01T00:00:00Z' },
  ];
  const writes: [method: string, path: () => string, body: object, allowed: readonly string[]][] = [
    ['POST', () => '/v1/auth/register', { username: 'mass', password: PASSWORD }, []],
    ['POST', () => '/v1/users', { username: 'mass', password: PASSWORD }, ['role', 'mustChangePassword']],
    ['PATCH', () => `/v1/users/${admin.user.id}`, { displayName: 'M' }, []],
    ['PATCH', () => '/v1/auth/me', { displayName: 'M' }, []],
    ['PUT', () => `/v1/users/${admin.user.id}/role`, { role: 'admin' }, ['role']],
    ['POST', () => `/v1/users/${admin.user.id}/reset-password`, { newPassword: 'Mass-Horse-1' }, []],
    ['POST', () => '/v1/auth/password', { oldPassword: PASSWORD, newPassword: 'Mass-Horse-1' }, []],
  ];
  it.each(writes)('%s %s refuses what it does not name', async (method, path, body, allowed) => {
    const before = await stack.db('users').where({ id: admin.user.id }).first();
    for (const extra of extras) {
      const [name = ''] = Object.keys(extra);
      if (allowed.includes(name)) continue;
      const answer = await ask(method, path(), { ...body, ...extra });
      expect([name, answer.status, answer.body.code]).toEqual([name, 422, 'validation_failed']);
    }
    for (const text of ['{"__proto__":{"role":"admin"}}', '{"constructor":{"prototype":{}}}']) {
      expect((await ask(method, path(), text)).status).toBe(400);
    }
    expect(await stack.db('users').where({ id: admin.user.id }).first()).toEqual(before);
    expect(await stack.db('users').where({ canonical_name: 'mass' })).toEqual([]);
  });

  it.each(['javascript:alert(1)', 'data:text/html,x', 'file:///etc/passwd', '//host/x', 'x'.repeat(3000)])(
    'a picture is not at %s',
    async (avatarUrl) => {
      expect((await ask('PATCH', '/v1/auth/me', { avatarUrl })).status).toBe(422);
    },
  );
});

describe('/v1/auth', () => {
  it('registers a user with a session and nothing more than the role `user`', async () => {
    const body = { username: 'newcomer', email: 'newcomer@example.org', password: PASSWORD };
    const { status, headers, body: tokens } = await ask('POST', '/v1/auth/register', body, null);
    expect(status).toBe(201);
    expect(headers.get('cache-control')).toBe('no-store');
    expect(tokens).toMatchObject({ tokenType: 'Bearer', expiresIn: 900, user: { role: 'user' } });
    expect((await ask('GET', '/v1/auth/me', undefined, tokens.accessToken)).body).toEqual(tokens.user);
    expect((await ask('GET', '/v1/users', undefined, tokens.accessToken)).status).toBe(403);
    expect((await ask('GET', `/v1/users/${admin.user.id}`, undefined, tokens.accessToken)).status).toBe(404);
    const own = await ask('GET', `/v1/users/${tokens.user.id}`, undefined, tokens.accessToken);
    expect(own.body).toEqual(tokens.user);
    const renamed = await ask(
      'PATCH',
      '/v1/auth/me',
      { displayName: 'N', avatarUrl: 'https://x.org/n.png' },
      tokens.accessToken,
    );
    expect(renamed.body).toMatchObject({ displayName: 'N', avatarUrl: 'https://x.org/n.png', role: 'user' });
    expect((await ask('POST', '/v1/auth/register', body, null)).body).toMatchObject({ code: 'user_exists' });
  });

  it('registers nobody where registration is closed', async () => {
    const deps = { ...stack.deps, identity: { ...stack.deps.identity, registration: 'off' as const } };
    const closed = await startTestServer({
      routes: userRoutes(deps),
      authenticate: createAuthenticate(deps),
      can,
    });
    try {
      const body = { username: 'late', password: PASSWORD };
      const response = await closed.fetch('/v1/auth/register', sendJson(body, {}));
      expect(await response.json()).toMatchObject({ status: 403, code: 'registration_closed' });
    } finally {
      await closed.close();
    }
  });

  it('changes a password: this session stays, the others are out at once', async () => {
    await make('changer');
    const [one, two] = [await logIn('changer'), await logIn('changer')];
    const body = { oldPassword: PASSWORD, newPassword: 'Another-Horse-1' };
    expect((await ask('POST', '/v1/auth/password', body, one.accessToken)).status).toBe(204);
    expect((await ask('GET', '/v1/auth/me', undefined, one.accessToken)).status).toBe(200);
    expect((await ask('GET', '/v1/auth/me', undefined, two.accessToken)).status).toBe(401);
    expect((await ask('POST', '/v1/auth/refresh', { refreshToken: two.refreshToken }, null)).status).toBe(
      401,
    );
    expect((await ask('POST', '/v1/auth/refresh', { refreshToken: one.refreshToken }, null)).status).toBe(
      200,
    );
  });

  it('lists and ends sessions', async () => {
    await make('sitter');
    const [one, two, three] = [await logIn('sitter'), await logIn('sitter'), await logIn('sitter')];
    const listed = await ask('GET', '/v1/auth/sessions', undefined, two.accessToken);
    const items: SessionView[] = listed.body.items;
    expect(items.map((session) => session.isCurrent)).toEqual([false, true, false]);
    expect(items[0]).toMatchObject({ family: 'house', address: expect.any(String) });
    const oldest = items[2]?.id ?? '';
    // Not by somebody else, an administrator neither: theirs is the account.
    expect((await ask('DELETE', `/v1/auth/sessions/${oldest}`)).status).toBe(404);
    expect((await ask('DELETE', `/v1/auth/sessions/${oldest}`, undefined, two.accessToken)).status).toBe(204);
    expect((await ask('GET', '/v1/auth/me', undefined, one.accessToken)).status).toBe(401);
    const rest = await ask('DELETE', '/v1/auth/sessions', undefined, two.accessToken);
    expect(rest.body).toEqual({ ended: 1 });
    expect((await ask('GET', '/v1/auth/me', undefined, three.accessToken)).status).toBe(401);
    expect((await ask('GET', '/v1/auth/me', undefined, two.accessToken)).status).toBe(200);
  });

  it('lets an account with a reset password look at itself, change it and log out, and no more', async () => {
    const { id } = await make('forgetful', { role: 'admin' });
    const reset = await ask('POST', `/v1/users/${id}/reset-password`, {});
    expect(reset.headers.get('cache-control')).toBe('no-store');
    const { generatedPassword } = reset.body;
    const { accessToken, user } = await logIn('forgetful', generatedPassword);
    expect(user.mustChangePassword).toBe(true);
    for (const [method, path, body] of [
      ['GET', '/v1/users', undefined],
      ['GET', `/v1/users/${id}`, undefined],
      ['POST', '/v1/users', { username: 'x1', password: PASSWORD }],
      ['PATCH', '/v1/auth/me', { displayName: 'x' }],
      ['GET', '/v1/auth/sessions', undefined],
      ['GET', '/v1/agents', undefined],
      ['POST', '/v1/agents/enrolments', {}],
    ] as const) {
      const answer = await ask(method, path, body, accessToken);
      expect([path, answer.status, answer.body.code]).toEqual([path, 403, 'password_change_required']);
    }
    expect((await ask('GET', '/v1/auth/me', undefined, accessToken)).status).toBe(200);
    const change = { oldPassword: generatedPassword, newPassword: 'My-Own-Horse-1' };
    expect((await ask('POST', '/v1/auth/password', change, accessToken)).status).toBe(204);
    expect((await ask('GET', '/v1/agents', undefined, accessToken)).status).toBe(200);
    expect((await ask('POST', '/v1/auth/logout', undefined, accessToken)).status).toBe(204);
    await ask('DELETE', `/v1/users/${id}`);
  });

  it('locks an account whose password is guessed through an open session', async () => {
    await make('guessed');
    const { accessToken } = await logIn('guessed');
    const guess = (oldPassword: string) =>
      ask('POST', '/v1/auth/password', { oldPassword, newPassword: 'Taken-Horse-1' }, accessToken);
    const answers = await Promise.all(Array.from({ length: 8 }, (_, index) => guess(`guess-${index}`)));
    expect(answers.every(({ status }) => status === 401 || status === 403 || status === 429)).toBe(true);
    expect((await guess(PASSWORD)).status).not.toBe(204);
    const login = await ask('POST', '/v1/auth/login', { username: 'GUESSED', password: PASSWORD }, null);
    expect(login.status).not.toBe(200);
  });
});
