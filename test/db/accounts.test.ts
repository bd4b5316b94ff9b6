import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Actor } from '../../domain/deps.ts';
import { changePassword, resetPassword } from '../../domain/identity/change-password.ts';
import { identify } from '../../domain/identity/identify.ts';
import { login } from '../../domain/identity/login.ts';
import { type Registration, registerUser } from '../../domain/identity/register.ts';
import { endOtherSessions, endOwnSession, listOwnSessions } from '../../domain/identity/sessions.ts';
import {
  createUser,
  deleteUser,
  findUserByName,
  getUser,
  listUsers,
  setRole,
  updateUser,
} from '../../domain/identity/users.ts';
import { can } from '../../domain/policy.ts';
import {
  adminPassword,
  type IdentityStack,
  readAudit,
  startIdentity,
  testOrigin,
} from '../support/identity.ts';

const PASSWORD = 'Correct-Horse-8';

let stack: IdentityStack;
let admin: Actor;
beforeAll(async () => {
  stack = await startIdentity();
  admin = await logIn('admin', adminPassword);
});
afterAll(() => stack.close());

async function logIn(name: string, password = PASSWORD): Promise<Actor & { token: string }> {
  const { accessToken } = await login(stack.deps, testOrigin, { login: name, password, family: 'house' });
  const principal = await identify(stack.deps, accessToken);
  return { principal, address: testOrigin.address, requestId: testOrigin.requestId, token: accessToken };
}

const make = (username: string, more: object = {}) =>
  createUser(stack.deps, admin, { username, password: PASSWORD, role: 'user', ...more });
const register = (wish: Partial<Registration>) =>
  registerUser(stack.deps, testOrigin, { password: PASSWORD, family: 'house', ...wish });
const isLive = async (token: string): Promise<boolean> =>
  identify(stack.deps, token).then(
    () => true,
    () => false,
  );

describe('an account', () => {
  it('is one, whatever the case, the white space or the spelling of its name', async () => {
    const user = await make('Ren\u00e9e', { email: 'Renee@Example.org' });
    for (const twin of ['RENE\u0301E', 'rene\u0301e', '\uff32en\u00e9e']) {
      await expect(make(twin), twin).rejects.toMatchObject({ code: 'user_exists' });
      expect((await findUserByName(stack.deps, admin, twin))?.id).toBe(user.id);
      expect((await logIn(twin)).principal.id).toBe(user.id);
    }
    expect((await logIn(' ren\u00e9e\u200b ')).principal.id).toBe(user.id);
    expect((await logIn('RENEE@EXAMPLE.ORG')).principal.id).toBe(user.id);
    await expect(make('other', { email: 'renee@example.ORG' })).rejects.toMatchObject({
      code: 'email_exists',
    });
  });

  it('goes by no name that is the address of another, nor the other way round', async () => {
    await make('holder', { email: 'holder@example.org' });
    await make('name@example.org', { email: 'name@example.org' });
    await expect(make('HOLDER@example.org')).rejects.toMatchObject({ code: 'user_exists' });
    await expect(make('third', { email: 'Name@Example.org' })).rejects.toMatchObject({
      code: 'email_exists',
    });
    const fourth = await make('fourth');
    const change = updateUser(stack.deps, admin, fourth.id, { email: 'name@example.org' });
    await expect(change).rejects.toMatchObject({ code: 'email_exists' });
  });

  it('is made once by twenty who make it at once', async () => {
    const names = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? 'Racer' : 'racer'));
    const results = await Promise.allSettled(names.map((name) => make(name)));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'user_exists' });
    }
  });

  it.each([
    [{ username: 'a da' }, 'validation_failed'],
    [{ username: 'ada\r\nX: y' }, 'validation_failed'],
    [{ email: 'not an address' }, 'validation_failed'],
    [{ password: 'short' }, 'password_refused'],
    [{ password: 'password1' }, 'password_refused'],
    [{ password: 'x'.repeat(73) }, 'password_refused'],
    [{ username: 'long-enough', password: 'Long-Enough' }, 'password_refused'],
  ])('is refused with %j', async (wish, code) => {
    await expect(make('somebody', wish)).rejects.toMatchObject({ code });
  });

  it('is handled by administrators only; to others it is not there', async () => {
    const { id } = await make('plain');
    const other = await make('plain-too', { role: 'operator' });
    const actor = await logIn('plain-too');
    for (const act of [
      () => createUser(stack.deps, actor, { username: 'x1', password: PASSWORD, role: 'admin' }),
      () => listUsers(stack.deps, actor, { limit: 10 }),
      () => updateUser(stack.deps, actor, other.id, { isActive: true }),
      () => setRole(stack.deps, actor, other.id, 'admin'),
      () => deleteUser(stack.deps, actor, id),
      () => resetPassword(stack.deps, actor, other.id),
    ]) {
      await expect(act()).rejects.toMatchObject({ code: 'forbidden' });
    }
    await expect(getUser(stack.deps, actor, id)).rejects.toMatchObject({ code: 'user_not_found' });
    expect(await findUserByName(stack.deps, actor, 'plain')).toBeUndefined();
    expect((await getUser(stack.deps, actor, other.id)).username).toBe('plain-too');
  });

  it('is listed newest first, page by page', async () => {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await listUsers(stack.deps, admin, { limit: 2, cursor });
      seen.push(...page.items.map((user) => user.username));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    const rows = await stack
      .db('users')
      .select('username')
      .orderBy('created_at', 'desc')
      .orderBy('id', 'desc');
    expect(seen).toEqual(rows.map((row: { username: string }) => row.username));
    const admins = await listUsers(stack.deps, admin, { limit: 10 }, { role: 'admin', isActive: true });
    expect(admins.items.map((user) => user.username)).toEqual(['admin']);
  });
});

