/** For whoever holds the database when nobody can log in: an account gets a new password without the API. */
import type { Db } from '../../db/database.ts';
import { findUserByLogin } from '../../db/users.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { unlockUser } from './bans.ts';
import { canonicalName } from './canonical-name.ts';
import { resetPassword } from './change-password.ts';
import { resetMfa } from './mfa.ts';
import { createPasswordHasher, type PasswordHasher } from './passwords.ts';

export interface RescueWish {
  /** User name or e-mail address. */
  name: string;
  removeMfa: boolean;
  revokeTokens: boolean;
}

export interface Rescued {
  username: string;
  role: string;
  /** A disabled account stays disabled. */
  isActive: boolean;
  /** Shown once and kept nowhere; it must be changed after the next login. */
  generatedPassword: string;
}

/** Whoever can write to the database may do anything to it; this way it is in the audit trail. */
const actor: Actor = {
  principal: { kind: 'system', id: 'command-line', name: 'command-line', roles: ['admin'], sessionId: null },
  address: null,
  requestId: null,
};

const silent = (): void => undefined;

/**
 * Replace the password of an account, lift its lock, end its sessions. API processes may be running: requests are refused
 * at once, and they find out about open sockets themselves.
 * @returns undefined when nobody has that name
 */
export async function rescueAccount(
  db: Db,
  { name, removeMfa, revokeTokens }: RescueWish,
  passwords: PasswordHasher = createPasswordHasher(),
): Promise<Rescued | undefined> {
  const user = await findUserByLogin(db, canonicalName(name));
  if (!user) return undefined;
  const deps: DomainDeps & { passwords: PasswordHasher } = {
    db,
    passwords,
    log: { debug: silent, info: silent, warn: silent, error: silent },
    announce: { events: silent, agents: silent, output: silent, outbox: silent },
    // Nothing here runs a command.
    limits: { defaultTimeoutMs: 0, maxTimeoutMs: 0, outputCapBytes: 0 },
  };
  if (removeMfa) await resetMfa(deps, actor, user.id);
  const { generatedPassword } = await resetPassword(deps, actor, user.id, undefined, null, { revokeTokens });
  if (generatedPassword === null) throw new Error('a password was not generated');
  await unlockUser(deps, actor, user.id);
  const { username, role, isActive } = user;
  return { username, role, isActive, generatedPassword };
}
