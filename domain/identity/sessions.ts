/** Sessions after the login: who still has one, and how they end. */
import { problem } from '../../contracts/errors.ts';
import {
  findLiveSession,
  listOpenSessions,
  type OpenSessionRow,
  revokeSession,
  revokeSessionsOfUser,
} from '../../db/sessions.ts';
import { lockUser } from '../../db/users.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';

/** Why a session ended; stored, and told to clients in `session.revoked`. */
export type SessionEnd =
  | 'logout'
  | 'refresh_token_reused'
  /** Its owner ended it from another session. */
  | 'revoked'
  /** An administrator ended all of the account. */
  | 'revoked_by_admin'
  | 'password_changed'
  | 'password_reset'
  | 'role_changed'
  | 'account_disabled'
  | 'account_deleted'
  | 'mfa_changed';

/** Most sessions that a list of one's own shows. */
export const MAX_LISTED_SESSIONS = 200;

/** End a session within a unit of work; a session that has ended stays as it is. */
export async function endSession(
  unit: Unit,
  actor: Actor,
  sessionId: string,
  reason: SessionEnd,
): Promise<void> {
  const ended = await revokeSession(unit.trx, sessionId, reason);
  if (ended) tellEnd(unit, actor, ended.userId, sessionId, reason);
}

/**
 * End all sessions of a user within a unit of work: their tokens stop working with its commit, their open sockets
 * and streams within CREDENTIAL_RECHECK_MS.
 * @param options.exceptSessionId stays open; null or absent for none
 * @returns how many this call ended
 */
export async function endSessionsOfUser(
  unit: Unit,
  actor: Actor,
  userId: string,
  reason: SessionEnd,
  options: { exceptSessionId?: string | null } = {},
): Promise<number> {
  const ids = await revokeSessionsOfUser(unit.trx, userId, reason, options.exceptSessionId ?? null);
  for (const id of ids) tellEnd(unit, actor, userId, id, reason);
  return ids.length;
}

function tellEnd(unit: Unit, actor: Actor, userId: string, sessionId: string, reason: SessionEnd): void {
  unit.audit(actor, {
    action: 'session.revoke',
    targetKind: 'session',
    targetId: sessionId,
    details: { reason },
  });
  unit.emit('session.revoked', { ownerId: userId, data: { sessionId, reason } });
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
 * The sessions of the user who asks, newest first.
 * @throws forbidden
 */
export async function listOwnSessions(
  deps: DomainDeps,
  actor: Actor,
): Promise<(OpenSessionRow & { isCurrent: boolean })[]> {
  const { principal } = actor;
  assertCan(principal, 'list', 'session', principal.id);
  if (principal.kind !== 'user') return [];
  const rows = await listOpenSessions(deps.db, principal.id, MAX_LISTED_SESSIONS);
  return rows.map((row) => ({ ...row, isCurrent: row.id === principal.sessionId }));
}

/**
 * End one session of the user who asks.
 * @throws forbidden, session_not_found (also for somebody else's)
 */
export async function endOwnSession(deps: DomainDeps, actor: Actor, sessionId: string): Promise<void> {
  const { principal } = actor;
  assertCan(principal, 'delete', 'session', principal.id);
  const session = await findLiveSession(deps.db, sessionId);
  if (session === undefined || session.userId !== principal.id)
    throw problem('session_not_found', { sessionId });
  const reason = sessionId === principal.sessionId ? 'logout' : 'revoked';
  await transact(deps, (unit) => endSession(unit, actor, sessionId, reason));
}

/**
 * End every session of the user who asks but the one that asks.
 * @returns how many ended
 * @throws forbidden
 */
export async function endOtherSessions(deps: DomainDeps, actor: Actor): Promise<number> {
  const { principal } = actor;
  assertCan(principal, 'delete', 'session', principal.id);
  if (principal.kind !== 'user') return 0;
  return transact(deps, (unit) =>
    endSessionsOfUser(unit, actor, principal.id, 'revoked', { exceptSessionId: principal.sessionId }),
  );
}

/**
 * End every session of another user (or all of one's own), for an administrator.
 * @returns how many ended
 * @throws forbidden, user_not_found
 */
export async function endUserSessions(deps: DomainDeps, actor: Actor, userId: string): Promise<number> {
  assertCan(actor.principal, 'update', 'user');
  return transact(deps, async (unit) => {
    // Held, so that a login that is under way ends here as well, or begins after.
    if (!(await lockUser(unit.trx, userId))) throw problem('user_not_found', { userId });
    return endSessionsOfUser(unit, actor, userId, 'revoked_by_admin');
  });
}
