/** Counters, locks and bans, as parallel and patient guessers meet them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deleteOldBans } from '../../db/bans.ts';
import { deleteOldAttempts } from '../../db/login-attempts.ts';
import {
  ATTEMPT_RETENTION_MS,
  lockRules,
  MAX_REFUSAL_ROWS,
  subjectOf,
  subjectOfUser,
} from '../../domain/identity/attempts.ts';
import { liftBan, listBanPage, unlockUser } from '../../domain/identity/bans.ts';
import { login } from '../../domain/identity/login.ts';
import { refresh } from '../../domain/identity/refresh.ts';
import { registerUser } from '../../domain/identity/register.ts';
import { actorOf, type IdentityStack, readAudit, startIdentity } from '../support/identity.ts';
import { addAccount, freshAddress, userPassword } from '../support/second-factor.ts';

let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity();
});
afterAll(() => stack.close());

const from = (address: string | null) => ({ address, requestId: 'request-1', userAgent: 'test' });
const tryLogin = (name: string, password: string, address: string | null = freshAddress()) =>
  login(stack.deps, from(address), { login: name, password, family: 'house' });

/** Logins that all pass the gate before the first of them is verified. */
function parallelLogins(count: number, name: string, addressOf: () => string): Promise<string[]> {
  let arrived = 0;
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const deps: IdentityStack['deps'] = {
    ...stack.deps,
    passwords: {
      ...stack.deps.passwords,
      async verify(password, hash) {
        arrived += 1;
        if (arrived === count) open();
        await opened;
        return stack.deps.passwords.verify(password, hash);
      },
    },
  };
  const guess = (i: number) =>
    login(deps, from(addressOf()), { login: name, password: `wrong-${i}`, family: 'house' });
  return Promise.all(Array.from({ length: count }, (_, i) => outcomeOf(guess(i))));
}

/** Code that a login ends with, `open` for a good one. */
const outcomeOf = (attempt: Promise<unknown>): Promise<string> =>
  attempt.then(
    () => 'open',
    (error: { code?: string }) => error.code ?? String(error),
  );

async function fail(name: string, times: number, address?: string): Promise<string[]> {
  const codes: string[] = [];
  for (let i = 0; i < times; i++) codes.push(await outcomeOf(tryLogin(name, 'wrong', address)));
  return codes;
}

/** Let the lock of a subject, and what led to it, be over. */
async function age(subject: string, minutes: number, failureMinutes = minutes): Promise<void> {
  const back = stack.db.raw(`interval '${minutes} minutes'`);
  const failuresBack = stack.db.raw(`interval '${failureMinutes} minutes'`);
  await stack
    .db('login_subjects')
    .where({ subject })
    .update({ locked_until: stack.db.raw('locked_until - ?', [back]) });
  await stack
    .db('login_failures')
    .where({ subject })
    .update({ last_failed_at: stack.db.raw('last_failed_at - ?', [failuresBack]) });
}

const sumOf = async (subject: string): Promise<number> => {
  const [row] = await stack.db('login_failures').where({ subject }).sum({ failures: 'failures' });
  return Number(row?.failures ?? 0);
};

/** Minutes until the lock of an account ends. */
async function lockMinutes(userId: string): Promise<number> {
  const row = await stack
    .db('login_subjects')
    .where({ subject: subjectOfUser(userId) })
    .first('locked_until');
  const until: Date | null = row?.locked_until ?? null;
  return Math.max(0, until === null ? 0 : Math.round((until.getTime() - Date.now()) / 60_000));
}

const actor = actorOf('admin');

