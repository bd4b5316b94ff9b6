/** Agents with the state of their connection, as they are read. The status is computed by the clock of the database. */
import type { AgentMetrics } from '../contracts/agent-protocol.ts';
import {
  type AgentDelivery,
  type AgentView,
  OFFLINE_AFTER_MS,
  URL_AGENT_OFFLINE_AFTER_MS,
} from '../contracts/agents.ts';
import { type Queryable, query, queryOne } from './database.ts';

type AgentStatus = AgentView['status'];

export interface AgentRow {
  id: string;
  hostname: string;
  os: string | null;
  arch: string | null;
  version: string | null;
  delivery: AgentDelivery;
  status: AgentStatus;
  tags: string[];
  capabilities: string[];
  shells: string[];
  defaultShell: string | null;
  metrics: AgentMetrics | null;
  /** What it said of its machine in words of its own dialect; null when it never did. */
  systemInfo: Record<string, unknown> | null;
  runningCount: number;
  lastSeenAt: Date | null;
  /** Since its last word, by the clock of the database; null when it never was heard of. */
  secondsSinceSeen: number | null;
  /** Heard of lately, by its socket or by a heartbeat over HTTP. Only with a socket can it be sent commands. */
  isAlive: boolean;
  /** Where it was last seen, or what it said of itself. */
  address: string | null;
  /** Start of the present connection; null while there is none. */
  connectedAt: Date | null;
  /** Number of the present connection; null while there is none. */
  epoch: number | null;
  /** An operator asked it to take nothing new. */
  drainRequestedAt: Date | null;
  /** Two machines seemed to use this identity. */
  cloneSuspectedAt: Date | null;
  /** It was given a token of its own, now or ever: the shared token does not speak for it. */
  hasOwnToken: boolean;
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
  delivery: AgentDelivery;
  status: AgentStatus;
  tags: string[];
  capabilities: string[];
  shells: string[];
  default_shell: string | null;
  metrics: AgentMetrics | null;
  system_info: Record<string, unknown> | null;
  running_count: number;
  last_seen_at: Date | null;
  seconds_since_seen: number | null;
  is_alive: boolean;
  address: string | null;
  connected_at: Date | null;
  epoch: number | null;
  drain_requested_at: Date | null;
  clone_suspected_at: Date | null;
  has_own_token: boolean;
  created_at: Date;
  updated_at: Date;
  revoked_at: Date | null;
}

/** How long an agent (`a`) counts as there after its last word. */
export const aliveFor = `case when a.delivery = 'url' then interval '${URL_AGENT_OFFLINE_AFTER_MS} ms'
  else interval '${OFFLINE_AFTER_MS} ms' end`;
/** Where an agent has no socket because it is asked at its address, it is enough that it was heard of. */
const isReached = `(c.bridge_id is not null or a.delivery = 'url')`;

/** The joins that the fragments below speak of. */
const agentJoinsSql = `agents a
  left join agent_connections c on c.agent_id = a.id
  left join agent_presence p on p.agent_id = a.id`;

const agentStatusSql = `case
  when a.revoked_at is not null then 'revoked'
  when not ${isReached} or coalesce(p.last_seen_at <= now() - ${aliveFor}, true) then 'offline'
  when p.draining or a.drain_requested_at is not null then 'draining'
  else 'online' end`;

const agentAliveSql = `(a.revoked_at is null and (
  (c.bridge_id is not null and coalesce(p.last_seen_at > now() - ${aliveFor}, false))
  or coalesce(p.heartbeat_at > now() - ${aliveFor}, false)))`;

