import type { TokensView, UserView } from '../../contracts/auth.ts';
import type { Principal } from '../../contracts/principal.ts';
import type { SessionView } from '../../contracts/users.ts';
import type { LiveSession, OpenSessionRow } from '../../db/sessions.ts';
import type { UserRow } from '../../db/users.ts';
import type { IssuedTokens } from './tokens.ts';

/** A user as the house API shows it: never the hash. */
export const presentUser = (user: UserRow): UserView => ({
  id: user.id,
  username: user.username,
  email: user.email,
  displayName: user.displayName,
  avatarUrl: user.avatarUrl,
  role: user.role,
  isActive: user.isActive,
  mustChangePassword: user.mustChangePassword,
  lastLoginAt: user.lastLoginAt?.toISOString() ?? null,
  createdAt: user.createdAt.toISOString(),
  updatedAt: user.updatedAt.toISOString(),
});

/** What a login, a refresh and a registration answer. */
export const presentTokens = (tokens: IssuedTokens): TokensView => ({
  accessToken: tokens.accessToken,
  refreshToken: tokens.refreshToken,
  tokenType: 'Bearer',
  expiresIn: tokens.expiresIn,
  user: presentUser(tokens.user),
});

/** A session as its owner sees it. */
export const presentSession = (session: OpenSessionRow & { isCurrent: boolean }): SessionView => ({
  id: session.id,
  family: session.family,
  address: session.address,
  userAgent: session.userAgent,
  isCurrent: session.isCurrent,
  createdAt: session.createdAt.toISOString(),
  refreshedAt: session.refreshedAt.toISOString(),
  expiresAt: session.expiresAt.toISOString(),
});

/** The principal of a live session: its role is what the row says now, whatever the token said. */
export const principalOf = (session: LiveSession): Principal => ({
  kind: 'user',
  id: session.userId,
  name: session.username,
  roles: [session.role],
  sessionId: session.sessionId,
  ...(session.mustChangePassword && { mustChangePassword: true }),
  ...(session.mayOpenTerminals && { mayOpenTerminals: true }),
});