describe('an account', () => {
  it('is locked by five failures, from wherever they come, and then refuses the right password as well', async () => {
    const id = await addAccount(stack, 'five');
    expect(await fail('five', 5)).toEqual(Array(5).fill('invalid_credentials'));
    const refused = tryLogin('five', userPassword);
    await expect(refused).rejects.toMatchObject({
      code: 'account_locked',
      status: 403,
      headers: { 'Retry-After': expect.stringMatching(/^(899|900)$/) },
    });
    await expect(refused).rejects.toThrow(/^Account is locked\. Please try again in (899|900) seconds\.$/);
    const rows = (await readAudit(stack.db, 'account.locked')).filter((row) => row.target_id === id);
    expect(rows).toMatchObject([{ details: { level: 1, lockedUntil: expect.any(String) } }]);
    const denied = (await readAudit(stack.db, 'auth.login')).filter(
      (row) => row.target_id === id && row.outcome === 'denied',
    );
    expect(denied).toMatchObject([{ details: { reason: 'account_locked' } }]);
  });

  it('lets four failures pass', async () => {
    await addAccount(stack, 'four');
    await fail('four', 4);
    expect(await outcomeOf(tryLogin('four', userPassword))).toBe('open');
  });

  it('counts each of twenty parallel failures, and lets no right guess in behind them', async () => {
    const id = await addAccount(stack, 'parallel');
    const codes = await parallelLogins(20, 'parallel', freshAddress);
    expect(await sumOf(`user:${id}`)).toBe(20);
    expect(codes.filter((code) => code === 'invalid_credentials')).toHaveLength(lockRules.afterFailures);
    expect(codes.filter((code) => code === 'account_locked')).toHaveLength(20 - lockRules.afterFailures);
    expect(await lockMinutes(id)).toBe(15);
    expect(
      await readAudit(stack.db, 'account.locked').then((rows) => rows.filter((r) => r.target_id === id)),
    ).toHaveLength(1);
  });

  it('counts each of twenty parallel failures from one address', async () => {
    const id = await addAccount(stack, 'parallel-here');
    const address = freshAddress();
    await parallelLogins(20, 'parallel-here', () => address);
    expect(await sumOf(`user:${id}`)).toBe(20);
    const [row] = await stack.db('address_failures').where({ network: address });
    expect(row).toMatchObject({ minute_failures: 20, hour_failures: 20 });
  });

  it('refuses the right guess that was being verified while wrong ones closed the gate', async () => {
    const id = await addAccount(stack, 'overtaken');
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let isVerifying = (): void => undefined;
    const verifying = new Promise<void>((resolve) => {
      isVerifying = resolve;
    });
    const slow = {
      ...stack.deps,
      passwords: {
        ...stack.deps.passwords,
        async verify(password: string, hash: string | null) {
          isVerifying();
          await held;
          return stack.deps.passwords.verify(password, hash);
        },
      },
    };
    const right = login(slow, from(freshAddress()), {
      login: 'overtaken',
      password: userPassword,
      family: 'house',
    });
    await verifying;
    await fail('overtaken', 5);
    release();
    expect(await outcomeOf(right)).toBe('account_locked');
    expect(await stack.db('sessions').where({ user_id: id })).toEqual([]);
  });

  it('is one account in every spelling of its name and by its address', async () => {
    await addAccount(stack, 'twin', { email: 'Twin@example.org' });
    for (const spelling of ['twin', ' TWIN ', 'ｔｗｉｎ', 't\u200bwin', 'TWIN@example.org']) {
      expect(await fail(spelling, 1)).toEqual(['invalid_credentials']);
    }
    for (const spelling of ['Twin', 'twin\u00a0', 'twin@EXAMPLE.org']) {
      expect(await outcomeOf(tryLogin(spelling, userPassword))).toBe('account_locked');
    }
  });

  it('is locked for longer each time, for four hours at most, and a day of peace starts anew', async () => {
    const id = await addAccount(stack, 'stubborn');
    const minutes: number[] = [];
    for (let i = 0; i < 6; i++) {
      await fail('stubborn', 5);
      const length = await lockMinutes(id);
      minutes.push(length);
      await age(`user:${id}`, length + 1);
      expect(await lockMinutes(id)).toBe(0);
    }
    expect(minutes).toEqual([15, 30, 60, 120, 240, 240]);
    await age(`user:${id}`, 25 * 60);
    await fail('stubborn', 5);
    expect(await lockMinutes(id)).toBe(15);
  });

  it('has five new tries after a lock, whatever was counted while it held', async () => {
    const id = await addAccount(stack, 'again');
    const address = freshAddress();
    await parallelLogins(7, 'again', () => address);
    expect(await lockMinutes(id)).toBe(15);
    // The lock is over, while what led to it would still be within the window.
    await age(`user:${id}`, 15.1, 14.9);
    await stack.db('address_failures').where({ network: address }).delete();
    expect(await fail('again', 4, address)).toEqual(Array(4).fill('invalid_credentials'));
    expect(await lockMinutes(id)).toBe(0);
    await fail('again', 1, address);
    expect(await lockMinutes(id)).toBe(30);
  });

  it('forgets failures older than a quarter of an hour', async () => {
    const id = await addAccount(stack, 'slow');
    for (let i = 0; i < 3; i++) {
      await fail('slow', 2);
      await age(`user:${id}`, 16);
    }
    expect(await outcomeOf(tryLogin('slow', userPassword))).toBe('open');
  });

  it('forgets with a good login what failed from there, and only that', async () => {
    const id = await addAccount(stack, 'shared');
    const [mine, theirs] = [freshAddress(), freshAddress()];
    await fail('shared', 2, mine);
    await fail('shared', 2, theirs);
    expect(await outcomeOf(tryLogin('shared', userPassword, mine))).toBe('open');
    expect(await stack.db('login_failures').where({ subject: `user:${id}` })).toMatchObject([
      { network: theirs, failures: 2 },
    ]);
    const [address] = await stack.db('address_failures').where({ network: mine });
    expect(address).toMatchObject({ minute_failures: 2, hour_failures: 2 });
    await fail('shared', 3, mine);
    expect(await outcomeOf(tryLogin('shared', userPassword, mine))).toBe('account_locked');
  });

  it('is unlocked by an administrator, and by nobody else', async () => {
    const id = await addAccount(stack, 'freed');
    await fail('freed', 5);
    for (const role of ['viewer', 'user', 'operator', 'system', 'agent'] as const) {
      await expect(unlockUser(stack.deps, actorOf(role), id)).rejects.toMatchObject({ code: 'forbidden' });
    }
    await unlockUser(stack.deps, actor, id);
    expect(await outcomeOf(tryLogin('freed', userPassword))).toBe('open');
    const rows = (await readAudit(stack.db, 'account.unlocked')).filter((row) => row.target_id === id);
    expect(rows).toMatchObject([{ principal_id: 'admin-1', details: { wasLocked: true } }]);
    await expect(unlockUser(stack.deps, actor, '01890000-0000-7000-8000-000000000000')).rejects.toMatchObject(
      { code: 'user_not_found' },
    );
  });
});