const agentSelectSql = `select a.id, a.hostname, a.os, a.arch, a.version, a.delivery, ${agentStatusSql} as status,
    a.tags, a.capabilities, a.shells, a.default_shell, f.metrics, f.system_info,
    coalesce(p.running_count, 0) as running_count, p.last_seen_at,
    cast(extract(epoch from now() - p.last_seen_at) as double precision) as seconds_since_seen,
    ${agentAliveSql} as is_alive, a.address,
    case when c.bridge_id is not null then c.connected_at end as connected_at,
    case when c.bridge_id is not null then c.epoch end as epoch,
    a.drain_requested_at, c.clone_suspected_at,
    exists (select 1 from agent_tokens t where t.agent_id = a.id) as has_own_token, a.created_at, a.updated_at, a.revoked_at
  from ${agentJoinsSql} left join agent_facts f on f.agent_id = a.id`;

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
  systemInfo: row.system_info,
  runningCount: row.running_count,
  lastSeenAt: row.last_seen_at,
  secondsSinceSeen: row.seconds_since_seen,
  isAlive: row.is_alive,
  address: row.address,
  connectedAt: row.connected_at,
  epoch: row.epoch,
  drainRequestedAt: row.drain_requested_at,
  cloneSuspectedAt: row.clone_suspected_at,
  hasOwnToken: row.has_own_token,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
  revokedAt: row.revoked_at,
});

export async function findAgent(db: Queryable, id: string): Promise<AgentRow | undefined> {
  const row = await queryOne<StoredAgent>(db, `${agentSelectSql} where a.id = :id`, { id });
  return row && rowToAgent(row);
}

/** What decides whether and how a command can run on an agent. */
export interface CommandTargetRow {
  id: string;
  hostname: string;
  os: string | null;
  delivery: AgentDelivery;
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

export interface AgentFilter {
  /** `online` includes draining agents: they are connected. */
  status?: 'online' | 'offline' | 'revoked' | undefined;
  tag?: string | undefined;
  /** A condition on `a.tags` with its bindings (domain/agents/tag-expression.ts). */
  tagCondition?: TagCondition | undefined;
  /** Heard of lately, or not. */
  isAlive?: boolean | undefined;
  /** With a socket, or without. */
  isConnected?: boolean | undefined;
  /** Without those that were revoked. */
  isUsable?: boolean | undefined;
}

/** SQL over `a.tags` whose texts are bindings. */
export interface TagCondition {
  sql: string;
  bindings: Readonly<Record<string, string>>;
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
    filter.tagCondition?.sql,
    filter.isAlive !== undefined && `${filter.isAlive ? '' : 'not '}${agentAliveSql}`,
    filter.isConnected === true && 'c.bridge_id is not null',
    filter.isConnected === false && 'c.bridge_id is null',
    filter.isUsable === true && 'a.revoked_at is null',
  ].filter((condition) => typeof condition === 'string');
  const rows = await query<StoredAgent>(
    db,
    `${agentSelectSql}
     ${conditions.length > 0 ? `where ${conditions.join(' and ')}` : ''}
     order by a.created_at desc, a.id desc limit :limit`,
    {
      limit: page.limit,
      ...page.after,
      ...filter.tagCondition?.bindings,
      ...(filter.tag !== undefined && { tag: filter.tag }),
      ...(filter.status !== undefined && {
        statuses: filter.status === 'online' ? ['online', 'draining'] : [filter.status],
      }),
    },
  );
  return rows.map(rowToAgent);
}

/** Those of the agents that were asked to take nothing new. */
export async function listDrainedAgents(db: Queryable, agentIds: readonly string[]): Promise<string[]> {
  const rows = await query<{ id: string }>(
    db,
    'select id from agents where id = any(cast(:ids as text[])) and drain_requested_at is not null',
    { ids: [...agentIds] },
  );
  return rows.map((row) => row.id);
}

/**
 * Those of `agentIds` whose connection must end: unknown or revoked, or connected with a credential that is gone. Where
 * that was none of the agent's own (the shared token), it is gone once the agent has one of its own.
 */
export async function findAgentsToDisconnect(db: Queryable, agentIds: readonly string[]): Promise<string[]> {
  const isGood = 't.revoked_at is null and (t.expires_at is null or t.expires_at > now())';
  const rows = await query<{ id: string }>(
    db,
    `select wanted.id
     from unnest(cast(:agent_ids as text[])) as wanted(id)
       left join agents a on a.id = wanted.id
       left join agent_connections c on c.agent_id = a.id
     where a.id is null or a.revoked_at is not null
       or (c.token_id is not null
           and not exists (select 1 from agent_tokens t where t.id = c.token_id and ${isGood}))
       or (c.agent_id is not null and c.token_id is null
           and exists (select 1 from agent_tokens t where t.agent_id = a.id))`,
    { agent_ids: [...agentIds] },
  );
  return rows.map((row) => row.id);
}
