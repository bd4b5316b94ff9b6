/** `/auth` as clients of steel know it: good answers and refusals, bodies and headers. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Ask,
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

const text = expect.any(String);
const tokens = { access_token: text, token_type: 'bearer', expires_in: 1800, refresh_token: text };
const login = (json: unknown, more: Ask = {}) => auth.ask('POST', '/auth/login', { json, ...more });

/** Both shapes: the documented envelope, and `detail`. */
const refusal = (method: string, path: string, code: number, message: string) => ({
  error: { type: 'http_exception', code, message, path, method },
  detail: message,
});
const invalid = (path: string, issues: object[]) => ({
  error: { type: 'validation_error', code: 422, message: 'Validation error', path, method: 'POST' },
  detail: issues,
});
const missing = (name: string) => ({ loc: ['body', name], msg: 'Field required', type: 'missing' });
const extra = (name: string) => ({
  loc: ['body', name],
  msg: 'Extra inputs are not permitted',
  type: 'extra_forbidden',
});

describe('POST /auth/login', () => {
  it.each(['/auth/login', '/auth/login/'])('%s takes JSON and forms', async (path) => {
    const username = await auth.addUser();
    const form = { username, password };
    const grant = { ...form, grant_type: 'password', scope: '', client_id: '', client_secret: '' };
    for (const ask of [{ json: form }, { form }, { form: grant }]) {
      const { status, headers, body } = await auth.ask('POST', path, ask);
      expect([status, body]).toEqual([200, tokens]);
      expect(headers.get('Cache-Control')).toBe('no-store');
      expect(headers.get('Content-Type')).toBe('application/json; charset=utf-8');
      expect(claimsOf(body.access_token)).toMatchObject({
        sub: username,
        iss: 'steelthread',
        aud: 'steelthread-api',
        iat: expect.any(Number),
        exp: claimsOf(body.access_token).iat + 1800,
      });
    }
  });

  it('takes an address for a name', async () => {
    await auth.addUser('user', 'steel.person@example.org');
    expect((await login({ username: 'Steel.Person@example.org', password })).status).toBe(200);
  });

  it('refuses wrong names and wrong passwords alike', async () => {
    const username = await auth.addUser();
    for (const json of [
      { username, password: 'wrong' },
      { username: 'nobody-at-all', password },
    ]) {
      const { status, headers, body } = await login(json);
      expect([status, body]).toEqual([
        401,
        refusal('POST', '/auth/login', 401, 'Incorrect username or password'),
      ]);
      expect(headers.get('WWW-Authenticate')).toBe('Bearer');
    }
  });

  it.each([
    [{}, [missing('username'), missing('password')]],
    [{ username: 'admin' }, [missing('password')]],
    [{ username: 'admin', password: adminPassword, role: 'admin' }, [extra('role')]],
    [
      { username: 'admin', password: adminPassword, id: 'x', is_active: true },
      [extra('id'), extra('is_active')],
    ],
    [
      { username: '', password: 'x' },
      [
        {
          loc: ['body', 'username'],
          msg: 'Too small: expected string to have >=1 characters',
          type: 'string_too_short',
        },
      ],
    ],
  ])('finds %j invalid', async (json, issues) => {
    expect(await login(json)).toMatchObject({ status: 422, body: invalid('/auth/login', issues) });
  });

  it('refuses other forms of bodies', async () => {
    const xml = await auth.ask('POST', '/auth/login', {
      json: '<a/>',
      headers: { 'Content-Type': 'text/xml' },
    });
    expect([xml.status, xml.body.error.code]).toEqual([415, 415]);
    const broken = await login('{"username":"admin"');
    expect([broken.status, broken.body.error.type]).toEqual([400, 'http_exception']);
    const twice = await login('{"username":"a","username":"admin","password":"x"}');
    expect(twice.status).toBe(400);
  });

  it('tells disabled and locked accounts', async () => {
    const username = await auth.addUser();
    await auth.stack.db('users').where({ username }).update({ is_active: false });
    expect(await login({ username, password })).toMatchObject({
      status: 403,
      body: refusal('POST', '/auth/login', 403, 'The account is disabled'),
    });
    const other = await auth.addUser();
    for (let i = 0; i < 5; i++) await login({ username: other, password: 'wrong' });
    const { status, headers, body } = await login({ username: other, password });
    expect([status, body.error.code]).toEqual([403, 403]);
    expect(body.detail).toMatch(/^Account is locked\. Please try again in \d+ seconds\.$/);
    expect(Number(headers.get('Retry-After'))).toBeGreaterThan(0);
  });

  it('asks for the second factor', async () => {
    const username = await auth.addUser();
    const token = await auth.tokenOf(username);
    const setup = await auth.ask('POST', '/mfa/setup', { token });
    const { secret } = setup.body.data;
    await auth.ask('POST', '/mfa/verify', { token, json: { token: totpOf(secret) } });

    const { status, body } = await login({ username, password });
    expect([status, body]).toEqual([401, refusal('POST', '/auth/login', 401, 'MFA_REQUIRED')]);
    const wrong = await login({ username, password, mfa_token: '123' });
    expect([wrong.status, wrong.body.error.type]).toEqual([401, 'http_exception']);
    expect(wrong.body.detail).not.toBe('MFA_REQUIRED');
    const form = { username, password, mfa_token: totpOf(secret, 1) };
    expect(await auth.ask('POST', '/auth/login', { form })).toMatchObject({ status: 200, body: tokens });
  });

  it('answers a problem where the client asks for it', async () => {
    const headers = { Accept: 'application/problem+json' };
    const answer = await login({ username: 'nobody', password: 'x' }, { headers });
    expect(answer.headers.get('Content-Type')).toContain('application/problem+json');
    expect(answer.body).toMatchObject({ status: 401, code: 'invalid_credentials', instance: '/auth/login' });
  });
});