describe('a name that nobody has', () => {
  it('is counted and locked like one that somebody has', async () => {
    expect(await fail('ghost', 5)).toEqual(Array(5).fill('invalid_credentials'));
    await expect(tryLogin(' GHOST', 'x')).rejects.toMatchObject({
      code: 'account_locked',
      headers: { 'Retry-After': expect.stringMatching(/^(899|900)$/) },
    });
  });

  it('is kept nowhere: people type passwords into the wrong field', async () => {
    await fail('hunter2-typed-as-a-name', 5);
    await outcomeOf(tryLogin('hunter2-typed-as-a-name', 'x'));
    for (const table of ['login_subjects', 'login_failures', 'audit_events']) {
      expect(JSON.stringify(await stack.db(table))).not.toContain('hunter2');
    }
    const other = { identity: { ...stack.deps.identity, secretKeys: ['n'.repeat(32)] } };
    expect(subjectOf(other, undefined, 'ghost')).not.toBe(subjectOf(stack.deps, undefined, 'ghost'));
  });
});

describe('an address', () => {
  let names = 0;
  const spray = async (address: string, times: number): Promise<string[]> => {
    const codes: string[] = [];
    for (let i = 0; i < times; i++) {
      names += 1;
      codes.push(await outcomeOf(tryLogin(`sprayed-${names}`, 'wrong', address)));
    }
    return codes;
  };
  const nextMinute = (network: string) =>
    stack
      .db('address_failures')
      .where({ network })
      .update({ minute_started_at: stack.db.raw("minute_started_at - interval '1 minute'") });

  it('waits after ten failures in a minute, whomever they were for', async () => {
    await addAccount(stack, 'neighbour');
    const address = freshAddress();
    expect(await spray(address, 10)).toEqual(Array(10).fill('invalid_credentials'));
    await expect(tryLogin('neighbour', userPassword, address)).rejects.toMatchObject({
      code: 'rate_limited',
      status: 429,
      headers: { 'Retry-After': expect.stringMatching(/^(59|60)$/) },
    });
    expect(await outcomeOf(tryLogin('neighbour', userPassword))).toBe('open');
    await nextMinute(address);
    expect(await outcomeOf(tryLogin('neighbour', userPassword, address))).toBe('open');
  });

  it('is banned for a day after fifty in an hour: no login, no refresh, no registration', async () => {
    await addAccount(stack, 'bystander');
    const address = freshAddress();
    const before = await tryLogin('bystander', userPassword, address);
    for (let minute = 0; minute < 5; minute++) {
      await spray(address, 10);
      await nextMinute(address);
    }
    await expect(tryLogin('bystander', userPassword, address)).rejects.toMatchObject({
      code: 'address_banned',
      status: 429,
      headers: { 'Retry-After': expect.stringMatching(/^(86399|86400)$/) },
    });
    await expect(refresh(stack.deps, from(address), before.refreshToken)).rejects.toMatchObject({
      code: 'address_banned',
    });
    const wish = { username: 'newcomer', password: 'Correct-Horse-9', family: 'house' } as const;
    await expect(registerUser(stack.deps, from(address), wish)).rejects.toMatchObject({
      code: 'address_banned',
    });
    expect(await outcomeOf(tryLogin('bystander', userPassword))).toBe('open');
    const bans = (await readAudit(stack.db, 'address.banned')).filter((row) => row.target_id === address);
    expect(bans).toMatchObject([{ details: { failures: 50 } }]);
    const refused = await readAudit(stack.db, 'auth.refresh');
    expect(refused).toMatchObject([{ outcome: 'denied', address, details: { reason: 'address_banned' } }]);
  });

  it('is one with the rest of its IPv6 network, and not another for being mapped', async () => {
    await spray('2001:db8:7:7::1', 5);
    await spray('2001:DB8:7:7:ffff::2', 5);
    expect(await outcomeOf(tryLogin('anybody', 'x', '2001:db8:7:7:1:2:3:4'))).toBe('rate_limited');
    expect(await outcomeOf(tryLogin('anybody', 'x', '2001:db8:7:8::1'))).toBe('invalid_credentials');
    const address = freshAddress();
    await spray(`::ffff:${address}`, 10);
    expect(await outcomeOf(tryLogin('anybody', 'x', address))).toBe('rate_limited');
  });

  it('is banned once by parallel failures, of which a few are told more than that', async () => {
    const address = freshAddress();
    await stack.db('address_failures').insert({
      network: address,
      hour_failures: 45,
      hour_started_at: stack.db.fn.now(),
    });
    const codes = await parallelLogins(20, 'crowd', () => address);
    expect(codes.filter((code) => code === 'invalid_credentials').length).toBeLessThanOrEqual(10);
    expect(await stack.db('banned_addresses').where({ network: address })).toHaveLength(1);
    const bans = (await readAudit(stack.db, 'address.banned')).filter((row) => row.target_id === address);
    expect(bans).toHaveLength(1);
  });

  it('leaves a bounded number of rows with what is refused unseen, and the next one tells of the rest', async () => {
    const address = freshAddress();
    await stack.db('banned_addresses').insert({
      network: address,
      failures: 50,
      expires_at: stack.db.raw("now() + interval '1 hour'"),
    });
    await Promise.all(Array.from({ length: 30 }, () => outcomeOf(tryLogin('flooded', 'x', address))));
    const rows = () =>
      readAudit(stack.db, 'auth.login').then((all) => all.filter((row) => row.address === address));
    expect(await rows()).toHaveLength(MAX_REFUSAL_ROWS);
    await stack
      .db('address_failures')
      .where({ network: address })
      .update({ refusals_started_at: stack.db.raw("refusals_started_at - interval '1 minute'") });
    await outcomeOf(tryLogin('flooded', 'x', address));
    expect((await rows()).at(-1)?.details).toEqual({ reason: 'address_banned', leftOutBefore: 10 });
  });

  it('without a name is counted as one', async () => {
    for (let i = 0; i < 10; i++) await outcomeOf(tryLogin(`nowhere-${i}`, 'x', null));
    expect(await outcomeOf(tryLogin('nowhere', 'x', null))).toBe('rate_limited');
  });
});

