/** `/login`, `/me`, `/mfa`, `/users` … as clients of ananta know them: good answers and refusals, bodies and headers. */
import jwt from 'jsonwebtoken';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { signAccessToken } from '../../domain/identity/access-tokens.ts';
import {
  claimsOf,
  type FamilyAuth,
  userPassword as password,
  startFamilyAuth,
  totpOf,
} from '../support/family-auth.ts';
import { adminPassword, sharedAgentToken } from '../support/identity.ts';

let auth: FamilyAuth;
beforeAll(async () => {
  auth = await startFamilyAuth();
});
afterAll(() => auth.close());

const failure = (message: string, data?: object) => ({ status: 'error', message, ...(data && { data }) });
const success = (data: unknown) => ({ status: 'success', data });
const unauthorized = {
  missing: failure('unauthorized', { details: 'Missing Authorization (header or token param)' }),
  invalid: failure('unauthorized', { details: 'Invalid token' }),
};
const forbidden = failure('forbidden', { details: 'Admin privileges required' });
const text = expect.any(String);

describe.each(['', '/api/auth'])('sessions under "%s"', (root) => {
  const login = (json: unknown, from?: string) =>
    auth.ask('POST', `${root}/login`, { json, ...(from && { from }) });

  it('logs in with tokens of the family', async () => {
    const username = await auth.addUser();
    const { status, headers, body } = await login({ username, password });
    expect([status, body]).toEqual([
      200,
      success({ access_token: text, refresh_token: text, username, role: 'user', mfa_required: false }),
    ]);
    expect(headers.get('Cache-Control')).toBe('no-store');
    expect(headers.get('Content-Type')).toBe('application/json; charset=utf-8');
    expect(headers.get('X-Content-Type-Options')).toBe('nosniff');
    expect(headers.get('X-Request-Id')).toBe('cid-1');
    const claims = claimsOf(body.data.access_token);
    expect(claims).toMatchObject({ sub: username, role: 'user', iss: 'steelthread', typ: 'access' });
    expect(claims.exp - claims.iat).toBe(15 * 60);
  });

  it.each([
    [{}, 400, failure('Missing username or password')],
    [{ username: 'admin' }, 400, failure('Missing username or password')],
    [{ username: '', password: 'x' }, 400, failure('Missing username or password')],
    [{ username: 'admin', password: null }, 400, failure('Missing username or password')],
    [{ username: 'nobody', password: 'x' }, 401, failure('Invalid credentials')],
  ])('refuses %j with %i', async (json, status, body) => {
    expect(await login(json)).toMatchObject({ status, body });
  });

  it('refuses what its schema has no room for', async () => {
    for (const extra of [{ role: 'admin' }, { id: 'x' }, { locked_until: null }]) {
      const { status, body } = await login({ username: 'admin', password: adminPassword, ...extra });
      expect([status, body]).toEqual([
        422,
        failure('validation_failed', {
          details: [
            {
              loc: ['body', Object.keys(extra)[0]],
              msg: 'Extra inputs are not permitted',
              type: 'extra_forbidden',
            },
          ],
          cid: 'cid-1',
        }),
      ]);
    }
    expect((await login('{"username":')).body).toMatchObject({ message: 'malformed_json' });
    const form = await auth.ask('POST', `${root}/login`, { form: { username: 'admin', password: 'x' } });
    expect([form.status, form.body.message]).toEqual([415, 'unsupported_media_type']);
  });

  it('tells a disabled account from a wrong password, to who knows the password alone', async () => {
    const username = await auth.addUser();
    await auth.stack.db('users').where({ username }).update({ is_active: false });
    expect(await login({ username, password })).toMatchObject({
      status: 403,
      body: failure('account_disabled'),
    });
    expect(await login({ username, password: 'wrong' })).toMatchObject({
      status: 401,
      body: failure('Invalid credentials'),
    });
  });

  it('locks an account after five failures, for the right password too', async () => {
    const username = await auth.addUser();
    for (let i = 0; i < 5; i++) {
      expect((await login({ username, password: 'wrong' })).status).toBe(401);
    }
    const { status, headers, body } = await login({ username, password });
    expect(status).toBe(403);
    expect(body).toEqual({ status: 'error', message: text });
    expect(body.message).toMatch(/^Account is locked\. Please try again in (8\d\d|900) seconds\.$/);
    expect(Number(headers.get('Retry-After'))).toBeGreaterThan(0);
  });

  it('slows an address down after ten failures in a minute', async () => {
    const from = root === '' ? '203.0.113.5' : '203.0.113.6';
    for (let i = 0; i < 10; i++) await login({ username: `nobody-${i}`, password: 'x' }, from);
    const username = await auth.addUser();
    const limited = [429, failure('Too many login attempts. Please try again later.')];
    const slow = await login({ username, password }, from);
    expect([slow.status, slow.body]).toEqual(limited);
    expect(Number(slow.headers.get('Retry-After'))).toBeGreaterThan(0);
    expect((await login({ username, password })).status).toBe(200);

    const network = root === '' ? '203.0.113.15' : '203.0.113.16';
    const expires = new Date(Date.now() + 60_000);
    await auth.stack.db('banned_addresses').insert({ network, failures: 50, expires_at: expires });
    for (const [path, json] of [
      ['login', { username, password }],
      ['refresh-token', { refresh_token: 'str_nothing' }],
    ] as const) {
      const banned = await auth.ask('POST', `${root}/${path}`, { json, from: network });
      expect([banned.status, banned.body]).toEqual(limited);
      expect(Number(banned.headers.get('Retry-After'))).toBeGreaterThan(0);
    }
  });

  it('trades refresh tokens, each once', async () => {
    const username = await auth.addUser('operator');
    const first = (await login({ username, password })).body.data;
    const refresh = (json: unknown) => auth.ask('POST', `${root}/refresh-token`, { json });
    const { status, headers, body } = await refresh({ refresh_token: first.refresh_token });
    expect([status, body]).toEqual([
      200,
      success({ access_token: text, refresh_token: text, username, role: 'operator' }),
    ]);
    expect(headers.get('Cache-Control')).toBe('no-store');
    expect(body.data.refresh_token).not.toBe(first.refresh_token);
    expect(claimsOf(body.data.access_token).exp - claimsOf(body.data.access_token).iat).toBe(900);
    expect(await refresh({})).toMatchObject({ status: 400, body: failure('Missing refresh token') });
    const wrong = failure('Invalid or expired refresh token');
    expect(await refresh({ refresh_token: 'str_nothing' })).toMatchObject({ status: 401, body: wrong });
    expect(await refresh({ refresh_token: first.access_token })).toMatchObject({ status: 401, body: wrong });
    expect((await refresh({ refresh_token: 'x', sub: 'admin' })).status).toBe(422);
  });

  it('says who asks, by header or by query, and to nobody else', async () => {
    const username = await auth.addUser('viewer');
    const token = await auth.tokenOf(username);
    const me = success({ username, role: 'viewer', mfa_enabled: false });
    const paths = [`${root}/me`, '/api/profile', `${root}/me/`];
    for (const path of paths) {
      expect(await auth.ask('GET', path, { token })).toMatchObject({ status: 200, body: me });
      expect((await auth.ask('GET', `${path}?token=${token}`)).body).toEqual(me);
      const nobody = await auth.ask('GET', path);
      expect([nobody.status, nobody.body]).toEqual([401, unauthorized.missing]);
      expect(nobody.headers.get('WWW-Authenticate')).toBe('Bearer');
      const stranger = await auth.ask('GET', path, { token: 'nonsense' });
      expect([stranger.status, stranger.body]).toEqual([401, unauthorized.invalid]);
      expect((await auth.ask('GET', path, { token: sharedAgentToken })).status).toBe(403);
      expect((await auth.ask('POST', path, { token, json: {} })).status).toBe(405);
    }
  });

  it('tells a token that has expired from one that is no good', async () => {
    const username = await auth.addUser();
    const { identity } = auth.stack.deps;
    const { id } = await auth.stack.db('users').first('id').where({ username });
    const facts = {
      userId: id,
      sessionId: id,
      username,
      email: null,
      role: 'user',
      subject: username,
    } as const;
    const token = signAccessToken(identity.secretKeys, { ...facts, ttlS: -1 });
    const expired = await auth.ask('GET', `${root}/me`, { token });
    expect([expired.status, expired.body]).toEqual([
      401,
      failure('unauthorized', { details: 'Token expired' }),
    ]);
    const forged = signAccessToken(['another key of thirty-two letters'], { ...facts, ttlS: -1 });
    expect((await auth.ask('GET', `${root}/me`, { token: forged })).body).toEqual(unauthorized.invalid);
  });

  it('changes the own password: twelve characters, none of the last, other sessions end', async () => {
    const username = await auth.addUser();
    const token = await auth.tokenOf(username);
    const other = await auth.tokenOf(username);
    const change = (json: unknown) => auth.ask('POST', `${root}/change-password`, { token, json });
    const fine = { old_password: password, new_password: 'Another-Sail-43' };
    const refusals: [object, number, string | RegExp][] = [
      [{}, 400, 'Missing old or new password'],
      [{ old_password: password }, 400, 'Missing old or new password'],
      [{ ...fine, old_password: 'wrong' }, 401, 'Invalid old password'],
      [{ ...fine, new_password: 'Short-Sail1' }, 400, /12 characters/],
      [{ ...fine, new_password: 'x'.repeat(73) }, 400, /72 bytes/],
      [{ ...fine, new_password: password }, 400, /password/i],
    ];
    for (const [json, status, message] of refusals) {
      const answer = await change(json);
      expect([json, answer.status]).toEqual([json, status]);
      expect(answer.body).toMatchObject({ status: 'error', message: expect.stringMatching(message) });
    }
    expect((await change({ ...fine, username: 'admin' })).status).toBe(422);
    expect(await change(fine)).toMatchObject({
      status: 200,
      body: success({ status: 'password_changed' }),
    });
    expect((await auth.ask('GET', '/me', { token })).status).toBe(200);
    expect((await auth.ask('GET', '/me', { token: other })).body).toEqual(unauthorized.invalid);
    expect((await login({ username, password })).status).toBe(401);
    expect((await login({ username, password: fine.new_password })).status).toBe(200);
    expect((await auth.ask('POST', `${root}/change-password`, { json: fine })).body).toEqual(
      unauthorized.missing,
    );
  });

  it('sets up a second factor, asks for it at logins, and takes it away again', async () => {
    const username = await auth.addUser();
    const token = await auth.tokenOf(username);
    const post = (path: string, json?: unknown) => auth.ask('POST', `${root}/mfa/${path}`, { token, json });

    expect(await post('verify', { token: '000000' })).toMatchObject({ status: 400 });
    const setup = await post('setup');
    expect([setup.status, setup.body]).toEqual([200, success({ secret: text, qr_code: text })]);
    expect(setup.body.data.qr_code).toMatch(/^data:image\/png;base64,/);
    expect(setup.headers.get('Cache-Control')).toBe('no-store');
    const { secret } = setup.body.data;
    expect(await post('verify', {})).toMatchObject({ status: 400, body: failure('Missing token') });
    expect(await post('verify', { token: '12' })).toMatchObject({
      status: 400,
      body: failure('Invalid token'),
    });
    expect((await login({ username, password })).body.data.mfa_required).toBe(false);

    const verified = await post('verify', { token: totpOf(secret) });
    expect([verified.status, verified.body]).toEqual([
      200,
      success({ status: 'mfa_enabled', access_token: text, backup_codes: expect.any(Array) }),
    ]);
    const { backup_codes: codes, access_token: fresh } = verified.body.data;
    expect(new Set(codes).size).toBe(10);
    const me = await auth.ask('GET', '/me', { token: fresh });
    expect(me.body).toEqual(success({ username, role: 'user', mfa_enabled: true }));
    expect(await post('setup')).toMatchObject({
      status: 400,
      body: failure('MFA is already enabled. Disable it first.'),
    });

    const pending = await login({ username, password });
    expect([pending.status, pending.body]).toEqual([200, success({ mfa_required: true, username })]);
    expect((await login({ username, password: 'wrong' })).body).toEqual(failure('Invalid credentials'));
    const wrong = await login({ username, password, mfa_token: '000000' });
    expect([wrong.status, wrong.body]).toEqual([401, failure('Invalid MFA token')]);
    const inside = await login({ username, password, mfa_token: totpOf(secret, 1) });
    expect(inside.body.data).toMatchObject({ username, mfa_required: true, access_token: text });
    expect((await login({ username, password, mfa_token: codes[0] })).status).toBe(200);
    expect((await login({ username, password, mfa_token: codes[0] })).body).toEqual(
      failure('Invalid MFA token'),
    );

    for (const json of [{}, undefined]) {
      expect(await post('disable', json)).toMatchObject({
        status: 400,
        body: failure('Missing token or password'),
      });
    }
    const disabled = await post('disable', { password });
    expect([disabled.status, disabled.body]).toEqual([
      200,
      success({ status: 'mfa_disabled', access_token: text }),
    ]);
    expect((await login({ username, password })).body.data.mfa_required).toBe(false);
    expect((await auth.ask('GET', '/me', { token: inside.body.data.access_token })).status).toBe(401);
    for (const path of ['setup', 'verify', 'disable']) {
      const nobody = await auth.ask('POST', `${root}/mfa/${path}`, { json: { token: '1' } });
      expect([nobody.status, nobody.body]).toEqual([401, unauthorized.missing]);
      const machine = await auth.ask('POST', `${root}/mfa/${path}`, {
        json: { token: '1' },
        token: sharedAgentToken,
      });
      expect(machine.status).toBe(403);
    }
  });
});

