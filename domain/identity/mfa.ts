/**
 * The second factor of one's own account: set up, prove, disable. An administrator can only take it away.
 *
 *  A. Whatever changes whether an account has a second factor ends its sessions (of its own owner: the other ones), and
 *     holds the account's row meanwhile, so that no login slips in between.
 */
import { toDataURL } from 'qrcode';
import { problem } from '../../contracts/errors.ts';
import type { Trx } from '../../db/database.ts';
import {
  countBackupCodes,
  deleteMfa,
  enableMfa,
  findMfa,
  insertBackupCodes,
  insertPendingMfa,
} from '../../db/mfa.ts';
import { findLiveSession } from '../../db/sessions.ts';
import { findUser, lockUser, type UserRow } from '../../db/users.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import {
  admitAttempt,
  confirmAttempt,
  failAttempt,
  forgetOwnFailures,
  refuseAttempt,
  subjectOfUser,
  type Tried,
} from './attempts.ts';
import { createBackupCodes, hashBackupCode } from './backup-codes.ts';
import type { IdentityDeps } from './deps.ts';
import { mfaSecretName, openMfaSecret, useSecondFactor } from './second-factor.ts';
import { endSessionsOfUser } from './sessions.ts';
import { createTotpSecret, findTotpStep, otpauthUrl } from './totp.ts';

export interface MfaStatus {
  isEnabled: boolean;
  /** Backup codes that are still good. */
  backupCodesLeft: number;
}

/** @throws forbidden */
export async function getMfaStatus(deps: DomainDeps, actor: Actor): Promise<MfaStatus> {
  assertCan(actor.principal, 'read', 'mfa', actor.principal.id);
  const mfa = await findMfa(deps.db, actor.principal.id);
  const isEnabled = mfa !== undefined && mfa.enabledAt !== null;
  return { isEnabled, backupCodesLeft: isEnabled ? await countBackupCodes(deps.db, mfa.userId) : 0 };
}

export interface MfaSetup {
  /** Base32, for authenticators without a camera. */
  secret: string;
  otpauthUrl: string;
  /** The URL as a QR code: a PNG as data URL. */
  qrCode: string;
}

/**
 * Make a secret. It is asked for at logins only once `verifyMfa` has seen a token of it; until then setting up again
 * replaces it.
 * @throws forbidden, conflict when a second factor is in force
 */
export async function setupMfa(deps: IdentityDeps, actor: Actor): Promise<MfaSetup> {
  const user = await getOwner(deps, actor);
  const secret = createTotpSecret();
  await transact(deps, async (unit) => {
    const sealedSecret = deps.secrets.seal(mfaSecretName(user.id), secret);
    if (!(await insertPendingMfa(unit.trx, { userId: user.id, sealedSecret }))) throw alreadyEnabled();
    unit.audit(actor, { action: 'mfa.setup', targetKind: 'user', targetId: user.id });
  });
  const url = otpauthUrl(secret, user.username);
  return { secret, otpauthUrl: url, qrCode: await toDataURL(url) };
}

/**
 * Put the secret in force by a token of it. The backup codes are in this answer only.
 * @throws forbidden, conflict (nothing was set up, or it is in force already), mfa_token_invalid (counted as a failed
 * login), account_locked, rate_limited, address_banned
 */
export async function verifyMfa(
  deps: IdentityDeps,
  actor: Actor,
  token: string,
): Promise<{ backupCodes: string[] }> {
  const user = await getOwner(deps, actor);
  const tried = { action: 'mfa.enable', subject: subjectOfUser(user.id), user };
  await admitAttempt(deps, actor, tried);
  const pending = await findMfa(deps.db, user.id);
  if (!pending) throw problem('conflict', { reason: 'no second factor was set up' });
  if (pending.enabledAt !== null) throw alreadyEnabled();
  const step = findTotpStep(openMfaSecret(deps, pending), token);
  if (step === null) throw await failAttempt(deps, actor, tried, 'mfa_token_invalid');

  const backupCodes = createBackupCodes();
  await transact(deps, async (unit) => {
    await lockUser(unit.trx, user.id); // A
    // A session that was taken away meanwhile must not shut the owner out.
    if (!(await isSessionLive(unit.trx, actor))) throw problem('invalid_token');
    if (!(await enableMfa(unit.trx, { ...pending, step }))) throw alreadyEnabled();
    await insertBackupCodes(unit.trx, user.id, backupCodes.map(hashBackupCode));
    unit.audit(actor, { action: 'mfa.enable', targetKind: 'user', targetId: user.id });
    const exceptSessionId = actor.principal.sessionId;
    await endSessionsOfUser(unit, actor, user.id, 'mfa_changed', { exceptSessionId });
  });
  return { backupCodes };
}

