/** Sessions after the login: who still has one, and how they end. */
import { problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import { findLiveSessions, revokeSession } from '../../db/sessions.ts';
import { findUser, type UserRow } from '../../db/users.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { principalOf } from './present-user.ts';

/** Why a session ended; stored, and told to clients in `session.revoked`. */
export type SessionEnd = 'logout' | 'refresh_token_reused' | 'revoked';

/** End a session within a unit of work; a session that has ended stays as it is. */
export async function endSession(
  unit: Unit,
  actor: Actor,
  sessionId: string,
  reason: SessionEnd,
): Promise<void> {
  const ended = await revokeSession(unit.trx, sessionId, reason);
  if (!ended) return;
  unit.audit(actor, {
    action: 'session.revoke',
    targetKind: 'session',
    targetId: sessionId,
    details: { reason },
  });
  unit.emit('session.revoked', { ownerId: ended.userId, data: { sessionId, reason } });
}

/**
 * End the session of the request. A principal without a session has nothing to end.
 * @throws forbidden
 */
export async function logout(deps: DomainDeps, actor: Actor): Promise<void> {
  const { principal } = actor;
  assertCan(principal, 'delete', 'session', principal.id);
  const { sessionId } = principal;
  if (sessionId === null) return;
  await transact(deps, (unit) => endSession(unit, actor, sessionId, 'logout'));
}

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

/** Sessions of open sockets are looked at again at least this often, milliseconds (promise P8). */
export const SESSION_RECHECK_MS = 5_000;

/**
 * Which of these sessions are still live, with the present role of each: one query for all sockets of a process.
 * A session that is missing from the answer has ended; close what it opened.
 */
export async function findLivePrincipals(
  deps: Pick<DomainDeps, 'db'>,
  sessionIds: readonly string[],
): Promise<ReadonlyMap<string, Principal>> {
  if (sessionIds.length === 0) return new Map();
  const live = await findLiveSessions(deps.db, sessionIds);
  return new Map(live.map((session) => [session.sessionId, principalOf(session)]));
}
