/** Who holds an agent's socket. One row an agent; the epoch only rises, so an older socket can never claim. */
import type { AgentMetrics } from '../contracts/agent-protocol.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';

export interface ConnectionRow {
  agentId: string;
  epoch: number;
  journalId: string | null;
  journalSeq: number;
  bridgeId: string | null;
}

interface StoredConnection {
  agent_id: string;
  epoch: number;
  journal_id: string | null;
  journal_seq: number;
  bridge_id: string | null;
}

const rowToConnection = (row: StoredConnection): ConnectionRow => ({
  agentId: row.agent_id,
  epoch: row.epoch,
  journalId: row.journal_id,
  journalSeq: row.journal_seq,
  bridgeId: row.bridge_id,
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
    'select agent_id, epoch, journal_id, journal_seq, bridge_id from agent_connections where agent_id = :id for update',
    { id: agentId },
  );
  if (row === undefined) throw new Error(`agent ${agentId} has no connection row`);
  return rowToConnection(row);
}

/** A hello was accepted: raise the epoch. The row is locked by the caller. */
export async function takeConnection(
  db: Queryable,
  taken: { agentId: string; epoch: number; journalId: string; journalSeq: number; bridgeId: string },
): Promise<void> {
  await execute(
    db,
    `update agent_connections set epoch = :epoch, journal_id = :journal_id, journal_seq = :journal_seq,
            bridge_id = :bridge_id, connected_at = now(), disconnected_at = null
     where agent_id = :agent_id`,
    {
      agent_id: taken.agentId,
      epoch: taken.epoch,
      journal_id: taken.journalId,
      journal_seq: taken.journalSeq,
      bridge_id: taken.bridgeId,
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

export interface PresenceReport {
  agentId: string;
  epoch: number;
  journalSeq: number;
  running: number;
  draining: boolean;
  metrics: AgentMetrics | null;
}

/**
 * Write what agents said of themselves, set-based, only for sockets that still hold their epoch.
 * Locks in agent id order, as everybody who locks several connections.
 */
export async function writePresence(
  db: Queryable,
  bridgeId: string,
  reports: readonly PresenceReport[],
): Promise<void> {
  if (reports.length === 0) return;
  await execute(
    db,
    `with said as (
       select * from jsonb_to_recordset(cast(:rows as jsonb)) as r(
         agent_id text, epoch bigint, journal_seq bigint, running integer, draining boolean, metrics jsonb)
     ), locked as (
       select c.agent_id, c.epoch from agent_connections c join said using (agent_id)
       where c.epoch = said.epoch order by c.agent_id for no key update of c
     ), held as (
       update agent_connections c set journal_seq = greatest(c.journal_seq, said.journal_seq),
              bridge_id = cast(:bridge_id as uuid), disconnected_at = null
       from said join locked using (agent_id)
       where c.agent_id = said.agent_id and c.epoch = said.epoch
       returning c.agent_id
     )
     update agents a set last_seen_at = now(), running_count = said.running, draining = said.draining,
            metrics = coalesce(nullif(said.metrics, cast('null' as jsonb)), a.metrics)
     from said join held using (agent_id) where a.id = said.agent_id`,
    {
      bridge_id: bridgeId,
      rows: JSON.stringify(
        reports.map((report) => ({
          agent_id: report.agentId,
          epoch: report.epoch,
          journal_seq: report.journalSeq,
          running: report.running,
          draining: report.draining,
          metrics: report.metrics,
        })),
      ),
    },
  );
}

/** Release connections whose agent was not heard of for `silentMs` (its bridge died). Returns their agents. */
export async function releaseSilentConnections(db: Queryable, silentMs: number): Promise<string[]> {
  const rows = await query<{ agent_id: string }>(
    db,
    `with silent as (
       select c.agent_id from agent_connections c join agents a on a.id = c.agent_id
       where c.bridge_id is not null
         and coalesce(a.last_seen_at, c.connected_at) < now() - make_interval(secs => :seconds)
       order by c.agent_id for no key update of c
     )
     update agent_connections c set bridge_id = null, disconnected_at = now()
     from silent where c.agent_id = silent.agent_id
     returning c.agent_id`,
    { seconds: silentMs / 1000 },
  );
  return rows.map((row) => row.agent_id);
}