/** What disabling asks for: a session alone may be stolen. */
export interface MfaProof {
  /** Token of the authenticator, or a backup code. */
  token?: string | undefined;
  password?: string | undefined;
}

/**
 * Log in without a second factor from now on.
 * @throws forbidden, conflict (there is none), mfa_required (no proof was given), mfa_token_invalid, invalid_credentials
 * (both counted as failed logins), account_locked, rate_limited, address_banned
 */
export async function disableMfa(deps: IdentityDeps, actor: Actor, proof: MfaProof): Promise<void> {
  const user = await getOwner(deps, actor);
  const mfa = await findMfa(deps.db, user.id);
  if (!mfa || mfa.enabledAt === null) throw notEnabled();
  const { token, password } = proof;
  if (token === undefined && password === undefined) throw problem('mfa_required');
  const tried = { action: 'mfa.disable', subject: subjectOfUser(user.id), user };
  await admitAttempt(deps, actor, tried);
  if (token === undefined && !(await deps.passwords.verify(password ?? '', user.passwordHash))) {
    throw await failAttempt(deps, actor, tried, 'invalid_credentials');
  }
  await removeOwn(deps, actor, user, tried, token);
}

/** @param token absent: the password was proved already */
async function removeOwn(
  deps: IdentityDeps,
  actor: Actor,
  user: UserRow,
  tried: Tried,
  token: string | undefined,
): Promise<void> {
  const refusal = await transact(deps, async (unit) => {
    const closed = await confirmAttempt(unit.trx, actor, tried);
    if (closed) return closed;
    const current = await lockUser(unit.trx, user.id); // A
    if (token === undefined) {
      if (current?.passwordHash !== user.passwordHash) return 'wrong';
    } else {
      const factor = await useSecondFactor(deps, unit.trx, user.id, token);
      if (factor.kind === 'none') throw notEnabled();
      if (factor.kind === 'missing' || factor.kind === 'refused') return 'wrong';
    }
    if (!(await deleteMfa(unit.trx, user.id))?.wasEnabled) throw notEnabled();
    unit.audit(actor, {
      action: 'mfa.disable',
      targetKind: 'user',
      targetId: user.id,
      details: { by: token === undefined ? 'password' : 'token' },
    });
    const exceptSessionId = actor.principal.sessionId;
    await endSessionsOfUser(unit, actor, user.id, 'mfa_changed', { exceptSessionId });
    await forgetOwnFailures(unit.trx, actor, tried);
    return undefined;
  });
  if (refusal === 'wrong') {
    const reason = token === undefined ? 'invalid_credentials' : 'mfa_token_invalid';
    throw await failAttempt(deps, actor, tried, reason);
  }
  if (refusal) throw await refuseAttempt(deps, actor, tried, refusal);
}

/**
 * Take the second factor of somebody who has lost it away, for an administrator. Without one nothing changes.
 * @throws forbidden, user_not_found, conflict (one's own: that takes a proof, see `disableMfa`)
 */
export async function resetMfa(deps: DomainDeps, actor: Actor, userId: string): Promise<void> {
  assertCan(actor.principal, 'update', 'user');
  if (actor.principal.id === userId) {
    throw problem('conflict', { reason: 'disable the second factor of your own account instead' });
  }
  await transact(deps, async (unit) => {
    if (!(await lockUser(unit.trx, userId))) throw problem('user_not_found', { userId }); // A
    const removed = await deleteMfa(unit.trx, userId);
    if (!removed) return;
    unit.audit(actor, {
      action: 'mfa.reset',
      targetKind: 'user',
      targetId: userId,
      details: { wasEnabled: removed.wasEnabled },
    });
    if (removed.wasEnabled) await endSessionsOfUser(unit, actor, userId, 'mfa_changed');
  });
}

/** The account of the session that asks: no token of a program changes second factors. */
async function getOwner(deps: DomainDeps, { principal }: Actor): Promise<UserRow> {
  assertCan(principal, 'update', 'mfa', principal.id);
  const user = principal.kind === 'user' ? await findUser(deps.db, principal.id) : undefined;
  if (!user || principal.sessionId === null) throw problem('forbidden');
  return user;
}

const isSessionLive = async (trx: Trx, { principal: { sessionId } }: Actor): Promise<boolean> =>
  sessionId !== null && (await findLiveSession(trx, sessionId)) !== undefined;

const alreadyEnabled = () => problem('conflict', { reason: 'a second factor is in force; disable it first' });
const notEnabled = () => problem('conflict', { reason: 'no second factor is in force' });
