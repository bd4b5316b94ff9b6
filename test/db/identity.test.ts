import bcrypt from 'bcrypt';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { deleteOldSessions } from '../../db/sessions.ts';
import { ensureAdmin } from '../../domain/identity/admin.ts';
import { identify } from '../../domain/identity/identify.ts';
import { createLimiter } from '../../domain/identity/limit-concurrency.ts';
import { recheckPrincipals } from '../../domain/identity/live-principals.ts';
import { login } from '../../domain/identity/login.ts';
import { hashToken } from '../../domain/identity/opaque-tokens.ts';
import { createPasswordHasher } from '../../domain/identity/passwords.ts';
import { refresh } from '../../domain/identity/refresh.ts';
import { logout } from '../../domain/identity/sessions.ts';
import {
  adminPassword,
  type IdentityStack,
  readAudit,
  startIdentity,
  testKey,
  testOrigin,
} from '../support/identity.ts';

let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity();
});
afterAll(() => stack.close());

const logIn = (password = adminPassword, name = 'admin') =>
  login(stack.deps, testOrigin, { login: name, password, family: 'house' });
const trade = (token: string) => refresh(stack.deps, testOrigin, token);

/** Move the use of a token into the past, beyond the grace. */
const ageUse = (token: string) =>
  stack
    .db('refresh_tokens')
    .where({ token_hash: hashToken(token) })
    .update({ used_at: stack.db.raw("now() - interval '11 seconds'") });

describe('the first administrator', () => {
  it('is created once by processes that start together, and the password is shown once', async () => {
    const fresh = await startIdentity({ withAdmin: false });
    try {
      const wish = { username: 'root', email: null, password: null };
      const results = await Promise.all(Array.from({ length: 8 }, () => ensureAdmin(fresh.deps, wish)));
      const created = results.filter((result) => result.created);
      expect(created).toHaveLength(1);
      expect(await ensureAdmin(fresh.deps, wish)).toEqual({ created: false });
      const [first] = created;
      const password = first?.created ? first.generatedPassword : null;
      expect(password).toMatch(/^[\w-]{24}$/);
      const tokens = await login(fresh.deps, testOrigin, {
        login: 'ROOT',
        password: password ?? '',
        family: 'house',
      });
      expect(tokens.user).toMatchObject({ username: 'root', role: 'admin', mustChangePassword: false });
      expect(await readAudit(fresh.db, 'user.create')).toHaveLength(1);
    } finally {
      await fresh.close();
    }
  });

  it('is refused a bad password, and then there is no administrator', async () => {
    const fresh = await startIdentity({ withAdmin: false });
    try {
      for (const password of ['admin', 'AdminName', 'password1', 'x'.repeat(73), 'short']) {
        const attempt = ensureAdmin(fresh.deps, { username: 'adminname', email: null, password });
        await expect(attempt, password).rejects.toThrow(/^ADMIN_PASSWORD is refused/);
      }
      expect(await fresh.db('users').count()).toEqual([{ count: 0 }]);
    } finally {
      await fresh.close();
    }
  });
});

