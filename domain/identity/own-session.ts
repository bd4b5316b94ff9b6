/** The session of the request itself: who opened it, and a fresh access token for it. */
import { problem } from '../../contracts/errors.ts';
import type { Family } from '../../contracts/families/family.ts';
import { findLiveSession, type LiveSession } from '../../db/sessions.ts';
import { findUser } from '../../db/users.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import type { IdentityDeps } from './deps.ts';
import { issueAccessToken } from './tokens.ts';

/**
 * Family whose client opened the session of the request; undefined for a principal without a session.
 * @throws forbidden
 */
export async function findOwnFamily(deps: Pick<DomainDeps, 'db'>, actor: Actor): Promise<Family | undefined> {
  assertCan(actor.principal, 'read', 'session', actor.principal.id);
  return (await findOwn(deps, actor))?.family;
}

/**
 * Another access token for the session of the request, with the claims of now. The one it came with stays good until
 * it expires or the session ends.
 * @throws forbidden; invalid_token when the session has ended meanwhile, or there is none
 */
export async function reissueAccessToken(deps: IdentityDeps, actor: Actor): Promise<string> {
  assertCan(actor.principal, 'read', 'session', actor.principal.id);
  const session = await findOwn(deps, actor);
  const user = session && (await findUser(deps.db, session.userId));
  if (!session || !user) throw problem('invalid_token');
  const { sessionId, family } = session;
  return issueAccessToken(deps, { user, sessionId }, { family }).accessToken;
}

async function findOwn(deps: Pick<DomainDeps, 'db'>, { principal }: Actor): Promise<LiveSession | undefined> {
  return principal.sessionId === null ? undefined : findLiveSession(deps.db, principal.sessionId);
}