describe('a ban', () => {
  const ban = (network: string, expiry = "now() + interval '1 hour'") =>
    stack.db('banned_addresses').insert({ network, failures: 50, expires_at: stack.db.raw(expiry) });

  it('is listed page by page while it holds, and lifted by an administrator', async () => {
    await stack.db('banned_addresses').delete();
    const addresses = [freshAddress(), freshAddress(), '2001:db8:9:9::/64'];
    for (const address of addresses) await ban(address);
    await ban(freshAddress(), "now() - interval '1 second'");
    const first = await listBanPage(stack.deps, actor, { limit: 2 });
    const rest = await listBanPage(stack.deps, actor, { limit: 2, cursor: first.nextCursor ?? '' });
    expect(rest.nextCursor).toBeNull();
    expect([...first.items, ...rest.items].map((row) => row.network).sort()).toEqual(addresses.sort());

    await stack.db('address_failures').insert({
      network: '2001:db8:9:9::/64',
      hour_failures: 50,
      hour_started_at: stack.db.fn.now(),
    });
    await liftBan(stack.deps, actor, '2001:db8:9:9::1234');
    expect(await outcomeOf(tryLogin('lifted', 'x', '2001:db8:9:9::1'))).toBe('invalid_credentials');
    await expect(liftBan(stack.deps, actor, '2001:db8:9:9::1')).rejects.toMatchObject({
      code: 'ban_not_found',
    });
    expect(await readAudit(stack.db, 'address.unbanned')).toMatchObject([
      { principal_id: 'admin-1', target_id: '2001:db8:9:9::/64', details: { failures: 50 } },
    ]);
    for (const role of ['viewer', 'user', 'operator', 'system', 'agent'] as const) {
      const denied = { code: 'forbidden' };
      await expect(listBanPage(stack.deps, actorOf(role), { limit: 1 })).rejects.toMatchObject(denied);
      await expect(liftBan(stack.deps, actorOf(role), '192.0.2.1')).rejects.toMatchObject(denied);
    }
  });

  it('expires by itself, and the next hour of failures bans again', async () => {
    const address = freshAddress();
    await ban(address, "now() - interval '1 second'");
    expect(await outcomeOf(tryLogin('expired', 'x', address))).toBe('invalid_credentials');
    await stack.db('address_failures').where({ network: address }).update({ hour_failures: 49 });
    await outcomeOf(tryLogin('expired', 'x', address));
    expect(await outcomeOf(tryLogin('expired', 'x', address))).toBe('address_banned');
  });
});