describe('login', () => {
  it('takes the name or the address whatever its case, and leaves a trail', async () => {
    const byName = await logIn(adminPassword, 'Admin');
    const byAddress = await logIn(adminPassword, 'ADMIN@example.org');
    expect(byAddress.user.id).toBe(byName.user.id);
    expect(byName.user.lastLoginAt).toBeInstanceOf(Date);
    const trail = await readAudit(stack.db, 'auth.login');
    expect(trail.at(-1)).toMatchObject({
      principal_id: byName.user.id,
      target_id: byAddress.sessionId,
      outcome: 'success',
      address: testOrigin.address,
    });
  });

  it('answers the same for an unknown name and a wrong password, and never keeps the name that was tried', async () => {
    await expect(logIn('wrong', 'admin')).rejects.toMatchObject({ code: 'invalid_credentials' });
    await expect(logIn(adminPassword, 'hunter2')).rejects.toMatchObject({ code: 'invalid_credentials' });
    const failed = (await readAudit(stack.db, 'auth.login')).filter((row) => row.outcome === 'failed');
    expect(failed).toHaveLength(2);
    expect(JSON.stringify(failed)).not.toContain('hunter2');
  });

  it('computes a hash of the same cost for an unknown name and for a password that is too long', async () => {
    const compare = vi.spyOn(bcrypt, 'compare');
    const hasher = createPasswordHasher({ cost: 5 });
    expect(await hasher.verify('anything', null)).toBe(false);
    expect(await hasher.verify('', null)).toBe(false);
    expect(await hasher.verify('x'.repeat(100), await hasher.hash('right'))).toBe(false);
    expect(compare).toHaveBeenCalledTimes(3);
    for (const [, hash] of compare.mock.calls) expect(bcrypt.getRounds(hash)).toBe(5);
    compare.mockRestore();
  });

  it('hashes a few at once, lets some wait, and refuses the rest', async () => {
    const limit = createLimiter({ maxRunning: 2, maxWaiting: 3 });
    let running = 0;
    let most = 0;
    const job = () =>
      limit(async () => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setImmediate(resolve));
        running--;
      });
    const results = await Promise.allSettled(Array.from({ length: 7 }, job));
    expect(most).toBe(2);
    expect(results.map((result) => result.status)).toEqual([
      ...Array.from({ length: 5 }, () => 'fulfilled'),
      'rejected',
      'rejected',
    ]);
    const [refused] = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []));
    expect(refused).toMatchObject({ code: 'service_unavailable', headers: { 'Retry-After': '5' } });
    await expect(limit(() => Promise.reject(new Error('one fails')))).rejects.toThrow('one fails');
    await Promise.all([job(), job(), job()]);
  });

  it('does not cut passwords at 72 bytes, and takes every spelling of one character', async () => {
    const hasher = createPasswordHasher({ cost: 4 });
    const long = 'a'.repeat(72);
    const hash = await hasher.hash(long);
    expect(await hasher.verify(long, hash)).toBe(true);
    expect(await hasher.verify(`${long}b`, hash)).toBe(false);
    await expect(hasher.hash(`${long}b`)).rejects.toThrow(RangeError);
    expect(await hasher.verify('Cafe\u0301-12345', await hasher.hash('Caf\u00e9-12345'))).toBe(true);
  });

  it('refuses a disabled account, but says so only to its owner; its sessions end at once', async () => {
    const tokens = await logIn();
    await stack.db('users').update({ is_active: false });
    try {
      await expect(logIn()).rejects.toMatchObject({ code: 'account_disabled' });
      await expect(logIn('wrong')).rejects.toMatchObject({ code: 'invalid_credentials' });
      await expect(identify(stack.deps, tokens.accessToken)).rejects.toMatchObject({ code: 'invalid_token' });
      await expect(trade(tokens.refreshToken)).rejects.toMatchObject({ code: 'invalid_refresh_token' });
    } finally {
      await stack.db('users').update({ is_active: true });
    }
  });
});

