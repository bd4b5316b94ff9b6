/** From a credential to the principal that holds it. */
import { problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import { findAgentByToken, touchAgentToken } from '../../db/agent-tokens.ts';
import { findLiveSession } from '../../db/sessions.ts';
import { isAgentTokenJwt, looksLikeJwt, readAccessToken } from './access-tokens.ts';
import type { IdentityDeps, IdentitySettings } from './deps.ts';
import { hashToken, isSameSecret, isTokenOf } from './opaque-tokens.ts';
import { principalOf } from './present-user.ts';

/**
 * Who holds this token: an access token of a user, a token of an agent, the shared agent token, or a JWT signed
 * with it.
 * @throws invalid_token for everything else, and for what has expired or was revoked
 */
export async function identify(deps: IdentityDeps, token: string): Promise<Principal> {
  const { agentToken } = deps.identity;
  if (agentToken !== null && isSameSecret(token, agentToken)) return systemPrincipal(deps.identity);
  if (isTokenOf('agent', token)) return identifyAgent(deps, token);
  if (!looksLikeJwt(token)) throw problem('invalid_token');

  const reading = readAccessToken(deps.identity.secretKeys, token);
  if (reading.kind === 'foreign' && agentToken !== null && isAgentTokenJwt(agentToken, token)) {
    return systemPrincipal(deps.identity);
  }
  if (reading.kind !== 'valid') throw problem('invalid_token');
  const session = await findLiveSession(deps.db, reading.sessionId);
  if (session?.userId !== reading.userId) throw problem('invalid_token');
  return principalOf(session);
}

/** The holder of the shared agent token. */
export const systemPrincipal = (settings: Pick<IdentitySettings, 'agentTokenAdmin'>): Principal => ({
  kind: 'system',
  id: 'agent-token',
  name: 'agent-token',
  roles: settings.agentTokenAdmin ? ['system', 'admin'] : ['system'],
  sessionId: null,
});

async function identifyAgent(deps: IdentityDeps, token: string): Promise<Principal> {
  const found = await findAgentByToken(deps.db, hashToken(token));
  if (!found) throw problem('invalid_token');
  if (found.isUseStale) await touchAgentToken(deps.db, found.tokenId);
  return { kind: 'agent', id: found.agentId, name: found.hostname, roles: ['agent'], sessionId: null };
}
