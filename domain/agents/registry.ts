/** The registry of agents: who they are, what they are tagged with, and that they may no longer connect. */
import type { AgentListQuery, AgentView } from '../../contracts/agents.ts';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import {
  type AgentPatch,
  lockAgent,
  markAgentRevoked,
  setAgentDrain,
  updateAgent,
} from '../../db/agent-changes.ts';
import { writeSystemInfo } from '../../db/agent-registration.ts';
import { revokeAgentTokens } from '../../db/agent-tokens.ts';
import { type AgentRow, findAgent, listAgents, listDrainedAgents } from '../../db/agents.ts';
import { lockOpenCommands } from '../../db/command-changes.ts';
import type { Queryable } from '../../db/database.ts';
import { serverEnd, settleCommands } from '../commands/settle.ts';
import { pageOfRows, positionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { plainText } from './plain-text.ts';
import { storableSystemInfo } from './system-info.ts';
import { conditionOfTags } from './tag-expression.ts';

export type { AgentRow };

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
  address: agent.address,
  drainRequestedAt: agent.drainRequestedAt?.toISOString() ?? null,
  cloneSuspectedAt: agent.cloneSuspectedAt?.toISOString() ?? null,
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
  const { limit, cursor, match, ...filter } = query;
  const tagCondition = match === undefined ? undefined : conditionOfTags(match);
  const rows = await listAgents(
    deps.db,
    { ...filter, tagCondition },
    { after: positionOf(cursor), limit: limit + 1 },
  );
  return pageOfRows(rows, limit, (agent) => ({ at: agent.createdAt, id: agent.id }));
}

/** @throws forbidden, agent_not_found */
export async function getAgent(deps: DomainDeps, actor: Actor, agentId: string): Promise<AgentRow> {
  assertCan(actor.principal, 'read', 'agent', agentId);
  return readAgent(deps.db, agentId);
}

/** Which of the agents that were not revoked. */
export interface AgentSelection {
  /** With a socket, or without. */
  isConnected?: boolean;
  /** Heard of within the last minute, by a socket or by a heartbeat, or not. */
  isAlive?: boolean;
}

/** Agents that were not revoked, newest first, for clients that do not page. @throws forbidden */
export async function listUsableAgents(
  deps: DomainDeps,
  actor: Actor,
  selection: AgentSelection,
  limit: number,
): Promise<AgentRow[]> {
  assertCan(actor.principal, 'list', 'agent');
  return listAgents(deps.db, { ...selection, isUsable: true }, { after: undefined, limit });
}

/** An agent to which a revoked one is none. @throws forbidden, agent_not_found */
export async function getUsableAgent(deps: DomainDeps, actor: Actor, agentId: string): Promise<AgentRow> {
  const agent = await getAgent(deps, actor, agentId);
  if (agent.revokedAt !== null) throw problem('agent_not_found', { agentId });
  return agent;
}

/** What may be changed of an agent; what is not named stays. */
export interface AgentChange extends AgentPatch {
  systemInfo?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Change what is named. What an agent says of itself (host name, system, version) it says again at its next hello.
 * @throws forbidden, agent_not_found, agent_revoked
 */
export async function changeAgent(
  deps: DomainDeps,
  actor: Actor,
  agentId: string,
  { systemInfo, ...change }: AgentChange,
): Promise<AgentRow> {
  assertCan(actor.principal, 'update', 'agent', agentId);
  const patch = plainPatch(change);
  return transact(deps, async (unit) => {
    if (!(await updateAgent(unit.trx, agentId, patch))) {
      await readAgent(unit.trx, agentId);
      throw problem('agent_revoked', { agentId });
    }
    if (systemInfo !== undefined) await writeSystemInfo(unit.trx, agentId, storableSystemInfo(systemInfo));
    unit.audit(actor, {
      action: 'agent.update',
      targetKind: 'agent',
      targetId: agentId,
      details: { ...patch, ...(systemInfo !== undefined && { systemInfo: true }) },
    });
    unit.emit('agent.updated', { agentId, data: { ...patch } });
    return readAgent(unit.trx, agentId);
  });
}

/** Texts as they may be stored; only what was named. */
const plainPatch = ({ tags, ...texts }: AgentPatch): AgentPatch => ({
  ...Object.fromEntries(
    Object.entries(texts).flatMap(([name, text]) => (text === undefined ? [] : [[name, plainText(text)]])),
  ),
  ...(tags === undefined ? {} : { tags: [...new Set(tags.map(plainText))] }),
});

/**
 * Let an agent take nothing new (before it is upgraded, say), or let it work again. What runs goes on; what is asked
 * waits. Whoever holds its socket hears of it by event `agent.updated` with `drain`, and it stays so over reconnects.
 * Asked again it changes nothing.
 * @throws forbidden, agent_not_found, agent_revoked
 */
export async function drainAgent(
  deps: DomainDeps,
  actor: Actor,
  agentId: string,
  isHeld: boolean,
): Promise<AgentRow> {
  assertCan(actor.principal, 'update', 'agent', agentId);
  return transact(deps, async (unit) => {
    const locked = await lockAgent(unit.trx, agentId);
    if (locked === undefined) throw problem('agent_not_found', { agentId });
    if (locked.isRevoked) throw problem('agent_revoked', { agentId });
    if (await setAgentDrain(unit.trx, agentId, isHeld)) {
      unit.audit(actor, {
        action: 'agent.drain',
        targetKind: 'agent',
        targetId: agentId,
        details: { isHeld },
      });
      unit.emit('agent.updated', { agentId, data: { drain: isHeld } });
    }
    return readAgent(unit.trx, agentId);
  });
}

/** Those of the agents that operators want to take nothing new; for whoever holds their sockets. */
export const findDrainedAgents = (deps: DomainDeps, agentIds: readonly string[]): Promise<string[]> =>
  listDrainedAgents(deps.db, agentIds);

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
