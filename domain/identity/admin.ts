/** The first administrator. */
import { randomBytes } from 'node:crypto';
import { v7 as newId } from 'uuid';
import { hasUsers, insertUser, lockFirstUser } from '../../db/users.ts';
import { engineActor } from '../deps.ts';
import { transact } from '../transact.ts';
import type { IdentityDeps } from './deps.ts';
import { refusePassword } from './password-policy.ts';

const GENERATED_PASSWORD_BYTES = 18;

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

  const generatedPassword =
    admin.password === null ? randomBytes(GENERATED_PASSWORD_BYTES).toString('base64url') : null;
  const password = admin.password ?? generatedPassword ?? '';
  const refusal = refusePassword(password, { names: [admin.username, admin.email] });
  if (refusal !== null) throw new Error(`ADMIN_PASSWORD is refused: ${refusal}`);
  const passwordHash = await deps.passwords.hash(password);

  return transact(deps, async (unit) => {
    await lockFirstUser(unit.trx);
    if (await hasUsers(unit.trx)) return { created: false };
    const id = newId();
    await insertUser(unit.trx, {
      id,
      username: admin.username,
      email: admin.email,
      role: 'admin',
      passwordHash,
      mustChangePassword: generatedPassword !== null,
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
