/** What a login and a refresh hand out. */
import type { Family } from '../../contracts/families/family.ts';
import type { UserRow } from '../../db/users.ts';
import { signAccessToken } from './access-tokens.ts';
import type { IdentityDeps } from './deps.ts';

const MINUTE_MS = 60 * 1000;

/**
 * Life of an access token by the family whose client logged in, milliseconds, where ACCESS_TOKEN_EXPIRE_MINUTES is not
 * set. Clients of dex never refresh; every request asks for the session, so a long token ends at once all the same.
 */
export const accessTokenTtlsMs: Readonly<Record<Family, number>> = {
  house: 15 * MINUTE_MS,
  ananta: 15 * MINUTE_MS,
  alice: 15 * MINUTE_MS,
  'dex-alice': 15 * MINUTE_MS,
  steel: 30 * MINUTE_MS,
  dex: 8 * 60 * MINUTE_MS,
};

/** In what the families differ. */
export interface TokenStyle {
  /** Family whose client logged in; the house unless given. */
  family?: Family;
  /** What `sub` of the access token says; the user id for alice and the user name elsewhere unless asked otherwise. */
  subject?: 'username' | 'user-id';
  /** Life of the access token, milliseconds; as configured, or as the family has it, unless given. */
  accessTokenTtlMs?: number;
}

export interface IssuedTokens {
  accessToken: string;
  refreshToken: string;
  /** True life of the access token, seconds. */
  expiresIn: number;
  user: UserRow;
  sessionId: string;
}

export function issueTokens(
  deps: IdentityDeps,
  facts: { user: UserRow; sessionId: string; refreshToken: string },
  style: TokenStyle,
): IssuedTokens {
  const { user, sessionId, refreshToken } = facts;
  return { ...issueAccessToken(deps, facts, style), user, sessionId, refreshToken };
}

/** An access token alone, for a session that is open. */
export function issueAccessToken(
  deps: Pick<IdentityDeps, 'identity'>,
  { user, sessionId }: { user: UserRow; sessionId: string },
  style: TokenStyle,
): Pick<IssuedTokens, 'accessToken' | 'expiresIn'> {
  const family = style.family ?? 'house';
  const ttlMs = style.accessTokenTtlMs ?? deps.identity.accessTokenTtlMs ?? accessTokenTtlsMs[family];
  const expiresIn = Math.floor(ttlMs / 1000);
  const subject = style.subject ?? (family === 'alice' ? 'user-id' : 'username');
  const accessToken = signAccessToken(deps.identity.secretKeys, {
    userId: user.id,
    sessionId,
    username: user.username,
    email: user.email,
    role: user.role,
    subject: subject === 'user-id' ? user.id : user.username,
    ttlS: expiresIn,
  });
  return { accessToken, expiresIn };
}
