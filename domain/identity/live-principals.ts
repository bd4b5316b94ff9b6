/** Whether those who hold open sockets and streams still may: their credentials are looked at again (promise P8). */
import type { Principal } from '../../contracts/principal.ts';
import { findLiveApiTokens } from '../../db/api-tokens.ts';
import { findLiveSessions } from '../../db/sessions.ts';
import { principalOfApiToken } from './api-tokens.ts';
import type { IdentityDeps } from './deps.ts';
import { systemPrincipal } from './identify.ts';
import { principalOf } from './present-user.ts';

/** Credentials of open sockets and streams are looked at again at least this often, milliseconds. */
export const CREDENTIAL_RECHECK_MS = 5_000;

/**
 * Each of the principals with the rights of now, in the same order; null where the credential has ended. One query
 * for all sessions and one for all API tokens. Agents are the bridge's business and answered as they are.
 */
export async function recheckPrincipals(
  deps: Pick<IdentityDeps, 'db' | 'identity'>,
  principals: readonly Principal[],
): Promise<(Principal | null)[]> {
  const sessionIds = new Set(principals.flatMap(({ sessionId }) => sessionId ?? []));
  const tokenIds = new Set(
    principals.flatMap(({ kind, sessionId, credentialId }) =>
      kind === 'user' && sessionId === null ? (credentialId ?? []) : [],
    ),
  );
  const [sessions, tokens] = await Promise.all([
    sessionIds.size === 0 ? [] : findLiveSessions(deps.db, [...sessionIds]),
    tokenIds.size === 0 ? [] : findLiveApiTokens(deps.db, [...tokenIds]),
  ]);
  const live = new Map<string, Principal>([
    ...sessions.map((session) => [session.sessionId, principalOf(session)] as const),
    ...tokens.map((token) => [token.tokenId, principalOfApiToken(token)] as const),
  ]);
  const system = currentSystem(deps);
  const now = new Date();
  return principals.map((principal) => {
    if (principal.expiresAt !== undefined && principal.expiresAt <= now) return null;
    if (principal.kind === 'system') {
      return principal.credentialId === undefined || principal.credentialId === system?.credentialId
        ? principal
        : null;
    }
    const key = principal.sessionId ?? principal.credentialId;
    return key === undefined || principal.kind !== 'user' ? principal : (live.get(key) ?? null);
  });
}

/** The holder of the shared agent token as it is now, or null when there is none. */
function currentSystem({ identity }: Pick<IdentityDeps, 'identity'>): Principal | null {
  const agentToken = identity.agentToken();
  return agentToken === null ? null : systemPrincipal(identity, agentToken);
}
