import type { UserView } from '../../contracts/auth.ts';
import type { Principal } from '../../contracts/principal.ts';
import type { LiveSession } from '../../db/sessions.ts';
import type { UserRow } from '../../db/users.ts';

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

/** The principal of a live session: its role is what the row says now, whatever the token said. */
export const principalOf = (session: LiveSession): Principal => ({
  kind: 'user',
  id: session.userId,
  name: session.username,
  roles: [session.role],
  sessionId: session.sessionId,
});