it('counters that nobody touches are deleted, locks and fresh ones stay', async () => {
  const [old, fresh] = [await addAccount(stack, 'old-one'), await addAccount(stack, 'fresh-one')];
  const address = freshAddress();
  await fail('old-one', 2, address);
  await fail('fresh-one', 2);
  const longAgo = new Date(Date.now() - ATTEMPT_RETENTION_MS - 60_000);
  await stack
    .db('login_subjects')
    .where({ subject: `user:${old}` })
    .update({ updated_at: longAgo });
  await stack.db('address_failures').where({ network: address }).update({ updated_at: longAgo });
  const limit = new Date(Date.now() - ATTEMPT_RETENTION_MS);
  expect(await deleteOldAttempts(stack.db, limit, 100)).toBe(1);
  expect(await stack.db('login_subjects').where({ subject: `user:${old}` })).toEqual([]);
  expect(await stack.db('login_failures').where({ subject: `user:${old}` })).toEqual([]);
  expect(await stack.db('address_failures').where({ network: address })).toEqual([]);
  expect(await sumOf(`user:${fresh}`)).toBe(2);
  const ended = await stack.db('banned_addresses').where('expires_at', '<', stack.db.fn.now());
  expect(await deleteOldBans(stack.db, new Date(), 100)).toBe(ended.length);
});
