/** Agents with the state of their connection. The status is computed by the clock of the database. */
import type { AgentMetrics, Delivery, Hello } from '../contracts/agent-protocol.ts';
import { type AgentView, OFFLINE_AFTER_MS } from '../contracts/agents.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';

type AgentStatus = AgentView['status'];

export interface AgentRow {
  id: string;
  hostname: string;
  os: string | null;
  arch: string | null;
  version: string | null;
  delivery: Delivery;
  status: AgentStatus;
  tags: string[];
  capabilities: string[];
  shells: string[];
  defaultShell: string | null;
  metrics: AgentMetrics | null;
  runningCount: number;
  lastSeenAt: Date | null;
  /** Start of the present connection; null while there is none. */
  connectedAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
  revokedAt: Date | null;
}

interface StoredAgent {
  id: string;
  hostname: string;
  os: string | null;
  arch: string | null;
  version: string | null;
  delivery: Delivery;
  status: AgentStatus;
  tags: string[];
  capabilities: string[];
  shells: string[];
  default_shell: string | null;
  metrics: AgentMetrics | null;
  running_count: number;
  last_seen_at: Date | null;
  connected_at: Date | null;
  created_at: Date;
  updated_at: Date;
  revoked_at: Date | null;
}

/** For queries `from agents a left join agent_connections c on c.agent_id = a.id`. */
const agentStatusSql = `case
  when a.revoked_at is not null then 'revoked'
  when c.bridge_id is null or coalesce(a.last_seen_at <= now() - interval '${OFFLINE_AFTER_MS} ms', true) then 'offline'
  when a.draining then 'draining'
  else 'online' end`;

const agentSelectSql = `select a.id, a.hostname, a.os, a.arch, a.version, a.delivery, ${agentStatusSql} as status,
    a.tags, a.capabilities, a.shells, a.default_shell, a.metrics, a.running_count, a.last_seen_at,
    case when c.bridge_id is not null then c.connected_at end as connected_at,
    a.created_at, a.updated_at, a.revoked_at
  from agents a left join agent_connections c on c.agent_id = a.id`;

const rowToAgent = (row: StoredAgent): AgentRow => ({
  id: row.id,
  hostname: row.hostname,
  os: row.os,
  arch: row.arch,
  version: row.version,
  delivery: row.delivery,
  status: row.status,
  tags: row.tags,
  capabilities: row.capabilities,
  shells: row.shells,
  defaultShell: row.default_shell,
  metrics: row.metrics,
  runningCount: row.running_count,
  lastSeenAt: row.last_seen_at,
  connectedAt: row.connected_at,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  revokedAt: row.revoked_at,
});

export interface NewAgent {
  id: string;
  hostname: string;
  os: string | null;
  arch: string | null;
  version: string | null;
  tags: readonly string[];
}

/** False when another agent has the id. */
export async function insertAgent(db: Queryable, agent: NewAgent): Promise<boolean> {
  const rows = await query(
    db,
    `insert into agents (id, hostname, os, arch, version, tags)
     values (:id, :hostname, :os, :arch, :version, :tags)
     on conflict (id) do nothing
     returning id`,
    { ...agent, tags: [...agent.tags] },
  );
  return rows.length === 1;
}

export async function findAgent(db: Queryable, id: string): Promise<AgentRow | undefined> {
  const row = await queryOne<StoredAgent>(db, `${agentSelectSql} where a.id = :id`, { id });
  return row && rowToAgent(row);
}

/** What decides whether and how a command can run on an agent. */
export interface CommandTargetRow {
  id: string;
  hostname: string;
  os: string | null;
  delivery: Delivery;
  shells: string[];
  defaultShell: string | null;
  isRevoked: boolean;
}

/** Those of the agents that exist, in no order. */
export function listCommandTargets(db: Queryable, agentIds: readonly string[]): Promise<CommandTargetRow[]> {
  return query<CommandTargetRow>(
    db,
    `select id, hostname, os, delivery, shells, default_shell as "defaultShell",
            revoked_at is not null as "isRevoked"
     from agents where id = any(cast(:ids as text[]))`,
    { ids: [...agentIds] },
  );
}

/** What an agent says of itself when it connects; it is not draining any more. */
export async function updateAgentFromHello(
  db: Queryable,
  hello: Pick<
    Hello,
    | 'agentId'
    | 'hostname'
    | 'os'
    | 'arch'
    | 'version'
    | 'delivery'
    | 'capabilities'
    | 'shells'
    | 'defaultShell'
  >,
): Promise<void> {
  await execute(
    db,
    `update agents set hostname = :hostname, os = :os, arch = :arch, version = :version, delivery = :delivery,
            capabilities = :capabilities, shells = :shells, default_shell = :default_shell, draining = false,
            last_seen_at = now(), updated_at = now()
     where id = :id`,
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
    },
  );
}

export interface AgentFilter {
  /** `online` includes draining agents: they are connected. */
  status?: 'online' | 'offline' | 'revoked';
  tag?: string;
}

/** Newest first, after the position. */
export async function listAgents(
  db: Queryable,
  filter: AgentFilter,
  page: { after: { at: Date; id: string } | undefined; limit: number },
): Promise<AgentRow[]> {
  const conditions = [
    page.after && '(a.created_at, a.id) < (:at, :id)',
    filter.tag !== undefined && 'a.tags @> array[:tag]',
    filter.status !== undefined && `${agentStatusSql} = any(cast(:statuses as text[]))`,
  ].filter((condition) => typeof condition === 'string');
  const rows = await query<StoredAgent>(
    db,
    `${agentSelectSql}
     ${conditions.length > 0 ? `where ${conditions.join(' and ')}` : ''}
     order by a.created_at desc, a.id desc limit :limit`,
    {
      limit: page.limit,
      ...page.after,
      ...(filter.tag !== undefined && { tag: filter.tag }),
      ...(filter.status !== undefined && {
        statuses: filter.status === 'online' ? ['online', 'draining'] : [filter.status],
      }),
    },
  );
  return rows.map(rowToAgent);
}

/** False when there is no such agent, or it is revoked. */
export async function updateAgentTags(db: Queryable, id: string, tags: readonly string[]): Promise<boolean> {
  const rows = await query(
    db,
    'update agents set tags = :tags, updated_at = now() where id = :id and revoked_at is null returning id',
    { id, tags: [...tags] },
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

/**
 * Those of `agentIds` whose connection must end: unknown or revoked, or connected with a token that has been
 * replaced since (a token ended after the connection began, and none that still works is as old as it).
 */
export async function findAgentsToDisconnect(db: Queryable, agentIds: readonly string[]): Promise<string[]> {
  const rows = await query<{ id: string }>(
    db,
    `select wanted.id
     from unnest(cast(:agent_ids as text[])) as wanted(id)
       left join agents a on a.id = wanted.id
       left join agent_connections c on c.agent_id = a.id
     where a.id is null or a.revoked_at is not null
       or (exists (select 1 from agent_tokens t where t.agent_id = a.id and t.revoked_at > c.connected_at)
           and not exists (select 1 from agent_tokens t
                           where t.agent_id = a.id and t.revoked_at is null and t.created_at <= c.connected_at))`,
    { agent_ids: [...agentIds] },
  );
  return rows.map((row) => row.id);
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
