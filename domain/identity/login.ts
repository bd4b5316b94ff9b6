/** Logging in with a name and a password. */
import { v7 as newId } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import type { Family } from '../../contracts/families/family.ts';
import type { Principal } from '../../contracts/principal.ts';
import { insertAuditEvents } from '../../db/audit-events.ts';
import { insertRefreshToken } from '../../db/refresh-tokens.ts';
import { insertSession } from '../../db/sessions.ts';
import { findUserByLogin, recordLogin, type UserRow } from '../../db/users.ts';
import { auditEntry, transact } from '../transact.ts';
import { type IdentityDeps, REFRESH_TOKEN_TTL_MS, SESSION_TTL_MS } from './deps.ts';
import { createToken, hashToken } from './opaque-tokens.ts';
import { type IssuedTokens, issueTokens, type TokenStyle } from './tokens.ts';

/** Longest user agent that is kept, characters. */
const MAX_USER_AGENT_LENGTH = 512;

/** Where a request of somebody not yet known comes from. */
export interface RequestOrigin {
  address: string | null;
  requestId: string | null;
  userAgent?: string;
}

export interface LoginAttempt extends TokenStyle {
  /** User name or e-mail address, printable. */
  login: string;
  password: string;
  /** Family whose client logs in. */
  family: Family;
}

/**
 * Opens a session.
 * @throws invalid_credentials for an unknown name and for a wrong password alike, after the same time
 * @throws account_disabled, only to somebody who knew the password
 */
export async function login(
  deps: IdentityDeps,
  origin: RequestOrigin,
  attempt: LoginAttempt,
): Promise<IssuedTokens> {
  const user = await findUserByLogin(deps.db, attempt.login);
  const isRight = await deps.passwords.verify(attempt.password, user?.passwordHash ?? null);
  if (!user || !isRight) {
    await recordFailure(deps, origin, user, 'invalid_credentials');
    throw problem('invalid_credentials');
  }
  const opened = user.isActive ? await openSession(deps, origin, user, attempt) : undefined;
  if (!opened) {
    await recordFailure(deps, origin, user, 'account_disabled');
    throw problem('account_disabled');
  }
  return opened;
}

/** Undefined when the account was disabled meanwhile. */
async function openSession(
  deps: IdentityDeps,
  origin: RequestOrigin,
  user: UserRow,
  attempt: LoginAttempt,
): Promise<IssuedTokens | undefined> {
  const sessionId = newId();
  const refreshToken = createToken('refresh');
  return transact(deps, async (unit) => {
    const current = await recordLogin(unit.trx, user.id);
    if (!current) return undefined;
    await insertSession(unit.trx, {
      id: sessionId,
      userId: user.id,
      family: attempt.family,
      address: origin.address,
      userAgent: origin.userAgent?.slice(0, MAX_USER_AGENT_LENGTH) ?? null,
      ttlMs: SESSION_TTL_MS,
    });
    await insertRefreshToken(unit.trx, {
      id: newId(),
      sessionId,
      tokenHash: hashToken(refreshToken),
      ttlMs: REFRESH_TOKEN_TTL_MS,
    });
    const principal: Principal = {
      kind: 'user',
      id: current.id,
      name: current.username,
      roles: [current.role],
      sessionId,
    };
    unit.audit(
      { principal, ...originOf(origin) },
      {
        action: 'auth.login',
        targetKind: 'session',
        targetId: sessionId,
        details: { family: attempt.family },
      },
    );
    return issueTokens(deps, { user: current, sessionId, refreshToken }, attempt);
  });
}

const originOf = ({ address, requestId }: RequestOrigin) => ({ address, requestId });

/** The name that was tried is not kept: people type passwords into the wrong field. */
async function recordFailure(
  deps: IdentityDeps,
  origin: RequestOrigin,
  user: UserRow | undefined,
  reason: string,
): Promise<void> {
  const principal: Principal = {
    kind: 'user',
    id: user?.id ?? 'unknown',
    name: user?.username ?? 'unknown',
    roles: [],
    sessionId: null,
  };
  const entry = auditEntry(
    { principal, ...originOf(origin) },
    {
      action: 'auth.login',
      targetKind: 'user',
      targetId: user?.id ?? 'unknown',
      outcome: 'failed',
      details: { reason },
    },
  );
  await insertAuditEvents(deps.db, [entry]);
}
