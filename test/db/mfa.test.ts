/** The second factor: set up, proved, used once, taken away. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Actor } from '../../domain/deps.ts';
import { createBackupCodes, hashBackupCode } from '../../domain/identity/backup-codes.ts';
import { identify } from '../../domain/identity/identify.ts';
import { login } from '../../domain/identity/login.ts';
import { disableMfa, getMfaStatus, resetMfa, setupMfa, verifyMfa } from '../../domain/identity/mfa.ts';
import type { IssuedTokens } from '../../domain/identity/tokens.ts';
import { createTotpSecret, findTotpStep } from '../../domain/identity/totp.ts';
import { SecretBoxError } from '../../domain/secret-box.ts';
import { actorOf, type IdentityStack, readAudit, startIdentity } from '../support/identity.ts';
import {
  addAccount,
  freshAddress,
  totpToken,
  userPassword,
  wrongTotpToken,
} from '../support/second-factor.ts';

let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity();
  // The clock stands in the middle of a step, so that none ends between making a token and sending it.
  vi.useFakeTimers({ toFake: ['Date'], now: Math.floor(Date.now() / 30_000) * 30_000 + 15_000 });
});
afterAll(async () => {
  vi.useRealTimers();
  await stack.close();
});

const logIn = (name: string, mfaToken?: string, password = userPassword): Promise<IssuedTokens> =>
  login(
    stack.deps,
    { address: freshAddress(), requestId: null },
    { login: name, password, mfaToken, family: 'house' },
  );

async function sessionOf(tokens: IssuedTokens): Promise<Actor> {
  const principal = await identify(stack.deps, tokens.accessToken);
  return { principal, address: freshAddress(), requestId: null };
}

interface Owner {
  id: string;
  name: string;
  actor: Actor;
  secret: string;
  backupCodes: string[];
}

/** An account with a second factor, proved with the token of the step before this one, so that this one is unused. */
async function addOwner(name: string): Promise<Owner> {
  const id = await addAccount(stack, name);
  const actor = await sessionOf(await logIn(name));
  const { secret } = await setupMfa(stack.deps, actor);
  const { backupCodes } = await verifyMfa(stack.deps, actor, totpToken(secret, -1));
  return { id, name, actor, secret, backupCodes };
}

/** Forget which steps were used. */
const rewind = (userId: string) => stack.db('user_mfa').where({ user_id: userId }).update({ last_step: 0 });

const auditOf = async (action: string, userId: string) =>
  (await readAudit(stack.db, action)).filter((row) => row.target_id === userId);

