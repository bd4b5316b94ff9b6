/** Opening a session for somebody who has proved who they are. */
import { v7 as newId } from 'uuid';
import type { Family } from '../../contracts/families/family.ts';
import type { Principal } from '../../contracts/principal.ts';
import { insertRefreshToken } from '../../db/refresh-tokens.ts';
import { insertSession } from '../../db/sessions.ts';
import { recordLogin } from '../../db/users.ts';
import type { Unit } from '../transact.ts';
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

export interface SessionWish extends TokenStyle {
  /** Family whose client opens it. */
  family: Family;
}

/** Within a unit of work. Undefined when the account is disabled or gone. */
export async function openSession(
  deps: IdentityDeps,
  unit: Unit,
  origin: RequestOrigin,
  userId: string,
  wish: SessionWish,
): Promise<IssuedTokens | undefined> {
  const user = await recordLogin(unit.trx, userId);
  if (!user) return undefined;
  const sessionId = newId();
  const refreshToken = createToken('refresh');
  await insertSession(unit.trx, {
    id: sessionId,
    userId: user.id,
    family: wish.family,
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
    id: user.id,
    name: user.username,
    roles: [user.role],
    sessionId,
  };
  unit.audit(
    { principal, address: origin.address, requestId: origin.requestId },
    {
      action: 'auth.login',
      targetKind: 'session',
      targetId: sessionId,
      details: { family: wish.family },
    },
  );
  return issueTokens(deps, { user, sessionId, refreshToken }, wish);
}
