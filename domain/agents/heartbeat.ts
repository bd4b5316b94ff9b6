/** Heartbeats over HTTP, from agents that have no socket or do not speak of themselves on it. */
import { problem } from '../../contracts/errors.ts';
import { type AgentRow, findAgent } from '../../db/agents.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { heartbeatOf, type PresencePort } from './presence.ts';

/**
 * The agent is there, and says this of its machine. It is stored with the others' words, within a second or so; the
 * answer shows it already. The shared token speaks only for agents without a token of their own.
 * @throws forbidden, agent_not_found (also one that was revoked)
 */
export async function heartbeat(
  deps: DomainDeps & { presence: PresencePort },
  actor: Actor,
  agentId: string,
  systemInfo: Readonly<Record<string, unknown>> | null,
): Promise<AgentRow> {
  const { principal } = actor;
  assertCan(principal, 'heartbeat', 'agent', agentId);
  const agent = await findAgent(deps.db, agentId);
  if (agent === undefined || agent.revokedAt !== null) throw problem('agent_not_found', { agentId });
  if (principal.kind === 'system' && agent.hasOwnToken) throw problem('forbidden');
  deps.presence.add(heartbeatOf(agentId, systemInfo));
  return {
    ...agent,
    lastSeenAt: new Date(),
    secondsSinceSeen: 0,
    isAlive: true,
    systemInfo: systemInfo === null ? agent.systemInfo : { ...systemInfo },
  };
}