describe('setting up', () => {
  it('gives a secret that works only once it is proved, then backup codes once, and ends the other sessions', async () => {
    const id = await addAccount(stack, 'setup');
    const other = await logIn('setup');
    const actor = await sessionOf(await logIn('setup'));
    const { secret, otpauthUrl, qrCode } = await setupMfa(stack.deps, actor);
    expect(secret).toMatch(/^[A-Z2-7]{32}$/);
    expect(otpauthUrl).toBe(
      `otpauth://totp/Steelthread:setup?issuer=Steelthread&secret=${secret}&algorithm=SHA1&digits=6&period=30`,
    );
    expect(qrCode).toMatch(/^data:image\/png;base64,iVBOR/);
    expect(await getMfaStatus(stack.deps, actor)).toEqual({ isEnabled: false, backupCodesLeft: 0 });
    await logIn('setup');

    await expect(verifyMfa(stack.deps, actor, wrongTotpToken(secret))).rejects.toMatchObject({
      code: 'mfa_token_invalid',
      status: 401,
    });
    const { backupCodes } = await verifyMfa(stack.deps, actor, totpToken(secret, -1));
    expect(new Set(backupCodes).size).toBe(10);
    for (const code of backupCodes) expect(code).toMatch(/^([0-9a-z]{4}-){3}[0-9a-z]{4}$/);
    expect(await getMfaStatus(stack.deps, actor)).toEqual({ isEnabled: true, backupCodesLeft: 10 });
    await expect(identify(stack.deps, other.accessToken)).rejects.toMatchObject({ code: 'invalid_token' });
    const open = await stack.db('sessions').where({ user_id: id, revoked_at: null });
    expect(open).toMatchObject([{ id: actor.principal.sessionId }]);
    expect((await stack.db('sessions').where({ user_id: id }).whereNotNull('revoked_at')).length).toBe(2);
    expect(await auditOf('mfa.setup', id)).toHaveLength(1);
    expect(await auditOf('mfa.enable', id)).toMatchObject([{ outcome: 'failed' }, { outcome: 'success' }]);

    const repeated = { code: 'conflict' };
    await expect(setupMfa(stack.deps, actor)).rejects.toMatchObject(repeated);
    await expect(verifyMfa(stack.deps, actor, totpToken(secret))).rejects.toMatchObject(repeated);
  });

  it('again replaces what was not proved', async () => {
    await addAccount(stack, 'twice');
    const actor = await sessionOf(await logIn('twice'));
    const first = await setupMfa(stack.deps, actor);
    const second = await setupMfa(stack.deps, actor);
    const old = verifyMfa(stack.deps, actor, totpToken(first.secret));
    await expect(old).rejects.toMatchObject({ code: 'mfa_token_invalid' });
    await verifyMfa(stack.deps, actor, totpToken(second.secret));
  });

  it('is proved once when proved in parallel', async () => {
    const id = await addAccount(stack, 'eager');
    const actor = await sessionOf(await logIn('eager'));
    const { secret } = await setupMfa(stack.deps, actor);
    const token = totpToken(secret);
    const results = await Promise.allSettled(
      Array.from({ length: 5 }, () => verifyMfa(stack.deps, actor, token)),
    );
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    expect(await stack.db('mfa_backup_codes').where({ user_id: id })).toHaveLength(10);
  });

  it('needs a session of the account: no agent, no shared token, no token of a program', async () => {
    const id = await addAccount(stack, 'program');
    for (const role of ['agent', 'system'] as const) {
      await expect(setupMfa(stack.deps, actorOf(role))).rejects.toMatchObject({ code: 'forbidden' });
    }
    const withoutSession = actorOf('user', id);
    await expect(setupMfa(stack.deps, withoutSession)).rejects.toMatchObject({ code: 'forbidden' });
    await expect(verifyMfa(stack.deps, withoutSession, '000000')).rejects.toMatchObject({
      code: 'forbidden',
    });
    await expect(disableMfa(stack.deps, withoutSession, {})).rejects.toMatchObject({ code: 'forbidden' });
    await expect(
      verifyMfa(stack.deps, await sessionOf(await logIn('program')), '000000'),
    ).rejects.toMatchObject({
      code: 'conflict',
    });
  });
});