describe.each(['/users', '/api/auth/users', '/api/admin/users'])('accounts under %s', (root) => {
  it('are listed, made, given roles and passwords, and deleted by administrators', async () => {
    const token = await auth.adminToken();
    const ask = (method: string, path: string, json?: unknown) =>
      auth.ask(method, `${root}${path}`, { token, json });
    const username = `made${root.replaceAll('/', '-')}`;

    expect(await ask('POST', '', { username, password, role: 'operator' })).toMatchObject({
      status: 200,
      body: success({ status: 'user_created', username }),
    });
    const list = await ask('GET', '');
    expect(list.status).toBe(200);
    expect(list.body.data).toContainEqual({ username, role: 'operator', mfa_enabled: false });
    expect(list.body.data).toContainEqual({ username: 'admin', role: 'admin', mfa_enabled: false });

    const before = await auth.tokenOf(username);
    expect(await ask('PUT', `/${username}/role`, { role: 'viewer' })).toMatchObject({
      status: 200,
      body: success({ status: 'role_updated', username, role: 'viewer' }),
    });
    expect((await auth.ask('GET', '/me', { token: before })).status).toBe(401);

    expect(
      await ask('POST', `/${username}/reset-password`, { new_password: 'Fresh-Start-44' }),
    ).toMatchObject({
      status: 200,
      body: success({ status: 'password_reset' }),
    });
    const login = await auth.ask('POST', '/login', { json: { username, password: 'Fresh-Start-44' } });
    const waiting = login.body.data.access_token;
    expect((await auth.ask('GET', '/me', { token: waiting })).status).toBe(200);
    const barred = await auth.ask('POST', '/mfa/setup', { token: waiting });
    expect([barred.status, barred.body]).toEqual([403, failure('password_change_required')]);

    expect(await ask('DELETE', `/${username}`)).toMatchObject({
      status: 200,
      body: success({ status: 'user_deleted' }),
    });
    expect(await ask('DELETE', `/${username}`)).toMatchObject({
      status: 404,
      body: failure('User not found'),
    });
  });

  it('refuses what is wrong in the words of the family', async () => {
    const token = await auth.adminToken();
    const username = await auth.addUser();
    const refusals: [string, string, unknown, number, string | RegExp][] = [
      ['POST', '', {}, 400, 'Missing username or password'],
      ['POST', '', { username: 'x1', password: 'short' }, 400, /8 characters/],
      ['POST', '', { username: 'x1', password: 'password123' }, 400, /./],
      ['POST', '', { username: 'x1', password, role: 'root' }, 400, 'Invalid role'],
      ['POST', '', { username: 'x1', password, role: 'system' }, 400, 'Invalid role'],
      ['POST', '', { username: username.toUpperCase(), password }, 400, 'User already exists'],
      ['POST', '', { username: 'a b', password }, 422, 'validation_failed'],
      ['POST', '', { username: 'x1', password, is_active: true }, 422, 'validation_failed'],
      ['PUT', `/${username}/role`, {}, 400, 'Missing role'],
      ['PUT', `/${username}/role`, { role: 'agent' }, 400, 'Invalid role'],
      ['PUT', '/no-one/role', { role: 'user' }, 404, 'User not found'],
      ['PUT', '/admin/role', { role: 'user' }, 409, /administrator/],
      ['POST', `/${username}/reset-password`, {}, 400, 'Missing new_password'],
      ['POST', `/${username}/reset-password`, { new_password: 'short' }, 400, /8 characters/],
      ['POST', `/${username}/reset-password`, { new_password: password }, 400, /./],
      ['POST', '/no-one/reset-password', { new_password: password }, 404, 'User not found'],
      ['DELETE', '/admin', undefined, 400, 'Cannot delete main admin'],
    ];
    for (const [method, path, json, status, message] of refusals) {
      const answer = await auth.ask(method, `${root}${path}`, { token, json });
      expect([method, path, json, answer.status]).toEqual([method, path, json, status]);
      expect(answer.body).toMatchObject({ status: 'error', message: expect.stringMatching(message) });
    }
  });

  it('are for administrators only', async () => {
    const token = await auth.tokenOf(await auth.addUser('operator'));
    const routes = [
      ['GET', ''],
      ['POST', ''],
      ['DELETE', '/admin'],
      ['PUT', '/admin/role'],
      ['POST', '/admin/reset-password'],
    ] as const;
    for (const [method, path] of routes) {
      const json = method === 'GET' || method === 'DELETE' ? undefined : {};
      const refused = await auth.ask(method, `${root}${path}`, { token, json });
      expect([refused.status, refused.body]).toEqual([403, forbidden]);
      const machine = await auth.ask(method, `${root}${path}`, { token: sharedAgentToken, json });
      expect([machine.status, machine.body]).toEqual([403, forbidden]);
      const nobody = await auth.ask(method, `${root}${path}`, { json });
      expect([nobody.status, nobody.body]).toEqual([401, unauthorized.missing]);
    }
  });
});

