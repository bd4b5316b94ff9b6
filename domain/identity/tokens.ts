/** What a login and a refresh hand out. */
import type { UserRow } from '../../db/users.ts';
import { signAccessToken } from './access-tokens.ts';
import type { IdentityDeps } from './deps.ts';

/** In what the families differ. */
export interface TokenStyle {
  /** What `sub` of the access token says; the user name unless asked otherwise. */
  subject?: 'username' | 'user-id';
  /** Life of the access token, milliseconds; as configured unless given. */
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
  const expiresIn = Math.floor((style.accessTokenTtlMs ?? deps.identity.accessTokenTtlMs) / 1000);
  const accessToken = signAccessToken(deps.identity.secretKeys, {
    userId: user.id,
    sessionId,
    username: user.username,
    email: user.email,
    role: user.role,
    subject: style.subject === 'user-id' ? user.id : user.username,
    ttlS: expiresIn,
  });
  return { accessToken, refreshToken, expiresIn, user, sessionId };
}
