/** One identity behind five dialects: what is locked, asked for or refused in one is so in all of them. */
import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createToken } from '../../domain/identity/opaque-tokens.ts';
import {
  type Ask,
  claimsOf,
  type FamilyAnswer,
  type FamilyAuth,
  userPassword as password,
  startFamilyAuth,
  totpOf,
} from '../support/family-auth.ts';
import { sharedAgentToken, testKey } from '../support/identity.ts';

let auth: FamilyAuth;
beforeAll(async () => {
  auth = await startFamilyAuth();
});
afterAll(() => auth.close());

interface Dialect {
  login: string;
  refresh: string;
  me: string;
  /** Body of a login; `mfa` where one is given. */
  bodyOf(name: string, password: string, mfa?: string): object;
  accessOf(body: FamilyAnswer['body']): string;
  refreshOf(body: FamilyAnswer['body']): string;
  refreshBodyOf(token: string): object;
}

const named = (name: string, secret: string, mfa?: string) => ({
  username: name,
  password: secret,
  ...(mfa && { mfa_token: mfa }),
});
const flat = {
  bodyOf: named,
  accessOf: (body: FamilyAnswer['body']) => body.access_token,
  refreshOf: (body: FamilyAnswer['body']) => body.refresh_token,
  refreshBodyOf: (token: string) => ({ refresh_token: token }),
};

const dialects: Record<string, Dialect> = {
  house: {
    login: '/v1/auth/login',
    refresh: '/v1/auth/refresh',
    me: '/v1/auth/me',
    bodyOf: (username, secret, mfa) => ({ username, password: secret, ...(mfa && { mfaToken: mfa }) }),
    accessOf: (body) => body.accessToken,
    refreshOf: (body) => body.refreshToken,
    refreshBodyOf: (refreshToken) => ({ refreshToken }),
  },
  ananta: {
    ...flat,
    login: '/login',
    refresh: '/refresh-token',
    me: '/me',
    accessOf: (body) => body.data.access_token,
    refreshOf: (body) => body.data.refresh_token,
  },
  'ananta under /api/auth': {
    ...flat,
    login: '/api/auth/login',
    refresh: '/api/auth/refresh-token',
    me: '/api/profile',
    accessOf: (body) => body.data.access_token,
    refreshOf: (body) => body.data.refresh_token,
  },
  steel: { ...flat, login: '/auth/login', refresh: '/auth/refresh', me: '/auth/user' },
  dex: { ...flat, login: '/api/v1/auth/login', refresh: '/api/v1/auth/refresh', me: '/api/v1/auth/me' },
  alice: {
    ...flat,
    login: '/api/v1/auth/login',
    refresh: '/api/v1/auth/refresh',
    me: '/api/v1/auth/me',
    bodyOf: (email, secret, mfa) => ({ email, password: secret, ...(mfa && { mfa_token: mfa }) }),
  },
};
const all = Object.entries(dialects);

const logIn = (dialect: Dialect, name: string, secret = password, mfa?: string, more: Ask = {}) =>
  auth.ask('POST', dialect.login, { json: dialect.bodyOf(name, secret, mfa), ...more });
const hasTokens = (dialect: Dialect, { status, body }: FamilyAnswer): boolean =>
  status === 200 && JSON.stringify(body).includes('eyJ') && dialect.accessOf(body) !== undefined;

/** Spellings that must all be the one account. */
function twinsOf(name: string): string[] {
  const wide = [...name].map((letter) =>
    /[a-z0-9]/.test(letter) ? String.fromCodePoint((letter.codePointAt(0) ?? 0) + 0xfee0) : letter,
  );
  return [name, name.toUpperCase(), ` ${name} `, wide.join(''), `${name.slice(0, 3)}\u200b${name.slice(3)}`];
}

describe('a lock', () => {
  it('counts every dialect, every address and every spelling together, and holds in all of them', async () => {
    const username = await auth.addUser();
    const spellings = twinsOf(username);
    for (const [index, [, dialect]] of all.slice(0, 5).entries()) {
      const answer = await logIn(dialect, spellings[index] ?? username, 'wrong');
      expect(answer.status).toBe(401);
    }
    for (const [name, dialect] of all) {
      for (const spelling of spellings) {
        const answer = await logIn(dialect, spelling);
        expect([name, spelling, answer.status]).toEqual([name, spelling, 403]);
        expect(answer.headers.get('Retry-After')).not.toBeNull();
      }
    }
    const locks = await auth.stack
      .db('audit_events')
      .where({ action: 'account.locked', principal_name: username });
    expect(locks).toHaveLength(1);
  });

  it('of a name that nobody has looks the same', async () => {
    for (const [, dialect] of all.slice(0, 5)) {
      expect((await logIn(dialect, 'no-such-person', 'wrong')).status).toBe(401);
    }
    for (const [, dialect] of all) expect((await logIn(dialect, 'no-such-person', 'wrong')).status).toBe(403);
  });
});