describe.each(['', '/api/system'])('the audit trail under "%s"', (root) => {
  it('is read and summed up by administrators only', async () => {
    const username = await auth.addUser();
    await auth.ask('POST', '/login', { json: { username, password: 'wrong' }, from: '203.0.113.77' });
    const token = await auth.adminToken();
    const { status, body } = await auth.ask('GET', `${root}/audit-logs?limit=50&offset=0`, { token });
    expect(status).toBe(200);
    expect(body.data.length).toBeLessThanOrEqual(50);
    expect(body.data).toContainEqual({
      id: expect.any(Number),
      timestamp: expect.any(Number),
      username,
      ip: '203.0.113.77',
      action: 'auth.login',
      details: expect.objectContaining({ reason: 'invalid_credentials', outcome: 'failed' }),
    });
    expect(Math.abs(Date.now() / 1000 - body.data[0].timestamp)).toBeLessThan(60);
    const [, second] = body.data;
    const next = await auth.ask('GET', `${root}/audit-logs?limit=1&offset=1&token=${token}`);
    expect(next.body.data).toHaveLength(1);
    expect(next.body.data[0].id).toBeGreaterThanOrEqual(second.id);
    expect((await auth.ask('GET', `${root}/audit-logs?limit=0`, { token })).status).toBe(422);

    const analysis = await auth.ask('POST', `${root}/audit/analyze`, { token, json: {} });
    expect([analysis.status, analysis.body]).toEqual([200, success({ analysis: text })]);
    const person = await auth.tokenOf(username);
    for (const [method, path] of [
      ['GET', '/audit-logs'],
      ['POST', '/audit/analyze'],
    ] as const) {
      const refused = await auth.ask(method, `${root}${path}`, { token: person });
      expect([refused.status, refused.body]).toEqual([403, forbidden]);
      expect((await auth.ask(method, `${root}${path}`)).body).toEqual(unauthorized.missing);
    }
  });
});

