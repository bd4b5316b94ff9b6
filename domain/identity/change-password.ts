/** Replacing passwords: one's own, knowing the old one; and that of an account whose owner has lost it. */
import { problem } from '../../contracts/errors.ts';
import type { NewIdempotencyKey } from '../../db/idempotency-keys.ts';
import { listPastPasswordHashes, rememberPasswordHash } from '../../db/password-history.ts';
import { findUser, replacePasswordHash, type UserRow } from '../../db/users.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimSecretReply, type RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { type AuditFacts, transact } from '../transact.ts';
import { revokeApiTokensOf } from './api-tokens.ts';
import {
  admitAttempt,
  confirmAttempt,
  failAttempt,
  refuseAttempt,
  subjectOfUser,
  type Tried,
} from './attempts.ts';
import type { IdentityDeps } from './deps.ts';
import { createPassword } from './generate-password.ts';
import {
  assertPasswordAllowed,
  PASSWORD_HISTORY_LENGTH,
  passwordRefused,
  usedBefore,
} from './password-policy.ts';
import { endSessionsOfUser, type SessionEnd } from './sessions.ts';

type PasswordDeps = DomainDeps & Pick<IdentityDeps, 'passwords'>;

export interface PasswordChange {
  oldPassword: string;
  newPassword: string;
  /** Characters, where a contract asks for more than the rules of every account. */
  minLength?: number;
  /** End the account's API tokens as well; default false. */
  revokeTokens?: boolean;
}

/**
 * Change one's own password. The session that asks stays, all others end.
 * @throws forbidden, user_not_found (a principal that is no user), invalid_credentials (the old one is wrong),
 * account_locked, address_banned, rate_limited (too many wrong ones), password_refused, conflict (it was changed
 * meanwhile), service_unavailable
 */
export async function changePassword(
  deps: IdentityDeps,
  actor: Actor,
  change: PasswordChange,
): Promise<void> {
  const { principal } = actor;
  assertCan(principal, 'update', 'password', principal.id);
  const user = principal.kind === 'user' ? await findUser(deps.db, principal.id) : undefined;
  if (!user) throw problem('user_not_found', { userId: principal.id });
  const { minLength } = change;
  assertPasswordAllowed(change.newPassword, {
    names: [user.username, user.email, user.displayName],
    ...(minLength !== undefined && { minLength }),
  });
  await assertOldPassword(deps, actor, user, change.oldPassword);
  // Only now: the answer tells what the account's passwords are.
  await assertNotUsedBefore(deps, user, change.newPassword);
  await replacePassword(deps, actor, user, {
    password: change.newPassword,
    mustChangePassword: false,
    end: { reason: 'password_changed', exceptSessionId: principal.sessionId },
    revokeTokens: change.revokeTokens ?? false,
    audit: { action: 'user.change_password', targetKind: 'user', targetId: user.id },
  });
}

/**
 * A guess like any other: whoever found an open session must not learn the password by trying.
 * @throws invalid_credentials, account_locked, address_banned, rate_limited
 */
async function assertOldPassword(
  deps: IdentityDeps,
  actor: Actor,
  user: UserRow,
  password: string,
): Promise<void> {
  const tried: Tried = { action: 'user.change_password', subject: subjectOfUser(user.id), user };
  await admitAttempt(deps, actor, tried);
  if (!(await deps.passwords.verify(password, user.passwordHash))) {
    throw await failAttempt(deps, actor, tried, 'invalid_credentials');
  }
  // Of parallel guesses no right one gets in behind as many wrong ones as close the gate.
  const refusal = await transact(deps, (unit) => confirmAttempt(unit.trx, actor, tried));
  if (refusal) throw await refuseAttempt(deps, actor, tried, refusal);
}

/**
 * Replace the password of an account. All its sessions end, and its owner must change it before anything else.
 * @param newPassword without it one is generated, which is answered once and kept nowhere
 * @param requestKey a repeat of a request that was answered with a generated one is a conflict, not another reset
 * @throws forbidden, user_not_found, password_refused, conflict (a repeat, changed meanwhile, or one's own: see `changePassword`),
 * idempotency_conflict, service_unavailable
 * @param options.revokeTokens end the account's API tokens as well; default false
 */
export async function resetPassword(
  deps: PasswordDeps,
  actor: Actor,
  id: string,
  newPassword?: string,
  requestKey: RequestKey | null = null,
  options: { revokeTokens?: boolean } = {},
): Promise<{ generatedPassword: string | null }> {
  assertCan(actor.principal, 'update', 'user');
  // Whoever found an open session of an administrator must not become the owner of the account.
  if (actor.principal.id === id) {
    throw problem('conflict', { reason: 'change the password of your own account instead' });
  }
  const user = await findUser(deps.db, id);
  if (!user) throw problem('user_not_found', { userId: id });
  const generatedPassword = newPassword === undefined ? createPassword() : null;
  if (newPassword !== undefined) {
    assertPasswordAllowed(newPassword, { names: [user.username, user.email, user.displayName] });
    await assertNotUsedBefore(deps, user, newPassword);
  }
  await replacePassword(deps, actor, user, {
    password: newPassword ?? generatedPassword ?? '',
    mustChangePassword: true,
    end: { reason: 'password_reset' },
    revokeTokens: options.revokeTokens ?? false,
    claim:
      requestKey === null || newPassword !== undefined
        ? null
        : {
            principalId: actor.principal.id,
            ...requestKey,
            resourceKind: 'user.reset_password',
            resourceId: id,
          },
    audit: {
      action: 'user.reset_password',
      targetKind: 'user',
      targetId: id,
      details: { isGenerated: newPassword === undefined },
    },
  });
  return { generatedPassword };
}

/** @throws password_refused for the present password and the ones before it */
async function assertNotUsedBefore(deps: PasswordDeps, user: UserRow, password: string): Promise<void> {
  const past = await listPastPasswordHashes(deps.db, user.id, PASSWORD_HISTORY_LENGTH);
  for (const hash of [user.passwordHash, ...past]) {
    if (await deps.passwords.verify(password, hash)) throw passwordRefused(usedBefore);
  }
}

interface Replacement {
  password: string;
  mustChangePassword: boolean;
  end: {
    reason: Extract<SessionEnd, 'password_changed' | 'password_reset'>;
    exceptSessionId?: string | null;
  };
  revokeTokens: boolean;
  audit: AuditFacts;
  /** Of a request whose reply holds the new password. */
  claim?: NewIdempotencyKey | null;
}

async function replacePassword(
  deps: PasswordDeps,
  actor: Actor,
  user: UserRow,
  { password, mustChangePassword, end, revokeTokens, audit, claim }: Replacement,
): Promise<void> {
  const newHash = await deps.passwords.hash(password);
  await transact(deps, async (unit) => {
    if (claim) await claimSecretReply(unit.trx, claim);
    const oldHash = user.passwordHash;
    // What was verified must still be what is replaced: of two changes at once one wins.
    const isReplaced = await replacePasswordHash(unit.trx, user.id, { oldHash, newHash, mustChangePassword });
    if (!isReplaced) throw problem('conflict', { reason: 'the password was changed meanwhile' });
    await rememberPasswordHash(unit.trx, user.id, oldHash, PASSWORD_HISTORY_LENGTH);
    await endSessionsOfUser(unit, actor, user.id, end.reason, end);
    const revokedTokens = revokeTokens ? await revokeApiTokensOf(unit, actor, user.id, end.reason) : 0;
    unit.audit(actor, { ...audit, details: { ...audit.details, ...(revokeTokens && { revokedTokens }) } });
  });
}
