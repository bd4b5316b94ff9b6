/** `/api/v1/auth`, shared by the clients of dex and alice: good answers and refusals, bodies and headers. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Ask,
  claimsOf,
  type FamilyAuth,
  userPassword as password,
  startFamilyAuth,
  totpOf,
} from '../support/family-auth.ts';
import { sharedAgentToken } from '../support/identity.ts';

let auth: FamilyAuth;
beforeAll(async () => {
  auth = await startFamilyAuth();
});
afterAll(() => auth.close());

const text = expect.any(String);
const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const uuid = expect.stringMatching(/^[0-9a-f-]{36}$/);
const post = (path: string, json: unknown, more: Ask = {}) =>
  auth.ask('POST', `/api/v1/auth/${path}`, { json, ...more });

/** The keys of both families. */
const refusal = (path: string, code: string, message: string, details: object = {}) => ({
  success: false,
  error: message,
  code,
  details,
  detail: message,
  timestamp: time,
  path: `/api/v1/auth/${path}`,
});
const invalid = (path: string, issues: object[]) => ({
  ...refusal(path, 'VALIDATION_ERROR', 'The request does not match its schema'),
  detail: issues,
});
const missing = (name: string) => ({ loc: ['body', name], msg: 'Field required', type: 'missing' });
const extra = (name: string) => ({
  loc: ['body', name],
  msg: 'Extra inputs are not permitted',
  type: 'extra_forbidden',
});

const newEmail = () => `person-${randomUUID().slice(0, 8)}@example.org`;
const tokensFor = (expiresIn: number) => ({
  access_token: text,
  refresh_token: text,
  token_type: 'bearer',
  expires_in: expiresIn,
});
const userOf = (facts: object) => ({
  id: uuid,
  username: text,
  email: null,
  full_name: null,
  display_name: text,
  avatar_url: null,
  is_active: true,
  created_at: time,
  updated_at: time,
  last_login: time,
  ...facts,
});

describe('POST register', () => {
  it('makes an account with the role of a user, and logs it in', async () => {
    const email = newEmail();
    const body = { email, password: 'SecurePass123', display_name: 'Test User' };
    const made = await post('register', body);
    expect([made.status, made.body]).toEqual([201, tokensFor(900)]);
    expect(made.headers.get('Cache-Control')).toBe('no-store');
    expect(claimsOf(made.body.access_token)).toMatchObject({ sub: uuid, email, role: 'user' });
    const me = await auth.ask('GET', '/api/v1/auth/me', { token: made.body.access_token });
    expect(me.body).toEqual(
      userOf({ username: email, email, full_name: 'Test User', display_name: 'Test User' }),
    );
    expect(me.body.id).toBe(claimsOf(made.body.access_token).sub);

    for (const twin of [email, email.toUpperCase()]) {
      const again = await post('register', { ...body, email: twin });
      expect([again.status, again.body]).toEqual([
        409,
        refusal('register', 'EMAIL_ALREADY_EXISTS', `Email address '${twin}' is already registered`),
      ]);
    }
  });

  it.each([
    ['securepass123', 'Password must contain at least one uppercase letter'],
    ['SecurePassword', 'Password must contain at least one number'],
    ['Short1A', 'Too small: expected string to have >=8 characters'],
    [`A1${'x'.repeat(99)}`, 'Too big: expected string to have <=100 characters'],
  ])('finds the password %s invalid', async (password, msg) => {
    const { status, body } = await post('register', { email: newEmail(), password, display_name: 'x' });
    expect([status, body]).toEqual([
      422,
      invalid('register', [{ loc: ['body', 'password'], msg, type: text }]),
    ]);
  });

  it('refuses passwords that the policy refuses, as a sentence', async () => {
    for (const password of ['Password123', `A1${'x'.repeat(71)}`]) {
      const { status, body } = await post('register', { email: newEmail(), password, display_name: 'x' });
      expect([status, body]).toEqual([
        422,
        { ...refusal('register', 'VALIDATION_ERROR', body.detail, { rule: text }), detail: text },
      ]);
    }
  });

  it.each([
    [{}, [missing('email'), missing('password'), missing('display_name')]],
    [
      { email: 'a@example.org', password: 'SecurePass123', display_name: 'x', role: 'admin' },
      [extra('role')],
    ],
    [
      { email: 'a@example.org', password: 'SecurePass123', display_name: 'x', is_active: true, id: 'x' },
      [extra('is_active'), extra('id')],
    ],
  ])('finds %j invalid', async (json, issues) => {
    expect(await post('register', json)).toMatchObject({ status: 422, body: invalid('register', issues) });
  });

  it('refuses what is no address or no name', async () => {
    const body = { email: 'no-address', password: 'SecurePass123', display_name: '' };
    const { status, body: answer } = await post('register', body);
    expect(status).toBe(422);
    expect(answer.detail.map(({ loc }: { loc: string[] }) => loc[1])).toEqual(['email', 'display_name']);
  });

  it('can be closed', async () => {
    const closed = await startFamilyAuth({ settings: { registration: 'off' } });
    try {
      const body = { email: newEmail(), password: 'SecurePass123', display_name: 'x' };
      const { status, body: answer } = await closed.ask('POST', '/api/v1/auth/register', { json: body });
      expect([status, answer]).toEqual([
        403,
        refusal('register', 'REGISTRATION_CLOSED', 'Nobody can register here'),
      ]);
    } finally {
      await closed.close();
    }
  });
});

