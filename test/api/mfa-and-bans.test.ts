/** `/v1/auth/mfa`, `/v1/bans` and the lock-out over HTTP: shapes, statuses, who may, and what bodies may not hold. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthenticate } from '../../api/authenticate.ts';
import { authRoutes } from '../../api/routes/v1/auth.ts';
import { banRoutes } from '../../api/routes/v1/bans.ts';
import { mfaRoutes } from '../../api/routes/v1/mfa.ts';
import type { TokensView } from '../../contracts/auth.ts';
import { can } from '../../domain/policy.ts';
import { sendJson, startTestServer, type TestServer } from '../support/http.ts';
import { adminPassword, type IdentityStack, startIdentity } from '../support/identity.ts';
import {
  addAccount,
  freshAddress,
  totpToken,
  userPassword,
  wrongTotpToken,
} from '../support/second-factor.ts';

let stack: IdentityStack;
let server: TestServer;
let admin: string;
let userId: string;

beforeAll(async () => {
  stack = await startIdentity();
  const { deps } = stack;
  server = await startTestServer({
    routes: [...authRoutes(deps), ...mfaRoutes(deps), ...banRoutes(deps)],
    authenticate: createAuthenticate(deps),
    can,
    options: { trustProxyHops: 1 },
  });
  userId = await addAccount(stack, 'ada');
  admin = (await logIn({ username: 'admin', password: adminPassword })).body.accessToken;
});
afterAll(async () => {
  await server.close();
  await stack.close();
});

interface Answer<Body> {
  status: number;
  headers: Headers;
  body: Body;
}

async function ask<Body = Record<string, unknown>>(
  method: string,
  path: string,
  { token, body, address = freshAddress() }: { token?: string; body?: unknown; address?: string } = {},
): Promise<Answer<Body>> {
  const headers = {
    'X-Forwarded-For': address,
    ...(token !== undefined && { Authorization: `Bearer ${token}` }),
  };
  const init = body === undefined ? { headers } : sendJson(body, headers);
  const response = await server.fetch(path, { ...init, method });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: text === '' ? undefined : JSON.parse(text),
  };
}

const logIn = (body: object, address?: string) =>
  ask<TokensView & { code: string; detail: string }>('POST', '/v1/auth/login', {
    body,
    ...(address !== undefined && { address }),
  });
const ada = { username: 'ada', password: userPassword };

it('a second factor from its set-up to its end', async () => {
  const { accessToken: token } = (await logIn(ada)).body;
  expect((await ask('GET', '/v1/auth/mfa', { token })).body).toEqual({
    isEnabled: false,
    backupCodesLeft: 0,
  });
  const setup = await ask<{ secret: string; otpauthUrl: string; qrCode: string }>(
    'POST',
    '/v1/auth/mfa/setup',
    { token },
  );
  expect(setup.status).toBe(200);
  expect(setup.headers.get('cache-control')).toBe('no-store');
  expect(Object.keys(setup.body).sort()).toEqual(['otpauthUrl', 'qrCode', 'secret']);
  const { secret } = setup.body;

  const wrong = await ask('POST', '/v1/auth/mfa/verify', { token, body: { token: wrongTotpToken(secret) } });
  expect([wrong.status, wrong.body.code]).toEqual([401, 'mfa_token_invalid']);
  const verified = await ask<{ backupCodes: string[] }>('POST', '/v1/auth/mfa/verify', {
    token,
    body: { token: totpToken(secret) },
  });
  expect(verified.status).toBe(200);
  expect(verified.headers.get('cache-control')).toBe('no-store');
  const [code, spare, last] = verified.body.backupCodes;

  const asked = await logIn(ada);
  expect([asked.status, asked.body.code]).toEqual([401, 'mfa_required']);
  expect(asked.headers.get('www-authenticate')).toBe('Bearer');
  const refused = await logIn({ ...ada, mfaToken: wrongTotpToken(secret) });
  expect([refused.status, refused.body.code]).toEqual([401, 'mfa_token_invalid']);
  const opened = await logIn({ ...ada, mfaToken: code });
  expect(opened.status).toBe(200);
  expect((await ask('GET', '/v1/auth/mfa', { token })).body).toEqual({ isEnabled: true, backupCodesLeft: 9 });

  const bare = await ask('POST', '/v1/auth/mfa/disable', { token, body: {} });
  expect([bare.status, bare.body.code]).toEqual([401, 'mfa_required']);
  expect((await ask('POST', '/v1/auth/mfa/disable', { token, body: { token: spare } })).status).toBe(204);
  expect((await ask('GET', '/v1/auth/mfa', { token: opened.body.accessToken })).status).toBe(401);
  expect((await logIn(ada)).status).toBe(200);
  expect((await logIn({ ...ada, mfaToken: last })).status).toBe(200);
  expect(JSON.stringify(server.lines)).not.toContain(secret);
  expect(JSON.stringify(server.lines)).not.toContain(spare);
});

it('an administrator takes a lost second factor away', async () => {
  const id = await addAccount(stack, 'bob');
  const { accessToken: token } = (await logIn({ username: 'bob', password: userPassword })).body;
  const setup = await ask<{ secret: string }>('POST', '/v1/auth/mfa/setup', { token });
  await ask('POST', '/v1/auth/mfa/verify', { token, body: { token: totpToken(setup.body.secret) } });
  expect((await ask('DELETE', `/v1/users/${id}/mfa`, { token })).status).toBe(403);
  expect((await ask('DELETE', `/v1/users/${id}/mfa`, { token: admin })).status).toBe(204);
  expect((await ask('GET', '/v1/auth/mfa', { token })).status).toBe(401);
  expect((await logIn({ username: 'bob', password: userPassword })).status).toBe(200);
  const missing = await ask('DELETE', '/v1/users/01890000-0000-7000-8000-000000000000/mfa', { token: admin });
  expect([missing.status, missing.body.code]).toEqual([404, 'user_not_found']);
});

it('a locked account says for how long, and an administrator unlocks it', async () => {
  const id = await addAccount(stack, 'carl');
  const carl = { username: 'carl', password: userPassword };
  for (let i = 0; i < 5; i++) expect((await logIn({ ...carl, password: 'wrong' })).status).toBe(401);
  const locked = await logIn(carl);
  expect([locked.status, locked.body.code]).toEqual([403, 'account_locked']);
  expect(locked.body.detail).toMatch(/^Account is locked\. Please try again in (899|900) seconds\.$/);
  expect(Number(locked.headers.get('retry-after'))).toBeGreaterThan(890);
  const { accessToken: user } = (await logIn(ada)).body;
  expect((await ask('POST', `/v1/users/${id}/unlock`, { token: user })).status).toBe(403);
  expect((await ask('POST', `/v1/users/${id}/unlock`, { token: admin })).status).toBe(204);
  expect((await logIn(carl)).status).toBe(200);
});

it('a banned address is listed and lifted', async () => {
  for (const network of ['192.0.2.200', '2001:db8:a:b::/64']) {
    await stack.db('banned_addresses').insert({
      network,
      failures: 50,
      expires_at: stack.db.raw("now() + interval '1 hour'"),
    });
  }
  const banned = await logIn(ada, '192.0.2.200');
  expect([banned.status, banned.body.code]).toEqual([429, 'address_banned']);
  expect(Number(banned.headers.get('retry-after'))).toBeGreaterThan(3_500);
  expect((await logIn(ada, '2001:db8:a:b:1::1')).status).toBe(429);
  const refresh = await ask('POST', '/v1/auth/refresh', {
    body: { refreshToken: 'x' },
    address: '192.0.2.200',
  });
  expect([refresh.status, refresh.body.code]).toEqual([429, 'address_banned']);

  const list = await ask<{ items: object[] }>('GET', '/v1/bans', { token: admin });
  const facts = { failures: 50, bannedAt: expect.any(String), expiresAt: expect.any(String) };
  expect(list.body).toEqual({
    items: expect.arrayContaining([
      { address: '192.0.2.200', prefixLength: 32, ...facts },
      { address: '2001:db8:a:b::', prefixLength: 64, ...facts },
    ]),
    nextCursor: null,
  });
  const { accessToken: user } = (await logIn(ada)).body;
  expect((await ask('GET', '/v1/bans', { token: user })).status).toBe(403);
  expect((await ask('DELETE', '/v1/bans/192.0.2.200', { token: user })).status).toBe(403);
  expect((await ask('DELETE', '/v1/bans/192.0.2.200', { token: admin })).status).toBe(204);
  expect((await ask('DELETE', '/v1/bans/2001:db8:a:b::', { token: admin })).status).toBe(204);
  expect((await logIn(ada, '192.0.2.200')).status).toBe(200);
  const again = await ask('DELETE', '/v1/bans/192.0.2.200', { token: admin });
  expect([again.status, again.body.code]).toEqual([404, 'ban_not_found']);
  const cursor = await ask('GET', '/v1/bans?cursor=x', { token: admin });
  expect([cursor.status, cursor.body.code]).toEqual([422, 'invalid_cursor']);
});

describe('a body with more than it may hold', () => {
  it.each([
    ['/v1/auth/login', { ...ada, role: 'admin' }],
    ['/v1/auth/login', { ...ada, mfaToken: '' }],
    ['/v1/auth/login', { ...ada, mfaToken: 'x'.repeat(65) }],
    ['/v1/auth/login', { ...ada, mfaToken: 123_456 }],
    ['/v1/auth/mfa/verify', {}],
    ['/v1/auth/mfa/verify', { token: '000000', userId: 'x' }],
    ['/v1/auth/mfa/verify', { token: '000000', secret: 'A'.repeat(32) }],
    ['/v1/auth/mfa/disable', { password: userPassword, userId: 'x' }],
    ['/v1/auth/mfa/disable', []],
  ])('%s refuses %j', async (path, body) => {
    const { accessToken: token } = (await logIn(ada)).body;
    const answer = await ask('POST', path, { token, body });
    expect([answer.status, answer.body.code]).toEqual([422, 'validation_failed']);
  });

  it('has no effect on the routes that take none', async () => {
    const { accessToken: token } = (await logIn(ada)).body;
    const body = { secret: 'A'.repeat(32), enabledAt: '2020-01-01T00:00:00Z' };
    await ask('POST', '/v1/auth/mfa/setup', { token, body });
    const rows = await stack.db('user_mfa').where({ user_id: userId });
    expect(rows.filter((row) => row.enabled_at !== null)).toEqual([]);
  });
});
