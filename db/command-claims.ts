/** What a bridge takes from the ledger for its sockets: queued commands, and cancels that are not answered yet. */
import { UNKNOWN_MARGIN_MS } from '../contracts/command-states.ts';
import { actColumns, type StoredAct } from './acts.ts';
import { commandColumns, type ReadableCommands, type StoredCommand, separateReadable } from './commands.ts';
import { type Queryable, query } from './database.ts';

export interface Socket {
  agentId: string;
  epoch: number;
}

/** Most commands one claim takes. */
export const CLAIM_LIMIT = 500;

/**
 * Claim queued commands for sockets of this process: `sent` is committed before the first byte leaves.
 * The connection rows are held `for share` at the sockets' epochs, so a newer connection waits or wins.
 */
export async function claimQueuedCommands(
  db: Queryable,
  sockets: readonly Socket[],
  only?: string,
): Promise<ReadableCommands> {
  if (sockets.length === 0) return { commands: [], unreadable: [] };
  const claimed = await query<StoredCommand & StoredAct>(
    db,
    `with here as (
       select c.agent_id, c.epoch, c.journal_id
       from agent_connections c
       join jsonb_to_recordset(cast(:sockets as jsonb)) as s(agent_id text, epoch bigint)
         on s.agent_id = c.agent_id and s.epoch = c.epoch
       order by c.agent_id for share of c
     ), picked as (
       select q.command_id, here.epoch, here.journal_id, t.public_id as task_public_id
       from here join commands q on q.agent_id = here.agent_id left join tasks t on t.id = q.task_id
       where q.state = 'queued' and q.expires_at > now()
         and (cast(:only as uuid) is null or q.command_id = cast(:only as uuid))
       order by q.created_at, q.command_id limit :limit
       for update of q skip locked
     )
     update commands c set state = 'sent', sent_at = now(), sent_epoch = picked.epoch,
            sent_journal_id = picked.journal_id,
            overdue_at = c.expires_at + make_interval(secs => :margin_seconds)
     from picked, acts a where c.command_id = picked.command_id and a.digest = c.digest
     returning ${commandColumns}, ${actColumns}, picked.task_public_id`,
    {
      sockets: JSON.stringify(sockets.map((s) => ({ agent_id: s.agentId, epoch: s.epoch }))),
      only: only ?? null,
      limit: CLAIM_LIMIT,
      margin_seconds: UNKNOWN_MARGIN_MS / 1000,
    },
  );
  claimed.sort(
    (x, y) => x.created_at.getTime() - y.created_at.getTime() || (x.command_id < y.command_id ? -1 : 1),
  );
  return separateReadable(claimed);
}

/** Claim one command of an agent that is asked at its address; it is held to answer as a journal of this id. */
export async function claimUrlCommand(
  db: Queryable,
  commandId: string,
  journalId: string,
): Promise<ReadableCommands> {
  const claimed = await query<StoredCommand & StoredAct>(
    db,
    `with picked as (
       select q.command_id, t.public_id as task_public_id
       from commands q join agents g on g.id = q.agent_id left join tasks t on t.id = q.task_id
       where q.command_id = cast(:id as uuid) and q.state = 'queued' and q.expires_at > now()
         and g.delivery = 'url' and g.revoked_at is null and g.drain_requested_at is null
       for update of q
     )
     update commands c set state = 'sent', sent_at = now(), sent_journal_id = cast(:journal_id as uuid),
            overdue_at = c.expires_at + make_interval(secs => :margin_seconds)
     from picked, acts a where c.command_id = picked.command_id and a.digest = c.digest
     returning ${commandColumns}, ${actColumns}, picked.task_public_id`,
    { id: commandId, journal_id: journalId, margin_seconds: UNKNOWN_MARGIN_MS / 1000 },
  );
  return separateReadable(claimed);
}

/** Commands out on these agents for which a cancel was asked. */
export async function listCancelRequests(
  db: Queryable,
  agentIds: readonly string[],
): Promise<{ commandId: string; agentId: string; reason: string }[]> {
  if (agentIds.length === 0) return [];
  const rows = await query<{ command_id: string; agent_id: string; cancel_reason: string | null }>(
    db,
    `select command_id, agent_id, cancel_reason from commands
     where agent_id = any(cast(:ids as text[])) and state in ('sent', 'running') and cancel_requested_at is not null`,
    { ids: [...agentIds] },
  );
  return rows.map((row) => ({
    commandId: row.command_id,
    agentId: row.agent_id,
    reason: row.cancel_reason ?? 'canceled',
  }));
}