describe('a second factor', () => {
  it('is asked for by every login, and a step is good once in all of them', async () => {
    const username = await auth.addUser();
    const token = await auth.tokenOf(username);
    const { secret } = (await auth.ask('POST', '/mfa/setup', { token })).body.data;
    const verified = await auth.ask('POST', '/mfa/verify', { token, json: { token: totpOf(secret) } });
    const codes: string[] = verified.body.data.backup_codes;

    for (const [name, dialect] of all) {
      const answer = await logIn(dialect, username);
      expect([name, hasTokens(dialect, answer)]).toEqual([name, false]);
      expect(JSON.stringify(answer.body)).toMatch(/mfa_required/i);
      const odd = await auth.ask('POST', dialect.login, {
        json: { ...dialect.bodyOf(username, password), mfa_required: false, mfa_enabled: false },
      });
      expect([name, odd.status]).toEqual([name, 422]);
    }
    const step = totpOf(secret, 1);
    const inside = await Promise.all(all.map(([, dialect]) => logIn(dialect, username, password, step)));
    expect(
      all.filter(([, dialect], index) => hasTokens(dialect, inside[index] as FamilyAnswer)),
    ).toHaveLength(1);

    // Those wrong guesses count; the lock is lifted here so that each dialect can show that it takes a code, once.
    await auth.stack.db('login_subjects').delete();
    for (const [index, [name, dialect]] of all.entries()) {
      const good = await logIn(dialect, username, password, codes[index]);
      expect([name, hasTokens(dialect, good)]).toEqual([name, true]);
    }
    const [, next] = all[1] ?? [];
    if (next === undefined) throw new Error('no second dialect');
    expect(hasTokens(next, await logIn(next, username, password, codes[0]))).toBe(false);
  });

  it('guessed wrong locks the account everywhere', async () => {
    const username = await auth.addUser();
    const token = await auth.tokenOf(username);
    const { secret } = (await auth.ask('POST', '/mfa/setup', { token })).body.data;
    await auth.ask('POST', '/mfa/verify', { token, json: { token: totpOf(secret) } });
    for (const [, dialect] of all.slice(0, 5)) {
      expect((await logIn(dialect, username, password, '000000')).status).toBe(401);
    }
    for (const [, dialect] of all) {
      expect((await logIn(dialect, username, password, totpOf(secret, 1))).status).toBe(403);
    }
  });
});

describe('tokens', () => {
  it('of every dialect are good in every other, and end with their session in all', async () => {
    for (const [, dialect] of all) {
      const username = await auth.addUser();
      const { body } = await logIn(dialect, username);
      const token = dialect.accessOf(body);
      for (const [, other] of all) expect((await auth.ask('GET', other.me, { token })).status).toBe(200);
      const [, last] = all.at(-1) ?? [];
      const next = await auth.ask('POST', last?.refresh ?? '', {
        json: last?.refreshBodyOf(dialect.refreshOf(body)),
      });
      expect(next.status).toBe(200);
      await auth.ask('POST', '/auth/logout', { token });
      for (const [, other] of all) expect((await auth.ask('GET', other.me, { token })).status).toBe(401);
    }
  });

  it('of one class are none of another', async () => {
    const username = await auth.addUser();
    const admin = await auth.adminToken();
    const person = await logIn(dialects.steel as Dialect, username);
    const access: string = person.body.access_token;
    const jwtOf = (header: object, key: string | null) => {
      const parts = [header, { uid: 'x', sid: 'x', typ: 'access', exp: Math.floor(Date.now() / 1000) + 60 }];
      const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
      const mac = key === null ? '' : createHmac('sha256', key).update(text).digest('base64url');
      return `${text}.${mac}`;
    };
    const enrolment = await auth.ask('POST', '/v1/agents/enrolments', { token: admin, json: {} });
    const others = [
      person.body.refresh_token,
      enrolment.body.enrolmentToken,
      createToken('agent'),
      createToken('refresh'),
      testKey,
      jwtOf({ alg: 'none', typ: 'JWT' }, null),
      jwtOf({ alg: 'HS256', typ: 'JWT' }, testKey),
      jwtOf({ alg: 'HS256', typ: 'JWT', kid: '../../dev/null' }, ''),
      `${access.slice(0, -2)}xx`,
      `${access}.`,
    ];
    for (const [name, dialect] of all) {
      for (const token of others) {
        const answer = await auth.ask('GET', dialect.me, { token });
        expect([name, token.slice(0, 40), answer.status]).toEqual([name, token.slice(0, 40), 401]);
      }
      expect((await auth.ask('GET', dialect.me, { token: sharedAgentToken })).status).toBe(403);
      for (const token of [access, enrolment.body.enrolmentToken, sharedAgentToken]) {
        const answer = await auth.ask('POST', dialect.refresh, { json: dialect.refreshBodyOf(token) });
        expect([name, answer.status]).toEqual([name, 401]);
      }
    }
  });
});

