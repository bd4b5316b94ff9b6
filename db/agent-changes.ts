/** How rows of agents are made and changed. */
import type { Hello } from '../contracts/agent-protocol.ts';
import { type Queryable, query, queryOne } from './database.ts';

export interface NewAgent {
  id: string;
  hostname: string;
  os: string | null;
  arch: string | null;
  version: string | null;
  tags: readonly string[];
  address?: string | null;
}

/** False when another agent has the id. */
export async function insertAgent(db: Queryable, agent: NewAgent): Promise<boolean> {
  const rows = await query(
    db,
    `insert into agents (id, hostname, os, arch, version, tags, address)
     values (:id, :hostname, :os, :arch, :version, :tags, :address)
     on conflict (id) do nothing
     returning id`,
    { ...agent, tags: [...agent.tags], address: agent.address ?? null },
  );
  return rows.length === 1;
}

/** Facts of a hello that its row keeps. */
type HelloFacts = Pick<
  Hello,
  'agentId' | 'hostname' | 'os' | 'arch' | 'version' | 'delivery' | 'capabilities' | 'shells' | 'defaultShell'
>;

/** What an agent says of itself when it connects; it is heard of now, and not draining by itself any more. */
export async function updateAgentFromHello(
  db: Queryable,
  hello: HelloFacts,
  address: string | null,
): Promise<{ wasOnline: boolean; isHeld: boolean }> {
  const row = await queryOne<{ was_online: boolean; is_held: boolean }>(
    db,
    `with updated as (
       update agents set hostname = :hostname, os = :os, arch = :arch, version = :version, delivery = :delivery,
              capabilities = :capabilities, shells = :shells, default_shell = :default_shell,
              address = coalesce(:address, address), updated_at = now()
       where id = :id returning drain_requested_at
     ), present as (
       insert into agent_presence as p (agent_id, is_online, last_seen_at) values (:id, true, now())
       on conflict (agent_id) do update set is_online = true, draining = false, last_seen_at = now()
     )
     select coalesce((select is_online from agent_presence where agent_id = :id), false) as was_online,
            (select drain_requested_at is not null from updated) as is_held`,
    {
      id: hello.agentId,
      hostname: hello.hostname,
      os: hello.os,
      arch: hello.arch,
      version: hello.version,
      delivery: hello.delivery,
      capabilities: hello.capabilities,
      shells: hello.shells,
      default_shell: hello.defaultShell,
      address,
    },
  );
  return { wasOnline: row?.was_online ?? false, isHeld: row?.is_held ?? false };
}

/** What may be changed of an agent besides its connection; what is not named stays. */
export interface AgentPatch {
  hostname?: string | undefined;
  os?: string | undefined;
  version?: string | undefined;
  address?: string | undefined;
  tags?: readonly string[] | undefined;
}

/** False when there is no such agent, or it is revoked. */
export async function updateAgent(db: Queryable, id: string, patch: AgentPatch): Promise<boolean> {
  const rows = await query(
    db,
    `update agents set hostname = coalesce(:hostname, hostname), os = coalesce(:os, os),
            version = coalesce(:version, version), address = coalesce(:address, address),
            tags = coalesce(cast(:tags as text[]), tags), updated_at = now()
     where id = :id and revoked_at is null returning id`,
    {
      id,
      hostname: patch.hostname ?? null,
      os: patch.os ?? null,
      version: patch.version ?? null,
      address: patch.address ?? null,
      tags: patch.tags === undefined ? null : [...patch.tags],
    },
  );
  return rows.length === 1;
}

/** Ask an agent to take nothing new, or let it again. False when that is so already. The row is locked by the caller. */
export async function setAgentDrain(db: Queryable, id: string, isHeld: boolean): Promise<boolean> {
  const rows = await query(
    db,
    `update agents set drain_requested_at = ${isHeld ? 'now()' : 'null'}, updated_at = now()
     where id = :id and drain_requested_at is ${isHeld ? 'null' : 'not null'} returning id`,
    { id },
  );
  return rows.length === 1;
}

/** False when there is no such agent, or it had been revoked before. */
export async function markAgentRevoked(db: Queryable, id: string): Promise<boolean> {
  const rows = await query(
    db,
    'update agents set revoked_at = now(), updated_at = now() where id = :id and revoked_at is null returning id',
    { id },
  );
  return rows.length === 1;
}

/** Take the row lock of an agent, so that its credentials change one after the other. */
export async function lockAgent(db: Queryable, id: string): Promise<{ isRevoked: boolean } | undefined> {
  const row = await queryOne<{ is_revoked: boolean }>(
    db,
    'select revoked_at is not null as is_revoked from agents where id = :id for no key update',
    { id },
  );
  return row && { isRevoked: row.is_revoked };
}
