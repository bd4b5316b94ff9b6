/** Guessing one's way in, as a stranger would: by twins of a name, other dialects, other addresses, many at once. */
import { v7 as newId } from 'uuid';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { insertUser } from '../../db/users.ts';
import { canonicalName } from '../../domain/identity/canonical-name.ts';
import { createPasswordHasher } from '../../domain/identity/passwords.ts';
import { freshAddress, totpToken, userPassword, wrongTotpToken } from '../support/second-factor.ts';
import { type System, startSystem } from '../support/system.ts';

/** The lowest cost bcrypt knows. */
const TEST_HASH_COST = 4;

let system: System;
beforeAll(async () => {
  system = await startSystem({ worker: false, env: { TRUST_PROXY_HOPS: '1' } });
});
afterAll(() => system.close());

interface Credentials {
  name: string;
  password: string;
  mfaToken?: string;
}

type Dialect = (given: Credentials, headers?: Record<string, string>) => Promise<Reply>;

interface Reply {
  status: number;
  text: string;
  headers: Headers;
}

async function send(path: string, body: unknown, headers: Record<string, string>): Promise<Reply> {
  const isForm = body instanceof URLSearchParams;
  const reply = await fetch(`${system.url}${path}`, {
    method: 'POST',
    headers: {
      'content-type': isForm ? 'application/x-www-form-urlencoded' : 'application/json',
      'x-forwarded-for': freshAddress(),
      ...headers,
    },
    body: isForm ? body.toString() : JSON.stringify(body),
  });
  return { status: reply.status, text: await reply.text(), headers: reply.headers };
}

const snake = (path: string, nameField = 'username'): Dialect => {
  return ({ name, password, mfaToken }, headers = {}) =>
    send(
      path,
      { [nameField]: name, password, ...(mfaToken !== undefined && { mfa_token: mfaToken }) },
      headers,
    );
};

/** Every way in. */
const dialects: Record<string, Dialect> = {
  house: ({ name, password, mfaToken }, headers = {}) =>
    send(
      '/v1/auth/login',
      { username: name, password, ...(mfaToken !== undefined && { mfaToken }) },
      headers,
    ),
  ananta: snake('/login'),
  'ananta under /api/auth': snake('/api/auth/login'),
  steel: snake('/auth/login'),
  'steel by form': ({ name, password, mfaToken }, headers = {}) =>
    send(
      '/auth/login',
      new URLSearchParams({
        username: name,
        password,
        ...(mfaToken !== undefined && { mfa_token: mfaToken }),
      }),
      headers,
    ),
  dex: snake('/api/v1/auth/login'),
  alice: snake('/api/v1/auth/login', 'email'),
};
const { house } = dialects as { house: Dialect };

async function addUser(username: string, email: string | null = null): Promise<string> {
  const id = newId();
  await insertUser(system.api.parts.db, {
    id,
    username,
    canonicalName: canonicalName(username),
    email,
    canonicalEmail: email === null ? null : canonicalName(email),
    role: 'user',
    passwordHash: await createPasswordHasher({ cost: TEST_HASH_COST }).hash(userPassword),
    mustChangePassword: false,
  });
  return id;
}

const hasToken = (reply: Reply): boolean => /access_?token"/i.test(reply.text);

describe('lock-out', () => {
  it('has no other door: failures in one dialect lock all, whatever the spelling of the name', async () => {
    await addUser('evader', 'evader@example.org');
    const spellings = ['evader', 'EVADER', ' evader ', 'ｅｖａｄｅｒ', 'Evader@Example.org'];
    const ways = ['ananta', 'steel', 'dex', 'alice', 'house'] as const;
    for (const [i, way] of ways.entries()) {
      const reply = await dialects[way]?.({ name: spellings[i] ?? '', password: 'wrong' });
      expect([way, reply?.status]).toEqual([way, 401]);
    }
    for (const [way, enter] of Object.entries(dialects)) {
      const reply = await enter({ name: 'evader', password: userPassword });
      expect([way, reply.status, hasToken(reply)]).toEqual([way, 403, false]);
      expect(reply.headers.get('retry-after')).toMatch(/^(89\d|900)$/);
    }
  });

  it('loses none of twenty parallel failures over all dialects: each is counted, or refused unseen and recorded', async () => {
    const id = await addUser('swarmed');
    const ways = Object.values(dialects);
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        ways[i % ways.length]?.({ name: 'swarmed', password: `wrong-${i}` }),
      ),
    );
    const { db } = system.api.parts;
    const [row] = await db('login_failures')
      .where({ subject: `user:${id}` })
      .sum({ failures: 'failures' });
    const refused = await db('audit_events').where({
      action: 'auth.login',
      target_id: id,
      outcome: 'denied',
    });
    expect(Number(row?.failures) + refused.length).toBe(20);
    const told = replies.map((reply) => reply?.status).sort();
    expect(told).toEqual([...Array(5).fill(401), ...Array(15).fill(403)]);
  });

  it('tells nothing about who exists', async () => {
    await addUser('exists');
    const answers = { exists: [] as unknown[], 'does-not': [] as unknown[] };
    for (const name of ['exists', 'does-not'] as const) {
      for (let i = 0; i < 6; i++) {
        const reply = await house({ name, password: 'wrong' }, { 'x-request-id': 'same' });
        answers[name].push([reply.status, reply.text.replace(/\d{3} seconds/, 'N seconds')]);
      }
    }
    expect(answers.exists).toEqual(answers['does-not']);
    expect(JSON.stringify(answers.exists.at(-1))).toContain('account_locked');
  });
});

