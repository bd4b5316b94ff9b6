/** From a credential to the principal that holds it. */
import { problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import { findAgentByToken, touchAgentToken } from '../../db/agent-tokens.ts';
import { findLiveSession } from '../../db/sessions.ts';
import { looksLikeJwt, readAccessToken, readAgentTokenJwt } from './access-tokens.ts';
import { identifyApiToken } from './api-tokens.ts';
import type { IdentityDeps, IdentitySettings } from './deps.ts';
import { fingerprintOf, hashToken, isSameSecret, isTokenOf } from './opaque-tokens.ts';
import { principalOf } from './present-user.ts';

/**
 * Who holds this token: an access token or a personal API token of a user, a token of an agent, the shared agent
 * token, or a JWT signed with it.
 * @param onGenuine called when an access token was found to be signed by us, while its session is looked up
 * @throws invalid_token for everything else, and for what has expired or was revoked
 */
export async function identify(
  deps: IdentityDeps,
  token: string,
  onGenuine?: () => void,
): Promise<Principal> {
  const agentToken = deps.identity.agentToken();
  if (agentToken !== null && isSameSecret(token, agentToken))
    return systemPrincipal(deps.identity, agentToken);
  if (isTokenOf('agent', token)) return identifyAgent(deps, token);
  if (isTokenOf('api', token)) return identifyApiToken(deps, token);
  if (!looksLikeJwt(token)) throw problem('invalid_token');

  const reading = readAccessToken(deps.identity.secretKeys, token);
  if (reading.kind === 'foreign' && agentToken !== null) {
    const expiresAt = readAgentTokenJwt(agentToken, token);
    if (expiresAt !== null) return { ...systemPrincipal(deps.identity, agentToken), expiresAt };
  }
  // Clients of one family refresh on this, and log out on anything else.
  if (reading.kind === 'expired') throw problem('invalid_token', {}, { details: { reason: 'expired' } });
  if (reading.kind !== 'valid') throw problem('invalid_token');
  const looked = findLiveSession(deps.db, reading.sessionId);
  onGenuine?.();
  const session = await looked;
  if (session?.userId !== reading.userId) throw problem('invalid_token');
  return principalOf(session);
}

/** The holder of the shared agent token; with the token itself, so that what it opened ends when it is replaced. */
export const systemPrincipal = (
  settings: Pick<IdentitySettings, 'agentTokenAdmin'>,
  agentToken?: string,
): Principal => ({
  kind: 'system',
  id: 'agent-token',
  name: 'agent-token',
  roles: settings.agentTokenAdmin ? ['system', 'admin'] : ['system'],
  sessionId: null,
  ...(agentToken !== undefined && { credentialId: fingerprintOf(agentToken) }),
});

async function identifyAgent(deps: IdentityDeps, token: string): Promise<Principal> {
  const found = await findAgentByToken(deps.db, hashToken(token));
  if (!found) throw problem('invalid_token');
  if (found.isUseStale) await touchAgentToken(deps.db, found.tokenId);
  return {
    kind: 'agent',
    id: found.agentId,
    name: found.hostname,
    roles: ['agent'],
    sessionId: null,
    credentialId: found.tokenId,
  };
}