describe('POST login', () => {
  it('answers clients of dex, who send a name, for eight hours', async () => {
    const username = await auth.addUser();
    const { status, headers, body } = await post('login', { username, password });
    expect([status, body]).toEqual([
      200,
      { ...tokensFor(8 * 3600), user: userOf({ username, display_name: username }) },
    ]);
    expect(headers.get('Cache-Control')).toBe('no-store');
    const claims = claimsOf(body.access_token);
    expect([claims.sub, claims.exp - claims.iat]).toEqual([username, 8 * 3600]);
    expect(claims).toMatchObject({ uid: body.user.id, typ: 'access', type: 'access', jti: text });
  });

  it('answers clients of alice, who send an address, for a quarter of an hour', async () => {
    const email = newEmail();
    const username = await auth.addUser('user', email);
    const { status, body } = await post('login', { email, password });
    expect([status, body]).toEqual([
      200,
      { ...tokensFor(900), user: userOf({ username, email, display_name: username }) },
    ]);
    expect(claimsOf(body.access_token)).toMatchObject({ sub: body.user.id, uid: body.user.id });
    for (const json of [{ username: email }, { email: username }, { email: email.toUpperCase() }]) {
      expect((await post('login', { ...json, password })).status).toBe(200);
    }
  });

  it('refuses wrong names and wrong passwords alike', async () => {
    const username = await auth.addUser();
    for (const json of [{ username }, { email: username }, { username: 'nobody' }, { email: newEmail() }]) {
      const { status, headers, body } = await post('login', { ...json, password: 'wrong' });
      expect([status, body]).toEqual([
        401,
        refusal('login', 'INVALID_CREDENTIALS', 'Incorrect username or password'),
      ]);
      expect(headers.get('WWW-Authenticate')).toBe('Bearer');
    }
  });

  it.each([
    [{}, [missing('password')]],
    [{ password: 'x' }, [missing('username')]],
    [{ username: 'admin' }, [missing('password')]],
    [{ email: 'a@example.org', password: 'x', role: 'admin' }, [extra('role')]],
    [
      { username: 'admin', password: 'x', user_id: 1, is_active: true },
      [extra('user_id'), extra('is_active')],
    ],
  ])('finds %j invalid', async (json, issues) => {
    const { status, body } = await post('login', json);
    expect(status).toBe(422);
    expect(body).toEqual({ ...invalid('login', []), detail: expect.arrayContaining(issues) });
  });

  it('tells disabled and locked accounts', async () => {
    const username = await auth.addUser();
    await auth.stack.db('users').where({ username }).update({ is_active: false });
    const disabled = await post('login', { username, password });
    expect([disabled.status, disabled.body]).toEqual([
      403,
      refusal('login', 'ACCOUNT_DISABLED', 'The account is disabled'),
    ]);
    const other = await auth.addUser();
    for (let i = 0; i < 5; i++) await post('login', { username: other, password: 'wrong' });
    const { status, headers, body } = await post('login', { email: other, password });
    expect([status, body.code]).toEqual([403, 'ACCOUNT_LOCKED']);
    expect(body.detail).toMatch(/^Account is locked\. Please try again in \d+ seconds\.$/);
    expect(Number(headers.get('Retry-After'))).toBeGreaterThan(0);
  });

  it('asks for the second factor, in either dialect', async () => {
    const username = await auth.addUser();
    const token = await auth.tokenOf(username);
    const { secret } = (await auth.ask('POST', '/mfa/setup', { token })).body.data;
    await auth.ask('POST', '/mfa/verify', { token, json: { token: totpOf(secret) } });
    for (const json of [{ username }, { email: username }]) {
      const { status, body } = await post('login', { ...json, password });
      expect([status, body]).toEqual([401, refusal('login', 'MFA_REQUIRED', 'A second factor is required')]);
      const wrong = await post('login', { ...json, password, mfa_token: '12' });
      expect([wrong.status, wrong.body.code]).toEqual([401, 'MFA_TOKEN_INVALID']);
    }
    const mfaToken = totpOf(secret, 1);
    expect((await post('login', { username, password, mfa_token: mfaToken })).status).toBe(200);
    expect((await post('login', { email: username, password, mfa_token: mfaToken })).status).toBe(401);
  });

  it('slows an address down after ten failures in a minute', async () => {
    const from = '203.0.113.9';
    for (let i = 0; i < 10; i++) await post('login', { username: `nobody-${i}`, password: 'x' }, { from });
    const { status, headers, body } = await post('login', { username: 'admin', password: 'x' }, { from });
    expect([status, body.code]).toEqual([429, 'RATE_LIMIT_EXCEEDED']);
    expect(Number(headers.get('Retry-After'))).toBeGreaterThan(0);
  });
});

