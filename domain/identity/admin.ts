/** The first administrator. */
import { v7 as newId } from 'uuid';
import { hasUsers, insertUser, lockAccounts } from '../../db/users.ts';
import { engineActor } from '../deps.ts';
import { transact } from '../transact.ts';
import { canonicalName } from './canonical-name.ts';
import type { IdentityDeps } from './deps.ts';
import { createPassword } from './generate-password.ts';
import { refusePassword } from './password-policy.ts';

export interface FirstAdmin {
  username: string;
  email: string | null;
  /** null: one is generated. */
  password: string | null;
}

export type EnsuredAdmin =
  | { created: false }
  /** `generatedPassword` is to be printed once and is kept nowhere; null when the password was given. */
  | { created: true; username: string; generatedPassword: string | null };

/**
 * Creates the administrator where there is no user at all. Of several processes that start at once, one creates.
 * @throws Error with the reason when the given password is refused by the policy
 */
export async function ensureAdmin(deps: IdentityDeps, admin: FirstAdmin): Promise<EnsuredAdmin> {
  if (await hasUsers(deps.db)) return { created: false };

  const generatedPassword = admin.password === null ? createPassword() : null;
  const password = admin.password ?? generatedPassword ?? '';
  const refusal = refusePassword(password, { names: [admin.username, admin.email] });
  if (refusal !== null) throw new Error(`ADMIN_PASSWORD is refused: ${refusal.reason}`);
  const passwordHash = await deps.passwords.hash(password);

  return transact(deps, async (unit) => {
    await lockAccounts(unit.trx);
    if (await hasUsers(unit.trx)) return { created: false };
    const id = newId();
    await insertUser(unit.trx, {
      id,
      username: admin.username,
      canonicalName: canonicalName(admin.username),
      email: admin.email,
      canonicalEmail: admin.email === null ? null : canonicalName(admin.email),
      role: 'admin',
      passwordHash,
      // A generated one is random, and nobody but its owner has seen it.
      mustChangePassword: false,
    });
    unit.audit(engineActor, {
      action: 'user.create',
      targetKind: 'user',
      targetId: id,
      details: { username: admin.username, role: 'admin', isFirst: true },
    });
    return { created: true, username: admin.username, generatedPassword };
  });
}