describe('POST /auth/refresh', () => {
  it('trades each token once, in the style of the family', async () => {
    const username = await auth.addUser();
    const first = (await login({ username, password })).body;
    const refresh = (json: unknown) => auth.ask('POST', '/auth/refresh', { json });
    const second = await refresh({ refresh_token: first.refresh_token });
    expect([second.status, second.body]).toEqual([200, tokens]);
    expect(second.headers.get('Cache-Control')).toBe('no-store');
    expect(second.body.refresh_token).not.toBe(first.refresh_token);
    const claims = claimsOf(second.body.access_token);
    expect([claims.sub, claims.exp - claims.iat]).toEqual([username, 1800]);

    const { status, headers, body } = await refresh({ refresh_token: 'str_nothing' });
    expect([status, body]).toEqual([
      401,
      refusal('POST', '/auth/refresh', 401, 'The refresh token is invalid, expired or used'),
    ]);
    expect(headers.get('WWW-Authenticate')).toBe('Bearer');
    expect(await refresh({})).toMatchObject({
      status: 422,
      body: invalid('/auth/refresh', [missing('refresh_token')]),
    });
    expect((await refresh({ refresh_token: second.body.access_token })).status).toBe(401);
    expect((await refresh({ refresh_token: 'x', role: 'admin' })).body).toEqual(
      invalid('/auth/refresh', [extra('role')]),
    );
  });
});

describe('GET /auth/user', () => {
  it('says who asks, with a time without zone', async () => {
    const username = await auth.addUser('operator', 'op@example.org');
    const token = (await login({ username, password })).body.access_token;
    const { status, body } = await auth.ask('GET', '/auth/user', { token });
    expect([status, body]).toEqual([
      200,
      {
        id: expect.stringMatching(/^[0-9a-f-]{36}$/),
        username,
        email: 'op@example.org',
        role: 'operator',
        active: true,
        created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/),
      },
    ]);
  });
});

describe('POST /auth/logout', () => {
  it('ends the session: no token of it is good any more', async () => {
    const username = await auth.addUser();
    const { access_token: token, refresh_token } = (await login({ username, password })).body;
    const other = (await login({ username, password })).body.access_token;
    const { status, body } = await auth.ask('POST', '/auth/logout', { token });
    expect([status, body]).toEqual([200, { message: 'Successfully logged out', token_revoked: true }]);
    const ended = await auth.ask('GET', '/auth/user', { token });
    expect([ended.status, ended.body]).toEqual([
      401,
      refusal('GET', '/auth/user', 401, 'Could not validate credentials'),
    ]);
    expect((await auth.ask('POST', '/auth/refresh', { json: { refresh_token } })).status).toBe(401);
    expect((await auth.ask('GET', '/auth/user', { token: other })).status).toBe(200);
  });
});

it.each([
  ['GET', '/auth/user'],
  ['POST', '/auth/logout'],
] as const)('%s %s is for users with a session', async (method, path) => {
  const nobody = await auth.ask(method, path);
  expect([nobody.status, nobody.body]).toEqual([401, refusal(method, path, 401, 'Not authenticated')]);
  expect(nobody.headers.get('WWW-Authenticate')).toBe('Bearer');
  const stranger = await auth.ask(method, path, { token: 'nonsense' });
  expect([stranger.status, stranger.body]).toEqual([
    401,
    refusal(method, path, 401, 'Could not validate credentials'),
  ]);
  const machine = await auth.ask(method, path, { token: sharedAgentToken });
  expect([machine.status, machine.body]).toEqual([403, refusal(method, path, 403, 'Not enough permissions')]);
  const wrongMethod = await auth.ask('PUT', path, { json: {} });
  expect([wrongMethod.status, wrongMethod.headers.get('Allow')]).toEqual([
    405,
    expect.stringContaining(method),
  ]);
});