describe.each(all)('hostile bodies of %s', (_name, dialect) => {
  it('are refused before anything is looked up', async () => {
    const username = await auth.addUser();
    const good = dialect.bodyOf(username, password);
    const raw = JSON.stringify(good).slice(0, -1);
    for (const json of [
      `${raw},"__proto__":{"role":"admin"}}`,
      `${raw},"constructor":{"prototype":{}}}`,
      `${raw},"password":"x"}`,
      `${'['.repeat(10_000)}${']'.repeat(10_000)}`,
      `${raw},"x":"\\u0000"}`,
    ]) {
      expect((await auth.ask('POST', dialect.login, { json })).status).toBe(400);
    }
    for (const extra of [{ role: 'admin' }, { id: 'x' }, { is_active: true }, { lockedUntil: null }]) {
      expect((await auth.ask('POST', dialect.login, { json: { ...good, ...extra } })).status).toBe(422);
    }
    expect((await auth.ask('POST', dialect.login, { json: good })).status).toBe(200);
  });

  it('a password is never cut: one of 73 bytes is no prefix of another', async () => {
    const username = await auth.addUser();
    const long = 'A1'.repeat(36);
    const token = await auth.adminToken();
    await auth.ask('POST', `/users/${username}/reset-password`, { token, json: { new_password: long } });
    expect((await logIn(dialect, username, `${long}x`)).status).toBe(401);
    expect((await logIn(dialect, username, long)).status).toBe(200);
  });

  it('leave no line break, escape or secret in the log', async () => {
    const secret = 'canary-password-of-nobody';
    const name = 'eve\r\n\u001b[31mroot logged in\u001b[0m';
    const answer = await logIn(dialect, name, secret);
    expect([401, 403]).toContain(answer.status);
    const logged = JSON.stringify(auth.server.lines);
    expect(logged).not.toContain(secret);
    expect(logged).not.toContain('root logged in');
    const rows = await auth.stack.db('audit_events').select(auth.stack.db.raw('audit_events::text as row'));
    expect(JSON.stringify(rows)).not.toMatch(/root logged in|canary-password/);
  });
});

it('ACCESS_TOKEN_EXPIRE_MINUTES replaces the life of every family’s tokens', async () => {
  const short = await startFamilyAuth({ settings: { accessTokenTtlMs: 120_000 } });
  try {
    const username = await short.addUser();
    for (const [name, dialect] of all) {
      const login = await short.ask('POST', dialect.login, { json: dialect.bodyOf(username, password) });
      const json = dialect.refreshBodyOf(dialect.refreshOf(login.body));
      const refreshed = await short.ask('POST', dialect.refresh, { json });
      for (const { body } of [login, refreshed]) {
        const { exp, iat } = claimsOf(dialect.accessOf(body));
        expect([name, exp - iat]).toEqual([name, 120]);
        const told = body.expires_in ?? body.expiresIn ?? 120;
        expect([name, told]).toEqual([name, 120]);
      }
    }
  } finally {
    await short.close();
  }
});

it('an address that a client only claims counts for nothing', async () => {
  const direct = await startFamilyAuth({ server: { options: { trustProxyHops: 0 } } });
  try {
    const statuses: number[] = [];
    for (let i = 0; i < 12; i++) {
      const claimed = `198.51.100.${i}`;
      const headers = {
        'X-Forwarded-For': claimed,
        'X-Real-IP': claimed,
        Forwarded: `for=${claimed}`,
        'CF-Connecting-IP': claimed,
      };
      const [, dialect] = all[i % all.length] ?? [];
      if (dialect === undefined) throw new Error('no dialect');
      const json = dialect.bodyOf(`nobody-${i}`, 'x');
      statuses.push((await direct.ask('POST', dialect.login, { json, headers, from: claimed })).status);
    }
    expect(statuses).toEqual([...Array<number>(10).fill(401), 429, 429]);
  } finally {
    await direct.close();
  }
});