describe('POST refresh', () => {
  it.each([
    ['username', 8 * 3600],
    ['email', 900],
  ])('trades tokens of a login by %s, in its style', async (field, expiresIn) => {
    const name = await auth.addUser();
    const first = (await post('login', { [field]: name, password })).body;
    const second = await post('refresh', { refresh_token: first.refresh_token });
    expect([second.status, second.body]).toEqual([200, tokensFor(expiresIn)]);
    expect(second.headers.get('Cache-Control')).toBe('no-store');
    const [before, after] = [first, second.body].map((body) => claimsOf(body.access_token));
    expect([after?.sub, after?.sid]).toEqual([before?.sub, before?.sid]);
    const third = await post('refresh', { refresh_token: second.body.refresh_token });
    expect(third.status).toBe(200);
  });

  it('refuses a token that was used, and ends its session', async () => {
    const username = await auth.addUser();
    const { access_token: token, refresh_token } = (await post('login', { username, password })).body;
    const successor = (await post('refresh', { refresh_token })).body.refresh_token;
    await auth.stack
      .db('refresh_tokens')
      .whereNotNull('used_at')
      .update({ used_at: auth.stack.db.raw("used_at - interval '11 seconds'") });
    for (const old of [refresh_token, successor]) {
      const { status, body } = await post('refresh', { refresh_token: old });
      expect([status, body]).toEqual([
        401,
        refusal('refresh', 'INVALID_REFRESH_TOKEN', 'The refresh token is invalid, expired or used'),
      ]);
    }
    expect((await auth.ask('GET', '/api/v1/auth/me', { token })).status).toBe(401);
  });

  it('refuses what is no refresh token', async () => {
    const username = await auth.addUser();
    const { access_token } = (await post('login', { username, password })).body;
    for (const refresh_token of ['x', 'str_nothing', access_token]) {
      expect((await post('refresh', { refresh_token })).body.code).toBe('INVALID_REFRESH_TOKEN');
    }
    expect((await post('refresh', {})).body).toEqual(invalid('refresh', [missing('refresh_token')]));
    expect((await post('refresh', { refresh_token: 'x', sub: 'admin' })).body).toEqual(
      invalid('refresh', [extra('sub')]),
    );
  });
});

