/** Who logs in with a second factor. */
import { findMfaUsers } from '../../db/mfa.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import type { IssuedTokens } from './tokens.ts';

/**
 * Which of these accounts have a second factor in force. Everybody may ask of themselves.
 * @throws forbidden
 */
export async function findMfaOwners(
  deps: Pick<DomainDeps, 'db'>,
  { principal }: Actor,
  userIds: readonly string[],
): Promise<ReadonlySet<string>> {
  for (const id of userIds) {
    if (id === principal.id) assertCan(principal, 'read', 'session', id);
    else assertCan(principal, 'read', 'user', id);
  }
  return findMfaUsers(deps.db, userIds);
}

/** Does somebody who has just been given these tokens log in with a second factor? */
export async function isMfaOwner(
  deps: Pick<DomainDeps, 'db'>,
  { user }: Pick<IssuedTokens, 'user'>,
): Promise<boolean> {
  return (await findMfaUsers(deps.db, [user.id])).has(user.id);
}