describe('logging in', () => {
  it('asks for the second factor only once the password was right', async () => {
    const owner = await addOwner('asked');
    await expect(logIn('asked')).rejects.toMatchObject({ code: 'mfa_required', status: 401 });
    await expect(logIn('asked', '')).rejects.toMatchObject({ code: 'mfa_required' });
    const wrong = { code: 'invalid_credentials' };
    await expect(logIn('asked', undefined, 'wrong')).rejects.toMatchObject(wrong);
    await expect(logIn('asked', totpToken(owner.secret), 'wrong')).rejects.toMatchObject(wrong);
    expect((await logIn('asked', totpToken(owner.secret))).user.id).toBe(owner.id);
    const reasons = (await auditOf('auth.login', owner.id)).map((row) => row.details.reason);
    expect(reasons).toEqual(['mfa_required', 'mfa_required', 'invalid_credentials', 'invalid_credentials']);
  });

  it('takes the step before, this one and the next, spelled in groups as well, and none further away', async () => {
    const { id, secret } = await addOwner('clock');
    for (const steps of [-2, 2]) {
      await rewind(id);
      await expect(logIn('clock', totpToken(secret, steps))).rejects.toMatchObject({
        code: 'mfa_token_invalid',
      });
    }
    for (const steps of [-1, 0, 1]) {
      await rewind(id);
      const token = totpToken(secret, steps);
      await logIn('clock', `${token.slice(0, 3)} ${token.slice(3)}`);
    }
  });

  it('takes each step once, and none before one that was used', async () => {
    const { id, secret } = await addOwner('replayed');
    await rewind(id);
    const [before, now] = [totpToken(secret, -1), totpToken(secret)];
    await logIn('replayed', now);
    for (const token of [now, before]) {
      await expect(logIn('replayed', token)).rejects.toMatchObject({ code: 'mfa_token_invalid' });
    }
  });

  it('lets one in of twenty who send the same token at once', async () => {
    const { id, secret } = await addOwner('raced');
    const token = totpToken(secret);
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => logIn('raced', token)));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    expect(await stack.db('sessions').where({ user_id: id, revoked_at: null })).toHaveLength(2);
  });

  it('takes each backup code once, however it is typed, also when sent twenty times at once', async () => {
    const { id, backupCodes } = await addOwner('lost-phone');
    const [first = '', second = ''] = backupCodes;
    await logIn('lost-phone', first);
    await expect(logIn('lost-phone', first)).rejects.toMatchObject({ code: 'mfa_token_invalid' });
    const typed = ` ${second.toUpperCase().replaceAll('-', ' ')} `;
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => logIn('lost-phone', typed)));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    expect((await auditOf('mfa.backup_code', id)).map((row) => row.details)).toEqual([
      { left: 9 },
      { left: 8 },
    ]);
  });

  it('counts guesses of the second factor like those of the password', async () => {
    const { id, secret, backupCodes } = await addOwner('guessed');
    for (let i = 0; i < 3; i++) {
      await expect(logIn('guessed', wrongTotpToken(secret))).rejects.toMatchObject({
        code: 'mfa_token_invalid',
      });
    }
    const code = createBackupCodes()[0];
    await expect(logIn('guessed', code)).rejects.toMatchObject({ code: 'mfa_token_invalid' });
    await expect(logIn('guessed', undefined, 'wrong')).rejects.toMatchObject({ code: 'invalid_credentials' });
    await expect(logIn('guessed', backupCodes[0])).rejects.toMatchObject({ code: 'account_locked' });
    expect(await auditOf('account.locked', id)).toHaveLength(1);
  });

  it('takes no code of another account', async () => {
    const [one, two] = [await addOwner('one'), await addOwner('two')];
    await expect(logIn('one', two.backupCodes[0])).rejects.toMatchObject({ code: 'mfa_token_invalid' });
    await expect(logIn('one', totpToken(two.secret))).rejects.toMatchObject({ code: 'mfa_token_invalid' });
    await logIn('one', one.backupCodes[0]);
  });

  it('of a disabled account says so, and uses up no code', async () => {
    const { id, backupCodes } = await addOwner('retired');
    await stack.db('users').where({ id }).update({ is_active: false });
    await expect(logIn('retired', backupCodes[0])).rejects.toMatchObject({ code: 'account_disabled' });
    await stack.db('users').where({ id }).update({ is_active: true });
    await logIn('retired', backupCodes[0]);
  });
});

