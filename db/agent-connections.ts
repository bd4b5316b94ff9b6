/** Who holds an agent's socket. One row an agent; the epoch only rises, so an older socket can never claim. */
import { aliveFor } from './agents.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';

export interface ConnectionRow {
  agentId: string;
  epoch: number;
  journalId: string | null;
  journalSeq: number;
  bridgeId: string | null;
  /** That two machines seem to use this identity was told within the last minute. */
  isCloneTold: boolean;
}

interface StoredConnection {
  agent_id: string;
  epoch: number;
  journal_id: string | null;
  journal_seq: number;
  bridge_id: string | null;
  is_clone_told: boolean;
}

const rowToConnection = (row: StoredConnection): ConnectionRow => ({
  agentId: row.agent_id,
  epoch: row.epoch,
  journalId: row.journal_id,
  journalSeq: row.journal_seq,
  bridgeId: row.bridge_id,
  isCloneTold: row.is_clone_told,
});

/** Lock the agent's connection row, making it first when the agent never connected. */
export async function lockConnection(db: Queryable, agentId: string): Promise<ConnectionRow> {
  await execute(
    db,
    'insert into agent_connections (agent_id) values (:id) on conflict (agent_id) do nothing',
    {
      id: agentId,
    },
  );
  const row = await queryOne<StoredConnection>(
    db,
    `select agent_id, epoch, journal_id, journal_seq, bridge_id,
            coalesce(clone_suspected_at > now() - interval '1 minute', false) as is_clone_told
     from agent_connections where agent_id = :id for update`,
    { id: agentId },
  );
  if (row === undefined) throw new Error(`agent ${agentId} has no connection row`);
  return rowToConnection(row);
}

/** A hello was accepted: raise the epoch. The row is locked by the caller. */
export async function takeConnection(
  db: Queryable,
  taken: {
    agentId: string;
    epoch: number;
    journalId: string;
    journalSeq: number;
    bridgeId: string;
    /** The agent's own token that it connected with; null when it was another credential. */
    tokenId?: string | null;
    isCloneSuspected?: boolean;
  },
): Promise<void> {
  await execute(
    db,
    `update agent_connections set epoch = :epoch, journal_id = :journal_id, journal_seq = :journal_seq,
            bridge_id = :bridge_id, connected_at = now(), disconnected_at = null, token_id = :token_id,
            clone_suspected_at = case when cast(:is_clone as boolean) then now() else clone_suspected_at end
     where agent_id = :agent_id`,
    {
      agent_id: taken.agentId,
      epoch: taken.epoch,
      journal_id: taken.journalId,
      journal_seq: taken.journalSeq,
      bridge_id: taken.bridgeId,
      token_id: taken.tokenId ?? null,
      is_clone: taken.isCloneSuspected ?? false,
    },
  );
}

/** The socket at this epoch is gone. Returns false when a newer one took over. */
export async function releaseConnection(db: Queryable, agentId: string, epoch: number): Promise<boolean> {
  const rows = await query(
    db,
    `update agent_connections set bridge_id = null, disconnected_at = now()
     where agent_id = :agent_id and epoch = :epoch and bridge_id is not null returning agent_id`,
    { agent_id: agentId, epoch },
  );
  return rows.length > 0;
}

/** Of these sockets, those that a newer connection replaced. */
export async function listStaleSockets(
  db: Queryable,
  sockets: readonly { agentId: string; epoch: number }[],
): Promise<string[]> {
  const rows = await query<{ agent_id: string }>(
    db,
    `select s.agent_id from jsonb_to_recordset(cast(:sockets as jsonb)) as s(agent_id text, epoch bigint)
     left join agent_connections c on c.agent_id = s.agent_id
     where c.epoch is distinct from s.epoch`,
    { sockets: JSON.stringify(sockets.map((s) => ({ agent_id: s.agentId, epoch: s.epoch }))) },
  );
  return rows.map((row) => row.agent_id);
}

/** Release connections whose agent was not heard of for `silentMs` (its bridge died). Returns their agents. */
export async function releaseSilentConnections(db: Queryable, silentMs: number): Promise<string[]> {
  const rows = await query<{ agent_id: string }>(
    db,
    `with silent as (
       select c.agent_id from agent_connections c left join agent_presence p on p.agent_id = c.agent_id
       where c.bridge_id is not null
         and coalesce(p.last_seen_at, c.connected_at) < now() - make_interval(secs => :seconds)
       order by c.agent_id for no key update of c
     )
     update agent_connections c set bridge_id = null, disconnected_at = now()
     from silent where c.agent_id = silent.agent_id
     returning c.agent_id`,
    { seconds: silentMs / 1000 },
  );
  return rows.map((row) => row.agent_id);
}

/** Those of the agents that can be told of a command now: by a socket, or at an address where they were heard of. */
export async function listReachedAgents(db: Queryable, agentIds: readonly string[]): Promise<Set<string>> {
  const rows = await query<{ id: string }>(
    db,
    `select a.id from agents a
     left join agent_connections c on c.agent_id = a.id
     left join agent_presence p on p.agent_id = a.id
     where a.id = any(cast(:ids as text[])) and (c.bridge_id is not null
       or (a.delivery = 'url' and p.last_seen_at > now() - ${aliveFor}))`,
    { ids: [...agentIds] },
  );
  return new Set(rows.map(({ id }) => id));
}

/** The bridge that holds the agent's socket; null while none does. */
export async function findBridgeOf(db: Queryable, agentId: string): Promise<string | null> {
  const row = await queryOne<{ bridge_id: string | null }>(
    db,
    'select bridge_id from agent_connections where agent_id = :agentId',
    { agentId },
  );
  return row?.bridge_id ?? null;
}
