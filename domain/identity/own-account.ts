/** The account of whoever asks. */
import { problem } from '../../contracts/errors.ts';
import type { UserChange } from '../../contracts/users.ts';
import { findUser, lockUser, type UserRow, updateUser } from '../../db/users.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { patchOf } from './user-patch.ts';

/**
 * The user who asks.
 * @throws forbidden, user_not_found (a principal that is no user)
 */
export async function getOwnUser(deps: DomainDeps, actor: Actor): Promise<UserRow> {
  const { principal } = actor;
  assertCan(principal, 'read', 'session', principal.id);
  const user = principal.kind === 'user' ? await findUser(deps.db, principal.id) : undefined;
  if (!user) throw problem('user_not_found', { userId: principal.id });
  return user;
}

/** One's own name and picture. @throws forbidden, user_not_found (a principal that is no user) */
export async function updateOwnProfile(
  deps: DomainDeps,
  actor: Actor,
  { displayName, avatarUrl }: Pick<UserChange, 'displayName' | 'avatarUrl'>,
): Promise<UserRow> {
  const { principal } = actor;
  assertCan(principal, 'update', 'profile', principal.id);
  const missing = () => problem('user_not_found', { userId: principal.id });
  if (principal.kind !== 'user') throw missing();
  return transact(deps, async (unit) => {
    const user = await lockUser(unit.trx, principal.id);
    if (!user) throw missing();
    const patch = patchOf(user, { displayName, avatarUrl });
    if (Object.keys(patch).length === 0) return user;
    unit.audit(actor, {
      action: 'user.update',
      targetKind: 'user',
      targetId: user.id,
      details: { changed: Object.keys(patch) },
    });
    const updated = await updateUser(unit.trx, user.id, patch);
    if (!updated) throw missing();
    return updated;
  });
}
