/**
 * Registration without an enrolment token, as older agents know it: whoever holds the shared agent token (or may enrol)
 * says that a machine is there.
 *
 *  A. An agent's identity is its credential. The shared token vouches for nobody, so it never speaks for an agent that
 *     was given a token of its own.
 *  B. A host name stands for an agent only where that agent never had its own token and is not connected; otherwise the
 *     machine gets a new id, and `agent.duplicate_hostname` tells of it.
 *  C. Two registrations of one host name come one after the other.
 *  D. Tags decide what an agent is sent. One with a token of its own has those it was given, whatever it says; to others
 *     they are as they register, and a change is on record.
 */
import { v7 as newId } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { insertAgent, updateAgent } from '../../db/agent-changes.ts';
import { listHostnameHolders, lockHostname, writeSystemInfo } from '../../db/agent-registration.ts';
import { type AgentRow, findAgent } from '../../db/agents.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { assertAgentIdFree } from './agent-ids.ts';
import { plainText } from './plain-text.ts';
import { storableSystemInfo } from './system-info.ts';

/** What a machine says of itself. */
export interface Registration {
  /** An id that it had before, or wishes for. */
  agentId?: string | undefined;
  hostname: string;
  os?: string | undefined;
  arch?: string | undefined;
  version?: string | undefined;
  address?: string | undefined;
  /** An agent that is known keeps those it has when none are named. */
  tags?: readonly string[] | undefined;
  systemInfo?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Find or make the agent of this machine. An agent that asks for itself (by its own token) is that agent.
 * @throws forbidden, validation_failed (an id that is kept for a route), agent_exists (the id is that of an agent with a
 *   token of its own), agent_revoked, idempotency_conflict
 */
export async function registerAgent(
  deps: DomainDeps,
  actor: Actor,
  wish: Registration,
  requestKey: RequestKey | null = null,
): Promise<{ agent: AgentRow; isNew: boolean }> {
  const { principal } = actor;
  const ownId = principal.kind === 'agent' ? principal.id : undefined;
  assertCan(principal, 'register', 'agent', ownId);
  const facts = plainFacts(wish);
  return transact(deps, async (unit) => {
    await lockHostname(unit.trx, facts.hostname);
    const known = ownId === undefined ? await findKnown(unit, wish.agentId, facts.hostname) : ownId;
    const agentId = known ?? wish.agentId ?? newId();
    const earlier = await findEarlier(unit, actor, requestKey, agentId);
    if (earlier !== undefined) return { agent: earlier, isNew: false };
    if (known === undefined) await makeAgent(unit, actor, agentId, facts);
    else await changeAgent(unit, actor, agentId, facts);
    if (facts.systemInfo !== undefined) await writeSystemInfo(unit.trx, agentId, facts.systemInfo);
    const agent = await findAgent(unit.trx, agentId);
    if (agent === undefined) throw problem('agent_not_found', { agentId });
    return { agent, isNew: known === undefined };
  });
}

/** What the same request made before. */
async function findEarlier(
  unit: Unit,
  { principal }: Actor,
  requestKey: RequestKey | null,
  agentId: string,
): Promise<AgentRow | undefined> {
  const made = await claimRequest(unit.trx, principal, requestKey, 'agent.register', agentId);
  return made === undefined ? undefined : findAgent(unit.trx, made);
}

type Facts = Omit<Registration, 'agentId'>;

/** The agent that the shared token may speak for (A, B). */
async function findKnown(
  unit: Unit,
  agentId: string | undefined,
  hostname: string,
): Promise<string | undefined> {
  if (agentId !== undefined) {
    assertAgentIdFree(agentId);
    const agent = await findAgent(unit.trx, agentId);
    if (agent === undefined) return undefined;
    if (agent.revokedAt !== null) throw problem('agent_revoked', { agentId });
    if (agent.hasOwnToken) throw problem('agent_exists', { agentId });
    return agentId;
  }
  const holders = await listHostnameHolders(unit.trx, hostname);
  return holders.find((holder) => !holder.hasOwnToken && !holder.isConnected)?.id;
}

async function makeAgent(unit: Unit, actor: Actor, agentId: string, facts: Facts): Promise<void> {
  const tags = [...new Set(facts.tags ?? [])];
  const { hostname, os = null, arch = null, version = null, address = null } = facts;
  const others = (await listHostnameHolders(unit.trx, hostname)).map((holder) => holder.id);
  const isNew = await insertAgent(unit.trx, {
    id: agentId,
    hostname,
    os,
    arch,
    version,
    tags,
    address,
  });
  // Somebody took the id while this waited for nobody: ids are not locked, host names are.
  if (!isNew) throw problem('agent_exists', { agentId });
  unit.audit(actor, {
    action: 'agent.register',
    targetKind: 'agent',
    targetId: agentId,
    details: { hostname, tags },
  });
  unit.emit('agent.enrolled', { agentId, data: { hostname, tags } });
  if (others.length > 0) unit.emit('agent.duplicate_hostname', { agentId, data: { hostname, others } });
}

async function changeAgent(unit: Unit, actor: Actor, agentId: string, facts: Facts): Promise<void> {
  const { systemInfo: _, arch: __, tags: said, ...rest } = facts;
  const tags = await newTags(unit, actor, agentId, said);
  const isThere = await updateAgent(unit.trx, agentId, { ...rest, tags });
  if (!isThere) throw problem('agent_revoked', { agentId });
  if (tags === undefined) return;
  unit.audit(actor, { action: 'agent.update', targetKind: 'agent', targetId: agentId, details: { tags } });
  unit.emit('agent.updated', { agentId, data: { tags } });
}

/** D. @returns undefined where it keeps those it has */
async function newTags(
  unit: Unit,
  { principal }: Actor,
  agentId: string,
  said: readonly string[] = [],
): Promise<string[] | undefined> {
  if (said.length === 0 || principal.kind === 'agent') return undefined;
  const tags = [...new Set(said)];
  const before = await findAgent(unit.trx, agentId);
  return JSON.stringify(tags) === JSON.stringify(before?.tags) ? undefined : tags;
}

/** What a machine says of itself ends up in lists, logs and the audit trail. */
const plainFacts = (wish: Registration): Facts => ({
  hostname: plainText(wish.hostname),
  os: wish.os === undefined ? undefined : plainText(wish.os),
  arch: wish.arch === undefined ? undefined : plainText(wish.arch),
  version: wish.version === undefined ? undefined : plainText(wish.version),
  address: wish.address === undefined ? undefined : plainText(wish.address),
  tags: wish.tags?.map(plainText),
  systemInfo: wish.systemInfo === undefined ? undefined : storableSystemInfo(wish.systemInfo),
});