describe('an administrator', () => {
  it('ends the sessions of whom they demote, disable or delete, and leaves a trail', async () => {
    const { id } = await make('target', { role: 'operator' });
    const before = await logIn('target');
    expect((await setRole(stack.deps, admin, id, 'operator')).role).toBe('operator');
    expect(await isLive(before.token)).toBe(true);
    expect((await setRole(stack.deps, admin, id, 'viewer')).role).toBe('viewer');
    expect(await isLive(before.token)).toBe(false);
    expect(stack.events.at(-1)).toMatchObject({ type: 'session.revoked', data: { reason: 'role_changed' } });
    const [row] = await readAudit(stack.db, 'user.set_role');
    expect(row).toMatchObject({ target_id: id, details: { role: 'viewer', previous: 'operator' } });

    const again = await logIn('target');
    await updateUser(stack.deps, admin, id, { isActive: false, displayName: 'T' });
    expect(await isLive(again.token)).toBe(false);
    await expect(logIn('target')).rejects.toMatchObject({ code: 'account_disabled' });
    expect((await readAudit(stack.db, 'user.update')).at(-1)).toMatchObject({
      target_id: id,
      details: { changed: ['displayName', 'isActive'], isActive: false },
    });
    await updateUser(stack.deps, admin, id, { isActive: true });
    expect(await isLive(again.token)).toBe(false);

    const last = await logIn('target');
    await deleteUser(stack.deps, admin, id);
    expect(await isLive(last.token)).toBe(false);
    expect(stack.events.at(-1)).toMatchObject({ ownerId: id, data: { reason: 'account_deleted' } });
    await expect(deleteUser(stack.deps, admin, id)).rejects.toMatchObject({ code: 'user_not_found' });
    expect((await readAudit(stack.db, 'user.delete')).at(-1)).toMatchObject({
      target_id: id,
      details: { username: 'target', role: 'viewer' },
    });
  });

  it('remains: of two who demote each other at once one stays', async () => {
    const second = await make('second-admin', { role: 'admin' });
    const first = admin.principal.id;
    const other = await logIn('second-admin');
    const results = await Promise.allSettled([
      setRole(stack.deps, admin, second.id, 'user'),
      setRole(stack.deps, other, first, 'user'),
    ]);
    expect(results.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected']);
    const [left] = await stack.db('users').where({ role: 'admin', is_active: true });
    const actor =
      left.username === 'admin' ? await logIn('admin', adminPassword) : await logIn('second-admin');
    for (const act of [
      () => setRole(stack.deps, actor, left.id, 'operator'),
      () => updateUser(stack.deps, actor, left.id, { isActive: false }),
      () => deleteUser(stack.deps, actor, left.id),
    ]) {
      await expect(act()).rejects.toMatchObject({ code: 'conflict' });
    }
    await setRole(stack.deps, actor, first, 'admin');
    admin = await logIn('admin', adminPassword);
    await setRole(stack.deps, admin, second.id, 'user');
  });

  it('who is disabled does not count', async () => {
    const idle = await make('idle-admin', { role: 'admin' });
    await updateUser(stack.deps, admin, idle.id, { isActive: false });
    await expect(deleteUser(stack.deps, admin, admin.principal.id)).rejects.toMatchObject({
      code: 'conflict',
    });
    await deleteUser(stack.deps, admin, idle.id);
  });
});

describe('a password', () => {
  it('is changed by who knows the old one; the session that asks stays, the others end', async () => {
    const { id } = await make('changer');
    const [one, two] = [await logIn('changer'), await logIn('changer')];
    const change = (oldPassword: string, newPassword: string, minLength?: number) =>
      changePassword(stack.deps, one, { oldPassword, newPassword, ...(minLength && { minLength }) });
    await expect(change('wrong', 'Another-Horse-1')).rejects.toMatchObject({ code: 'invalid_credentials' });
    await expect(change(PASSWORD, 'Short-9', 12)).rejects.toMatchObject({ code: 'password_refused' });
    await expect(change(PASSWORD, 'elevenchars', 12)).rejects.toMatchObject({
      code: 'password_refused',
      details: { rule: 'too_short' },
    });
    expect(await isLive(two.token)).toBe(true);
    await change(PASSWORD, 'Another-Horse-1');
    expect([await isLive(one.token), await isLive(two.token)]).toEqual([true, false]);
    await expect(logIn('changer')).rejects.toMatchObject({ code: 'invalid_credentials' });
    await logIn('changer', 'Another-Horse-1');
    const outcomes = (await readAudit(stack.db, 'user.change_password')).filter(
      (row) => row.target_id === id,
    );
    expect(outcomes.map((row) => row.outcome)).toEqual(['failed', 'success']);
  });

  it('is not the present one nor one of the last three, and no more than those are kept', async () => {
    const { id } = await make('historian');
    const actor = await logIn('historian');
    const passwords = [PASSWORD, 'Horse-Number-1', 'Horse-Number-2', 'Horse-Number-3', 'Horse-Number-4'];
    const change = (from: number, to: string) =>
      changePassword(stack.deps, actor, { oldPassword: passwords[from] ?? '', newPassword: to });
    for (const [index, password] of passwords.slice(1).entries()) {
      for (const old of passwords.slice(Math.max(0, index - 2), index + 1)) {
        await expect(change(index, old), old).rejects.toMatchObject({ details: { rule: 'used_before' } });
      }
      await change(index, password);
    }
    await expect(change(4, 'Horse-Number-1')).rejects.toMatchObject({ details: { rule: 'used_before' } });
    expect(await stack.db('password_history').where({ user_id: id })).toHaveLength(3);
    await change(4, PASSWORD);
    await expect(resetPassword(stack.deps, admin, id, 'Horse-Number-4')).rejects.toMatchObject({
      code: 'password_refused',
    });
    // The wrong old password tells nothing of the history.
    await expect(
      changePassword(stack.deps, actor, { oldPassword: 'guess', newPassword: 'Horse-Number-4' }),
    ).rejects.toMatchObject({ code: 'invalid_credentials' });
  });

  it('is changed once by two who know it', async () => {
    await make('racer-2');
    const actor = await logIn('racer-2');
    const results = await Promise.allSettled(
      ['Winner-Horse-1', 'Winner-Horse-2'].map((newPassword) =>
        changePassword(stack.deps, actor, { oldPassword: PASSWORD, newPassword }),
      ),
    );
    expect(results.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected']);
  });

  it('that an administrator has reset must be changed before anything else', async () => {
    const { id } = await make('forgetful', { role: 'admin' });
    const old = await logIn('forgetful');
    const { generatedPassword } = await resetPassword(stack.deps, admin, id);
    expect(generatedPassword).toMatch(/^[\w-]{24}$/);
    expect(await isLive(old.token)).toBe(false);
    await expect(logIn('forgetful')).rejects.toMatchObject({ code: 'invalid_credentials' });
    const actor = await logIn('forgetful', generatedPassword ?? '');
    expect(actor.principal.mustChangePassword).toBe(true);
    await expect(listUsers(stack.deps, actor, { limit: 1 })).rejects.toMatchObject({
      code: 'password_change_required',
    });
    expect(can(actor.principal, 'execute', 'command')).toBe(false);
    expect(can(actor.principal, 'read', 'session', id)).toBe(true);
    await changePassword(stack.deps, actor, {
      oldPassword: generatedPassword ?? '',
      newPassword: 'My-Own-Horse-1',
    });
    const free = await identify(stack.deps, actor.token);
    expect(free.mustChangePassword).toBeUndefined();
    expect((await listUsers(stack.deps, { ...actor, principal: free }, { limit: 1 })).items).toHaveLength(1);
    await setRole(stack.deps, admin, id, 'user');
    expect(await resetPassword(stack.deps, admin, id, 'Given-Horse-1')).toEqual({ generatedPassword: null });
    expect((await logIn('forgetful', 'Given-Horse-1')).principal.mustChangePassword).toBe(true);
    const resets = (await readAudit(stack.db, 'user.reset_password')).filter((row) => row.target_id === id);
    expect(resets.map((row) => row.details)).toEqual([{ isGenerated: true }, { isGenerated: false }]);
  });

  it('is kept as a bcrypt hash only', async () => {
    const dump = JSON.stringify([
      await stack.db('users'),
      await stack.db('password_history'),
      await stack.db('audit_events'),
      stack.events,
    ]);
    expect(dump).toContain('$2b$');
    for (const secret of [PASSWORD, adminPassword, 'Horse-Number-4', 'My-Own-Horse-1', 'Given-Horse-1']) {
      expect(dump).not.toContain(secret);
    }
  });
});

describe('registration', () => {
  it('gives an account of the role user, and a session', async () => {
    const tokens = await register({ email: 'new@example.org', displayName: 'New' });
    expect(tokens.user).toMatchObject({ username: 'new@example.org', role: 'user', displayName: 'New' });
    expect((await identify(stack.deps, tokens.accessToken)).roles).toEqual(['user']);
    expect((await readAudit(stack.db, 'user.register')).at(-1)).toMatchObject({ target_id: tokens.user.id });
    await expect(register({ email: 'NEW@example.org' })).rejects.toMatchObject({ code: 'email_exists' });
    await expect(register({ username: 'ADMIN' })).rejects.toMatchObject({ code: 'user_exists' });
    await expect(register({})).rejects.toMatchObject({ code: 'validation_failed' });
    await expect(register({ username: 'victim@example.org' })).rejects.toMatchObject({
      code: 'validation_failed',
    });
    const rules = { needsUpperAndDigit: true };
    await expect(register({ username: 'weak', password: 'no-capital-1', rules })).rejects.toMatchObject({
      details: { rule: 'needs_upper_and_digit' },
    });
  });

  it('is closed where it is closed', async () => {
    const closed = { ...stack.deps, identity: { ...stack.deps.identity, registration: 'off' as const } };
    const wish = { username: 'late', password: PASSWORD, family: 'house' as const };
    await expect(registerUser(closed, testOrigin, wish)).rejects.toMatchObject({
      code: 'registration_closed',
    });
    expect((await readAudit(stack.db, 'user.register')).at(-1)).toMatchObject({
      outcome: 'denied',
      details: { reason: 'registration_closed' },
    });
    expect(await findUserByName(stack.deps, admin, 'late')).toBeUndefined();
  });
});

describe('sessions of a user', () => {
  it('are listed and ended by their owner alone', async () => {
    await make('owner');
    const [one, two, three] = [await logIn('owner'), await logIn('owner'), await logIn('owner')];
    const listed = await listOwnSessions(stack.deps, two);
    expect(listed.map((session) => session.id)).toEqual(
      [three, two, one].map(({ principal }) => principal.sessionId),
    );
    expect(listed.map((session) => session.isCurrent)).toEqual([false, true, false]);
    expect(listed[0]).toMatchObject({ family: 'house', address: testOrigin.address, userAgent: 'test' });
    const foreign = admin.principal.sessionId ?? '';
    await expect(endOwnSession(stack.deps, two, foreign)).rejects.toMatchObject({
      code: 'session_not_found',
    });
    await endOwnSession(stack.deps, two, one.principal.sessionId ?? '');
    expect([await isLive(one.token), await isLive(two.token)]).toEqual([false, true]);
    await expect(endOwnSession(stack.deps, two, one.principal.sessionId ?? '')).rejects.toMatchObject({
      code: 'session_not_found',
    });
    expect(await endOtherSessions(stack.deps, two)).toBe(1);
    expect([await isLive(two.token), await isLive(three.token)]).toEqual([true, false]);
    expect(await isLive((await logIn('admin', adminPassword)).token)).toBe(true);
  });
});
