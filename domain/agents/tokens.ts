/** Credentials of agents: shown once, kept as hashes. */
import { v7 as newId } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { lockAgent } from '../../db/agent-changes.ts';
import { expireAgentTokens, insertAgentToken, revokeAgentTokens } from '../../db/agent-tokens.ts';
import type { Trx } from '../../db/database.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimSecretReply, type RequestKey } from '../idempotency.ts';
import { createToken, hashToken } from '../identity/opaque-tokens.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';

/** Give the agent a token; returns its plaintext, which is kept nowhere. */
export async function issueAgentToken(trx: Trx, agentId: string): Promise<string> {
  const token = createToken('agent');
  await insertAgentToken(trx, { id: newId(), agentId, tokenHash: hashToken(token) });
  return token;
}

/**
 * Replace all tokens of an agent by a new one. The old ones stop working at once, and event `agent.updated` with
 * `tokenRotated` tells whoever holds its socket that the agent must prove itself again; or they work for `overlapMs` more,
 * so that the agent can be given the new one while it works.
 * @throws forbidden, agent_not_found, agent_revoked, conflict (a repeated Idempotency-Key)
 */
export async function rotateAgentToken(
  deps: DomainDeps,
  actor: Actor,
  agentId: string,
  requestKey: RequestKey | null = null,
  overlapMs = 0,
): Promise<string> {
  assertCan(actor.principal, 'revoke', 'agent', agentId);
  return transact(deps, async (unit) => {
    if (requestKey) {
      await claimSecretReply(unit.trx, {
        principalId: actor.principal.id,
        ...requestKey,
        resourceKind: 'agent_token',
        resourceId: agentId,
      });
    }
    const locked = await lockAgent(unit.trx, agentId);
    if (!locked) throw problem('agent_not_found', { agentId });
    if (locked.isRevoked) throw problem('agent_revoked', { agentId });
    const revokedTokens =
      overlapMs > 0
        ? await expireAgentTokens(unit.trx, agentId, overlapMs)
        : await revokeAgentTokens(unit.trx, agentId);
    const token = await issueAgentToken(unit.trx, agentId);
    unit.audit(actor, {
      action: 'agent.rotate_token',
      targetKind: 'agent',
      targetId: agentId,
      details: { revokedTokens, ...(overlapMs > 0 && { overlapMs }) },
    });
    unit.emit('agent.updated', {
      agentId,
      data: overlapMs > 0 ? { tokenOverlapMs: overlapMs } : { tokenRotated: true },
    });
    return token;
  });
}