describe('taking it away', () => {
  it.each(['token', 'backup code', 'password'])('takes a %s, and ends the other sessions', async (proof) => {
    const owner = await addOwner(`tired-${proof.replace(' ', '-')}`);
    const [firstCode, secondCode] = owner.backupCodes;
    const other = await logIn(owner.name, firstCode);
    if (proof === 'password') await disableMfa(stack.deps, owner.actor, { password: userPassword });
    else {
      const token = proof === 'token' ? totpToken(owner.secret) : secondCode;
      await disableMfa(stack.deps, owner.actor, { token });
    }
    await expect(identify(stack.deps, other.accessToken)).rejects.toMatchObject({ code: 'invalid_token' });
    expect(await stack.db('user_mfa').where({ user_id: owner.id })).toEqual([]);
    expect(await stack.db('mfa_backup_codes').where({ user_id: owner.id })).toEqual([]);
    await logIn(owner.name);
    expect(await auditOf('mfa.disable', owner.id)).toMatchObject([
      { outcome: 'success', details: { by: proof === 'password' ? 'password' : 'token' } },
    ]);
  });

  it('needs a proof, and counts wrong ones', async () => {
    const { id, actor, secret } = await addOwner('stolen-session');
    await expect(disableMfa(stack.deps, actor, {})).rejects.toMatchObject({ code: 'mfa_required' });
    for (let i = 0; i < 3; i++) {
      const guess = disableMfa(stack.deps, actor, { token: wrongTotpToken(secret) });
      await expect(guess).rejects.toMatchObject({ code: 'mfa_token_invalid' });
    }
    for (let i = 0; i < 2; i++) {
      const guess = disableMfa(stack.deps, actor, { password: 'wrong' });
      await expect(guess).rejects.toMatchObject({ code: 'invalid_credentials' });
    }
    await expect(disableMfa(stack.deps, actor, { password: userPassword })).rejects.toMatchObject({
      code: 'account_locked',
    });
    expect(await stack.db('user_mfa').where({ user_id: id })).toHaveLength(1);
  });

  it('where there is none is a conflict', async () => {
    await addAccount(stack, 'plain');
    const actor = await sessionOf(await logIn('plain'));
    await setupMfa(stack.deps, actor);
    await expect(disableMfa(stack.deps, actor, { password: userPassword })).rejects.toMatchObject({
      code: 'conflict',
    });
  });

  it('from another is for administrators, ends all its sessions, and is no way around their own', async () => {
    const owner = await addOwner('helped');
    for (const role of ['viewer', 'user', 'operator', 'system', 'agent'] as const) {
      await expect(resetMfa(stack.deps, actorOf(role), owner.id)).rejects.toMatchObject({
        code: 'forbidden',
      });
    }
    await resetMfa(stack.deps, actorOf('admin'), owner.id);
    expect(await stack.db('sessions').where({ user_id: owner.id, revoked_at: null })).toEqual([]);
    await logIn('helped');
    await resetMfa(stack.deps, actorOf('admin'), owner.id);
    expect(await auditOf('mfa.reset', owner.id)).toMatchObject([
      { principal_id: 'admin-1', details: { wasEnabled: true } },
    ]);
    await expect(resetMfa(stack.deps, actorOf('admin', owner.id), owner.id)).rejects.toMatchObject({
      code: 'conflict',
    });
    const nobody = '01890000-0000-7000-8000-000000000000';
    await expect(resetMfa(stack.deps, actorOf('admin'), nobody)).rejects.toMatchObject({
      code: 'user_not_found',
    });
  });
});

describe('at rest', () => {
  it('there is neither secret nor code in plain text', async () => {
    const { id, secret, backupCodes } = await addOwner('dumped');
    const dump = JSON.stringify([
      await stack.db('user_mfa').where({ user_id: id }),
      (await stack.db('mfa_backup_codes').where({ user_id: id })).map((row) =>
        row.code_hash.toString('latin1'),
      ),
      await stack.db('audit_events'),
    ]);
    expect(dump).not.toContain(secret);
    for (const code of backupCodes) expect(dump).not.toContain(code.replaceAll('-', ''));
  });

  it('a secret that was moved to another account does not open there', async () => {
    const [victim, thief] = [await addOwner('victim'), await addOwner('thief')];
    const [row] = await stack.db('user_mfa').where({ user_id: thief.id });
    await stack.db('user_mfa').where({ user_id: victim.id }).update({ sealed_secret: row.sealed_secret });
    await expect(logIn('victim', totpToken(thief.secret))).rejects.toBeInstanceOf(SecretBoxError);
  });
});

it('backup codes are 80 bits, and letters that people read for digits are those', () => {
  const codes = Array.from({ length: 50 }, createBackupCodes).flat();
  expect(new Set(codes).size).toBe(500);
  expect(hashBackupCode('OIL0-1111-2222-3333')).toEqual(hashBackupCode('0110111122223333'));
});

it('a token is six digits of that secret and nothing else', () => {
  const secret = createTotpSecret();
  const now = new Date(1_700_000_000_000);
  for (const junk of ['', '1', '1234567', 'abcdef', '１２３４５６', '-12345', '1e5']) {
    expect(findTotpStep(secret, junk, now)).toBeNull();
  }
  // RFC 6238 appendix B, its last six digits.
  const rfcSecret = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';
  expect(findTotpStep(rfcSecret, '287082', new Date(59_000))).toBe(1);
  expect(findTotpStep(rfcSecret, '081804', new Date(1_111_111_109_000))).toBe(37_037_036);
  expect(findTotpStep(rfcSecret, '081804', new Date(1_111_111_109_000 + 61_000))).toBeNull();
});