describe('the shared agent token', () => {
  const sign = (ttlS: number) =>
    jwt.sign({ sub: 'worker', role: 'admin' }, sharedAgentToken, { algorithm: 'HS256', expiresIn: ttlS });
  const statusesOf = (app: FamilyAuth, token: string) =>
    Promise.all(
      ['/v1/agents', '/me', '/api/profile', '/users', '/audit-logs'].map(
        async (path) => (await app.ask('GET', path, { token })).status,
      ),
    );

  it('is no user and no administrator, as it is or as a JWT of at most an hour', async () => {
    for (const token of [sharedAgentToken, sign(3_600)]) {
      expect(await statusesOf(auth, token)).toEqual([200, 403, 403, 403, 403]);
      expect((await auth.ask('GET', `/users?token=${token}`)).status).toBe(403);
    }
    for (const token of [sign(7_200), sign(-60), jwt.sign({ role: 'admin' }, sharedAgentToken)]) {
      expect(await statusesOf(auth, token)).toEqual([401, 401, 401, 401, 401]);
    }
  });

  it('administers where AGENT_TOKEN_ADMIN is on, and still is no user', async () => {
    const other = await startFamilyAuth({ settings: { agentTokenAdmin: true } });
    try {
      expect(await statusesOf(other, sharedAgentToken)).toEqual([200, 404, 404, 200, 200]);
    } finally {
      await other.close();
    }
  });
});

describe('rotate-token', () => {
  it('replaces the shared agent token, which then is nobody’s', async () => {
    const token = await auth.adminToken();
    const operator = await auth.tokenOf(await auth.addUser('operator'));
    const refused = await auth.ask('POST', '/api/system/rotate-token', { token: operator });
    expect([refused.status, refused.body]).toEqual([403, forbidden]);

    const { status, headers, body } = await auth.ask('POST', '/api/system/rotate-token', { token });
    expect([status, body]).toEqual([200, success({ status: 'rotated', new_token: text })]);
    expect(headers.get('Cache-Control')).toBe('no-store');
    expect(auth.stack.events.map(({ type }) => type)).toContain('token.rotated');
    const old = await auth.ask('GET', '/v1/agents', { token: sharedAgentToken });
    expect(old.status).toBe(401);
    expect((await auth.ask('GET', '/v1/agents', { token: body.data.new_token })).status).toBe(200);
    expect((await auth.ask('POST', '/rotate-token', { token })).status).toBe(200);
    expect((await auth.ask('GET', '/v1/agents', { token: body.data.new_token })).status).toBe(401);
  });
});
