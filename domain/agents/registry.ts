/** The registry of agents: who they are, what they are tagged with, and that they may no longer connect. */
import type { AgentListQuery, AgentView } from '../../contracts/agents.ts';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import { revokeAgentTokens } from '../../db/agent-tokens.ts';
import { type AgentRow, findAgent, listAgents, markAgentRevoked, updateAgentTags } from '../../db/agents.ts';
import { lockOpenCommands } from '../../db/command-changes.ts';
import type { Queryable } from '../../db/database.ts';
import { serverEnd, settleCommands } from '../commands/settle.ts';
import { pageOfRows, positionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';

/** An agent as the house API shows it. */
export const presentAgent = (agent: AgentRow): AgentView => ({
  id: agent.id,
  hostname: agent.hostname,
  os: agent.os,
  arch: agent.arch,
  version: agent.version,
  delivery: agent.delivery,
  status: agent.status,
  tags: agent.tags,
  capabilities: agent.capabilities,
  shells: agent.shells,
  defaultShell: agent.defaultShell,
  runningCount: agent.runningCount,
  metrics: agent.metrics,
  lastSeenAt: agent.lastSeenAt?.toISOString() ?? null,
  connectedAt: agent.connectedAt?.toISOString() ?? null,
  createdAt: agent.createdAt.toISOString(),
  revokedAt: agent.revokedAt?.toISOString() ?? null,
});

/**
 * Agents, newest first.
 * @throws forbidden, invalid_cursor
 */
export async function listAgentPage(
  deps: DomainDeps,
  actor: Actor,
  query: AgentListQuery,
): Promise<Page<AgentRow>> {
  assertCan(actor.principal, 'list', 'agent');
  const { limit, cursor, ...filter } = query;
  const rows = await listAgents(deps.db, filter, { after: positionOf(cursor), limit: limit + 1 });
  return pageOfRows(rows, limit, (agent) => ({ at: agent.createdAt, id: agent.id }));
}

/** @throws forbidden, agent_not_found */
export async function getAgent(deps: DomainDeps, actor: Actor, agentId: string): Promise<AgentRow> {
  assertCan(actor.principal, 'read', 'agent', agentId);
  return readAgent(deps.db, agentId);
}

/**
 * Replace the tags.
 * @throws forbidden, agent_not_found, agent_revoked
 */
export async function tagAgent(
  deps: DomainDeps,
  actor: Actor,
  agentId: string,
  tags: readonly string[],
): Promise<AgentRow> {
  assertCan(actor.principal, 'update', 'agent', agentId);
  const wanted = [...new Set(tags)];
  return transact(deps, async (unit) => {
    if (!(await updateAgentTags(unit.trx, agentId, wanted))) {
      await readAgent(unit.trx, agentId);
      throw problem('agent_revoked', { agentId });
    }
    unit.audit(actor, {
      action: 'agent.tag',
      targetKind: 'agent',
      targetId: agentId,
      details: { tags: wanted },
    });
    unit.emit('agent.updated', { agentId, data: { tags: wanted } });
    return readAgent(unit.trx, agentId);
  });
}

/**
 * End an agent for good: its tokens stop working, its socket is closed by whoever holds it (event `agent.revoked`).
 * Revoking again changes nothing. Its id is never given out again: the ledger speaks of it.
 * @throws forbidden, agent_not_found
 */
export async function revokeAgent(deps: DomainDeps, actor: Actor, agentId: string): Promise<AgentRow> {
  assertCan(actor.principal, 'revoke', 'agent', agentId);
  return transact(deps, async (unit) => {
    if (await markAgentRevoked(unit.trx, agentId)) {
      const revokedTokens = await revokeAgentTokens(unit.trx, agentId);
      // It will never come for them; what is out already becomes `unknown` in its time.
      const waiting = await lockOpenCommands(unit.trx, { kind: 'agent_queue', agentId });
      await settleCommands(
        unit,
        waiting.map((row) => serverEnd(row, 'rejected', 'agent_revoked')),
      );
      unit.audit(actor, {
        action: 'agent.revoke',
        targetKind: 'agent',
        targetId: agentId,
        details: { revokedTokens },
      });
      unit.emit('agent.revoked', { agentId });
      unit.wakeAgents([agentId]);
    }
    return readAgent(unit.trx, agentId);
  });
}

async function readAgent(db: Queryable, agentId: string): Promise<AgentRow> {
  const agent = await findAgent(db, agentId);
  if (!agent) throw problem('agent_not_found', { agentId });
  return agent;
}