describe('the second factor', () => {
  it('is asked for by every way in, and none takes a wrong, a used or a misplaced token', async () => {
    await addUser('guarded', 'guarded@example.org');
    const opened = JSON.parse((await house({ name: 'guarded', password: userPassword })).text);
    const asOwner = { token: opened.accessToken as string };
    const { secret } = await system.call<{ secret: string }>(
      'POST',
      '/v1/auth/mfa/setup',
      undefined,
      asOwner,
    );
    const used = totpToken(secret);
    const { backupCodes } = await system.call<{ backupCodes: string[] }>(
      'POST',
      '/v1/auth/mfa/verify',
      { token: used },
      asOwner,
    );
    const { db } = system.api.parts;
    const forget = () => db('login_subjects').delete();
    for (const [way, enter] of Object.entries(dialects)) {
      for (const name of ['guarded', 'GUARDED', 'guarded@example.org']) {
        const reply = await enter({ name, password: userPassword });
        expect([way, hasToken(reply)]).toEqual([way, false]);
        expect(reply.text).toMatch(/mfa_required|second factor/i);
      }
      for (const mfaToken of [
        wrongTotpToken(secret),
        used,
        secret,
        userPassword,
        opened.accessToken.slice(0, 60),
      ]) {
        const reply = await enter({ name: 'guarded', password: userPassword, mfaToken });
        expect([way, reply.status, hasToken(reply)]).toEqual([way, 401, false]);
      }
      await forget();
    }
    for (const [i, [way, enter]] of Object.entries(dialects).entries()) {
      const reply = await enter({ name: 'guarded', password: userPassword, mfaToken: backupCodes[i] ?? '' });
      expect([way, reply.status, hasToken(reply)]).toEqual([way, 200, true]);
    }
    expect(await db('sessions').whereNull('revoked_at').where({ user_id: opened.user.id })).toHaveLength(
      1 + 7,
    );
  });

  it('lets one in when a token is sent by all dialects at once', async () => {
    const id = await addUser('raced');
    const opened = JSON.parse((await house({ name: 'raced', password: userPassword })).text);
    const asOwner = { token: opened.accessToken as string };
    const { secret } = await system.call<{ secret: string }>(
      'POST',
      '/v1/auth/mfa/setup',
      undefined,
      asOwner,
    );
    await system.call('POST', '/v1/auth/mfa/verify', { token: totpToken(secret) }, asOwner);
    await system.api.parts.db('user_mfa').where({ user_id: id }).update({ last_step: 0 });
    const ways = Object.values(dialects);
    const mfaToken = totpToken(secret);
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        ways[i % ways.length]?.({ name: 'raced', password: userPassword, mfaToken }),
      ),
    );
    expect(replies.filter((reply) => reply !== undefined && hasToken(reply))).toHaveLength(1);
  });
});

describe('an address', () => {
  const guess = (name: string, forwarded: string, more: Record<string, string> = {}) =>
    house({ name, password: 'wrong' }, { 'x-forwarded-for': forwarded, ...more });

  it('is what the trusted proxy saw, whatever the client claims before it', async () => {
    const real = freshAddress();
    for (let i = 0; i < 10; i++) {
      const claims = {
        forwarded: `for=${freshAddress()}`,
        'x-real-ip': freshAddress(),
        'cf-connecting-ip': '1.1.1.1',
      };
      expect((await guess(`claim-${i}`, `${freshAddress()}, ${real}`, claims)).status).toBe(401);
    }
    const refused = await guess('claim', `${freshAddress()}, 127.0.0.1, ${real}`);
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    const rows = await system.api.parts.db('audit_events').where({ action: 'auth.login', address: real });
    expect(rows.filter((row) => row.outcome === 'failed')).toHaveLength(10);
    expect(rows.filter((row) => row.outcome === 'denied')).toHaveLength(1);
  });

  it('is refused by every way in once it is banned', async () => {
    const address = freshAddress();
    const { db } = system.api.parts;
    await db('banned_addresses').insert({
      network: address,
      failures: 50,
      expires_at: db.raw("now() + interval '1 hour'"),
    });
    await addUser('stranded');
    const headers = { 'x-forwarded-for': address };
    for (const [way, enter] of Object.entries(dialects)) {
      const reply = await enter({ name: 'stranded', password: userPassword }, headers);
      expect([way, reply.status, hasToken(reply)]).toEqual([way, 429, false]);
      expect(reply.headers.get('retry-after')).toMatch(/^\d+$/);
    }
    for (const [path, body] of [
      ['/v1/auth/refresh', { refreshToken: 'x' }],
      ['/refresh-token', { refresh_token: 'x' }],
      ['/auth/refresh', { refresh_token: 'x' }],
      ['/api/v1/auth/refresh', { refresh_token: 'x' }],
      ['/v1/auth/register', { username: 'newcomer', password: userPassword }],
      ['/api/v1/auth/register', { email: 'new@example.org', password: userPassword, display_name: 'New' }],
    ] as const) {
      expect([path, (await send(path, body, headers)).status]).toEqual([path, 429]);
    }
  });
});

it('names with line breaks, escapes and NUL end as rows and lines of their own, and log nothing that was typed', async () => {
  const secret = 'typed-into-the-wrong-field';
  for (const name of [
    `${secret}\r\nInjected: yes`,
    `${secret}\u001b[2J`,
    `${secret}\u0000`,
    `${secret}\ud800`,
  ]) {
    expect((await house({ name, password: secret })).status).toBeLessThan(500);
  }
  const { db } = system.api.parts;
  for (const table of ['audit_events', 'login_subjects', 'login_failures']) {
    expect(JSON.stringify(await db(table))).not.toContain(secret);
  }
  expect(JSON.stringify(system.lines)).not.toContain(secret);
});