describe('POST logout', () => {
  const me = (token: string) => auth.ask('GET', '/api/v1/auth/me', { token });

  it('ends the session; of alice, every session of the user', async () => {
    const username = await auth.addUser();
    const open = async (field: string) => (await post('login', { [field]: username, password })).body;
    const dex = await open('username');
    const alice = await open('email');
    const other = await open('username');
    const message = { message: 'Successfully logged out' };

    const logout = await post('logout', undefined, { token: dex.access_token });
    expect([logout.status, logout.body]).toEqual([200, message]);
    expect((await me(dex.access_token)).status).toBe(401);
    expect((await post('refresh', { refresh_token: dex.refresh_token })).status).toBe(401);
    expect((await me(other.access_token)).status).toBe(200);

    expect(await post('logout', undefined, { token: alice.access_token })).toMatchObject({
      status: 200,
      body: message,
    });
    for (const ended of [alice, other]) {
      expect((await me(ended.access_token)).status).toBe(401);
      expect((await post('refresh', { refresh_token: ended.refresh_token })).status).toBe(401);
    }
  });
});

it.each([
  ['GET', 'me'],
  ['POST', 'logout'],
] as const)('%s %s is for users with a session', async (method, path) => {
  const ask = (token?: string) => auth.ask(method, `/api/v1/auth/${path}`, { token });
  const nobody = await ask();
  expect([nobody.status, nobody.body]).toEqual([401, refusal(path, 'UNAUTHORIZED', 'Not authenticated')]);
  expect(nobody.headers.get('WWW-Authenticate')).toBe('Bearer');
  const stranger = await ask('nonsense');
  expect([stranger.status, stranger.body]).toEqual([
    401,
    refusal(path, 'UNAUTHORIZED', 'Could not validate credentials'),
  ]);
  const machine = await ask(sharedAgentToken);
  expect([machine.status, machine.body]).toEqual([403, refusal(path, 'FORBIDDEN', 'You may not do this')]);
});

it('shows no password in any form', async () => {
  const username = await auth.addUser();
  const login = await post('login', { username, password });
  const me = await auth.ask('GET', '/api/v1/auth/me', { token: login.body.access_token });
  for (const { body } of [login, me]) expect(JSON.stringify(body)).not.toMatch(/password|\$2b\$/i);
});

describe('limits', () => {
  it('are 5, 10 and 60 a minute, told in headers, and refused with Retry-After', async () => {
    const limited = await startFamilyAuth({ server: { options: { rateLimit: true } } });
    try {
      const from = '203.0.113.20';
      const username = await limited.addUser();
      const json = { username, password };
      const first = await limited.ask('POST', '/api/v1/auth/login', { json, from });
      const { access_token: token } = first.body;
      const cases: [string, string, number, unknown][] = [
        ['POST', 'login', 5, json],
        ['POST', 'register', 5, {}],
        ['POST', 'refresh', 10, { refresh_token: 'x' }],
        ['GET', 'me', 60, undefined],
        // The first ends the session; a refused call counts as well.
        ['POST', 'logout', 10, undefined],
      ];
      for (const [method, path, limit, body] of cases) {
        const ask = () => limited.ask(method, `/api/v1/auth/${path}`, { json: body, from, token });
        const used = path === 'login' ? 1 : 0;
        for (let call = used + 1; call <= limit; call++) {
          const { status, headers } = await ask();
          expect([path, status === 429]).toEqual([path, false]);
          expect(headers.get('X-RateLimit-Limit')).toBe(String(limit));
          expect(headers.get('X-RateLimit-Remaining')).toBe(String(limit - call));
          expect(Number(headers.get('X-RateLimit-Reset'))).toBeGreaterThan(Date.now() / 1000 - 1);
          expect(headers.get('RateLimit')).toContain(`r=${limit - call}`);
          expect(headers.get('RateLimit-Policy')).toContain(`q=${limit}`);
        }
        const { status, headers, body: refused } = await ask();
        expect([path, status, refused]).toEqual([
          path,
          429,
          refusal(
            path,
            'RATE_LIMIT_EXCEEDED',
            expect.stringMatching(/^Too many requests/) as unknown as string,
          ),
        ]);
        expect(headers.get('X-RateLimit-Remaining')).toBe('0');
        expect(Number(headers.get('Retry-After'))).toBeGreaterThan(0);
      }
    } finally {
      await limited.close();
    }
  });
});
