/** People who create their account themselves, where the installation lets them. */
import { v7 as newId } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import { insertUser, lockAccounts } from '../../db/users.ts';
import { transact } from '../transact.ts';
import { assertNamesFree, invalidMember, readAccountNames } from './account-names.ts';
import { admitAttempt, refuseAttempt, type Tried } from './attempts.ts';
import type { IdentityDeps } from './deps.ts';
import { openSession, type RequestOrigin, type SessionWish } from './open-session.ts';
import { assertPasswordAllowed, type PasswordRules } from './password-policy.ts';
import type { IssuedTokens } from './tokens.ts';

export interface Registration extends SessionWish {
  /** The e-mail address when absent. */
  username?: string | undefined;
  email?: string | null | undefined;
  displayName?: string | null | undefined;
  password: string;
  /** What the family's contract asks of a password beyond the rules of every account. */
  rules?: Omit<PasswordRules, 'names'>;
}

const registering: Tried = { action: 'user.register', subject: null, user: undefined };

/**
 * Create an account with the role `user` and open its first session.
 * @throws registration_closed, address_banned, rate_limited, validation_failed, password_refused, user_exists, email_exists
 */
export async function registerUser(
  deps: IdentityDeps,
  origin: RequestOrigin,
  wish: Registration,
): Promise<IssuedTokens> {
  const { address, requestId } = origin;
  await admitAttempt(deps, origin, registering);
  if (deps.identity.registration !== 'open') {
    throw await refuseAttempt(deps, origin, registering, problem('registration_closed'));
  }
  const email = wish.email ?? null;
  const username = wish.username ?? email;
  if (username === null) throw invalidMember('username', 'A user name or an e-mail address is needed');
  const names = readAccountNames(username, email);
  // Otherwise somebody could take the address of another as a name, and stand in the way of their login.
  if (names.username.includes('@') && names.canonicalName !== names.canonicalEmail) {
    throw invalidMember('username', 'A name with @ is the e-mail address of the account');
  }
  assertPasswordAllowed(wish.password, {
    ...wish.rules,
    names: [names.username, names.email, wish.displayName],
  });
  const passwordHash = await deps.passwords.hash(wish.password);
  return transact(deps, async (unit) => {
    await lockAccounts(unit.trx);
    await assertNamesFree(unit, names, null);
    const user = await insertUser(unit.trx, {
      id: newId(),
      ...names,
      displayName: wish.displayName ?? null,
      role: 'user',
      passwordHash,
      mustChangePassword: false,
    });
    const principal: Principal = {
      kind: 'user',
      id: user.id,
      name: user.username,
      roles: [user.role],
      sessionId: null,
    };
    unit.audit(
      { principal, address, requestId },
      {
        action: 'user.register',
        targetKind: 'user',
        targetId: user.id,
        details: { username: user.username, family: wish.family },
      },
    );
    const tokens = await openSession(deps, unit, origin, user.id, wish);
    if (!tokens) throw new Error('an account that was just created is not active');
    return tokens;
  });
}
