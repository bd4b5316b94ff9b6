/** Logging in with a name, a password and, where the account has one, a second factor. */
import { problem, type SteelthreadError } from '../../contracts/errors.ts';
import { findUserByLogin, lockUser, type UserRow } from '../../db/users.ts';
import { transact, type Unit } from '../transact.ts';
import {
  admitAttempt,
  confirmAttempt,
  failAttempt,
  forgetOwnFailures,
  refuseAttempt,
  subjectOf,
  type Tried,
} from './attempts.ts';
import { canonicalName } from './canonical-name.ts';
import type { IdentityDeps } from './deps.ts';
import { openSession, type RequestOrigin, type SessionWish } from './open-session.ts';
import { useSecondFactor } from './second-factor.ts';
import type { IssuedTokens } from './tokens.ts';

export interface LoginAttempt extends SessionWish {
  /** User name or e-mail address, printable. */
  login: string;
  password: string;
  /** Token of the authenticator, or a backup code; asked for only of accounts that have a second factor. */
  mfaToken?: string | undefined;
}

/**
 * Opens a session. Every dialect logs in here, so that no way in is easier than another.
 * @throws address_banned, rate_limited, account_locked (each with Retry-After) before anything is verified, for names
 * that nobody has as well
 * @throws invalid_credentials for an unknown name and for a wrong password alike, after the same time
 * @throws mfa_required, mfa_token_invalid, account_disabled, only to somebody who knew the password
 * @throws service_unavailable when too many logins are being verified
 */
export async function login(
  deps: IdentityDeps,
  origin: RequestOrigin,
  attempt: LoginAttempt,
): Promise<IssuedTokens> {
  const user = await findUserByLogin(deps.db, canonicalName(attempt.login));
  const tried = { action: 'auth.login', subject: subjectOf(deps, user, attempt.login), user };
  await admitAttempt(deps, origin, tried);
  const isRight = await deps.passwords.verify(attempt.password, user?.passwordHash ?? null);
  if (!user || !isRight) throw await failAttempt(deps, origin, tried, 'invalid_credentials');

  const entry = await transact(deps, (unit) => enter(deps, unit, origin, attempt, tried, user));
  if (entry.kind === 'open') return entry.tokens;
  // Nothing was written there: what failed is counted in a transaction of its own.
  if (entry.kind === 'wrong') throw await failAttempt(deps, origin, tried, entry.reason);
  throw await refuseAttempt(deps, origin, tried, entry.refusal);
}

type Entry =
  | { kind: 'open'; tokens: IssuedTokens }
  | { kind: 'wrong'; reason: 'invalid_credentials' | 'mfa_token_invalid' }
  | { kind: 'refused'; refusal: SteelthreadError };

const refused = (refusal: SteelthreadError): Entry => ({ kind: 'refused', refusal });

/**
 * All that must be true at the moment somebody gets in. The account's row is held meanwhile, so that a change of its
 * password or second factor comes before (and is seen here) or after (and ends this session with the others).
 */
async function enter(
  deps: IdentityDeps,
  unit: Unit,
  origin: RequestOrigin,
  attempt: LoginAttempt,
  tried: Tried,
  user: UserRow,
): Promise<Entry> {
  const refusal = await confirmAttempt(unit.trx, origin, tried);
  if (refusal) return refused(refusal);
  const current = await lockUser(unit.trx, user.id);
  if (!current?.isActive) return refused(problem('account_disabled'));
  if (current.passwordHash !== user.passwordHash) return { kind: 'wrong', reason: 'invalid_credentials' };
  const factor = await useSecondFactor(deps, unit.trx, user.id, attempt.mfaToken);
  if (factor.kind === 'missing') return refused(problem('mfa_required'));
  if (factor.kind === 'refused') return { kind: 'wrong', reason: 'mfa_token_invalid' };
  const tokens = await openSession(deps, unit, origin, user.id, attempt);
  if (!tokens) return refused(problem('account_disabled'));
  if (factor.kind === 'backup_code') auditBackupCode(unit, origin, tokens, factor.left);
  await forgetOwnFailures(unit.trx, origin, tried);
  return { kind: 'open', tokens };
}

function auditBackupCode(
  unit: Unit,
  { address, requestId }: RequestOrigin,
  { user, sessionId }: IssuedTokens,
  left: number,
): void {
  const { id, username: name, role } = user;
  unit.audit(
    { principal: { kind: 'user', id, name, roles: [role], sessionId }, address, requestId },
    { action: 'mfa.backup_code', targetKind: 'user', targetId: id, details: { left } },
  );
}