describe('refresh', () => {
  it('lets twenty parallel refreshes continue one family', async () => {
    const { refreshToken, sessionId } = await logIn();
    const results = await Promise.all(Array.from({ length: 20 }, () => trade(refreshToken)));
    const successors = new Set(results.map((result) => result.refreshToken));
    expect(successors.size).toBe(1);
    const [successor = ''] = successors;
    expect(successor).not.toBe(refreshToken);
    const rows = await stack.db('refresh_tokens').where({ session_id: sessionId });
    expect(rows).toHaveLength(2);
    const next = await trade(successor);
    expect(next.sessionId).toBe(sessionId);
    expect(next.refreshToken).not.toBe(successor);
  });

  it('ends the session when a token is used again after the grace', async () => {
    const first = await logIn();
    const second = await trade(first.refreshToken);
    await ageUse(first.refreshToken);
    await expect(trade(first.refreshToken)).rejects.toMatchObject({ code: 'invalid_refresh_token' });
    await expect(trade(second.refreshToken)).rejects.toMatchObject({ code: 'invalid_refresh_token' });
    await expect(identify(stack.deps, second.accessToken)).rejects.toMatchObject({ code: 'invalid_token' });
    const [reuse] = await readAudit(stack.db, 'auth.refresh_reuse');
    expect(reuse).toMatchObject({ target_id: first.sessionId, outcome: 'denied' });
    expect(stack.events.at(-1)).toMatchObject({
      type: 'session.revoked',
      ownerId: first.user.id,
      data: { sessionId: first.sessionId, reason: 'refresh_token_reused' },
    });
  });

  it('records one reuse and one revocation when twenty thieves come at once', async () => {
    const first = await logIn();
    await trade(first.refreshToken);
    await ageUse(first.refreshToken);
    const before = stack.events.length;
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => trade(first.refreshToken)));
    expect(results.every((result) => result.status === 'rejected')).toBe(true);
    expect(stack.events.slice(before).filter((event) => event.type === 'session.revoked')).toHaveLength(1);
  });

  it('answers the same successor after the keys were rotated', async () => {
    const first = await logIn();
    const second = await trade(first.refreshToken);
    const rotated = {
      ...stack.deps,
      identity: { ...stack.deps.identity, secretKeys: ['n'.repeat(32), testKey] },
    };
    const again = await refresh(rotated, testOrigin, first.refreshToken);
    expect(again.refreshToken).toBe(second.refreshToken);
    expect((await identify(rotated, second.accessToken)).id).toBe(first.user.id);
    expect((await identify(rotated, again.accessToken)).id).toBe(first.user.id);
    await expect(identify(stack.deps, again.accessToken)).rejects.toMatchObject({ code: 'invalid_token' });
  });

  it.each(['', 'str_unknown', 'x'.repeat(500), 'eyJhbGciOiJIUzI1NiJ9.e30.x'])('refuses %j', async (token) => {
    await expect(trade(token)).rejects.toMatchObject({ code: 'invalid_refresh_token' });
  });

  it('refuses an expired token and leaves its session alone', async () => {
    const tokens = await logIn();
    await stack
      .db('refresh_tokens')
      .where({ session_id: tokens.sessionId })
      .update({ expires_at: stack.db.raw("now() - interval '1 second'") });
    await expect(trade(tokens.refreshToken)).rejects.toMatchObject({ code: 'invalid_refresh_token' });
    expect((await identify(stack.deps, tokens.accessToken)).sessionId).toBe(tokens.sessionId);
  });

  it('keeps no token in plain text', async () => {
    const { refreshToken } = await logIn();
    const rows = await stack
      .db('refresh_tokens')
      .select(stack.db.raw("encode(token_hash, 'escape') as hash"), 'successor_id');
    expect(JSON.stringify(rows)).not.toContain(refreshToken.slice(4));
  });
});

describe('sessions', () => {
  it('answers for all open sockets at once, with the present role', async () => {
    const [one, two] = [await logIn(), await logIn()];
    const open = [await identify(stack.deps, one.accessToken), await identify(stack.deps, two.accessToken)];
    await logout(stack.deps, {
      principal: await identify(stack.deps, two.accessToken),
      address: null,
      requestId: null,
    });
    expect(await recheckPrincipals(stack.deps, open)).toEqual([open[0], null]);
    await stack.db('users').update({ role: 'viewer' });
    try {
      expect((await recheckPrincipals(stack.deps, open))[0]?.roles).toEqual(['viewer']);
      expect((await identify(stack.deps, one.accessToken)).roles).toEqual(['viewer']);
    } finally {
      await stack.db('users').update({ role: 'admin' });
    }
    await stack
      .db('sessions')
      .where({ id: one.sessionId })
      .update({ expires_at: stack.db.raw("now() - interval '1 second'") });
    expect(await recheckPrincipals(stack.deps, open)).toEqual([null, null]);
    expect(await recheckPrincipals(stack.deps, [])).toEqual([]);
  });

  it('ends once, whoever asks again', async () => {
    const tokens = await logIn();
    const actor = {
      principal: await identify(stack.deps, tokens.accessToken),
      address: null,
      requestId: null,
    };
    const before = stack.events.length;
    await Promise.all(Array.from({ length: 5 }, () => logout(stack.deps, actor)));
    expect(stack.events.slice(before).map((event) => event.type)).toEqual(['session.revoked']);
  });

  it('are deleted with their tokens long after they ended', async () => {
    const [ended, live] = [await logIn(), await logIn()];
    const id = ended.sessionId;
    await stack.db('sessions').where({ id }).update({ revoked_at: '2020-01-01T00:00:00Z' });
    expect(await deleteOldSessions(stack.db, new Date('2020-01-02T00:00:00Z'), 100)).toBe(1);
    expect(await stack.db('refresh_tokens').where({ session_id: id })).toEqual([]);
    expect((await identify(stack.deps, live.accessToken)).sessionId).toBe(live.sessionId);
  });
});
