/** Terminal sessions: one row each, written when they open, while they are recorded, and when they end. */
import type { TerminalState } from '../contracts/terminals.ts';
import { type Queryable, query, queryOne } from './database.ts';

export interface TerminalSessionRow {
  id: string;
  agentId: string;
  state: TerminalState;
  ownerKind: string;
  ownerId: string;
  ownerName: string;
  address: string | null;
  forwardParam: string | null;
  shell: string | null;
  cols: number;
  rows: number;
  isRecorded: boolean;
  recordsInput: boolean;
  createdAt: Date;
  openedAt: Date | null;
  endsBefore: Date;
  endRequestedAt: Date | null;
  endRequestedReason: string | null;
  endedAt: Date | null;
  endReason: string | null;
  exitCode: number | null;
  signal: number | null;
  survivors: number | null;
  outputBytes: number | null;
  recordedOffset: number;
  recordingBytes: number;
  recordingTruncated: boolean;
  recordingDeletedAt: Date | null;
}

const columns = `id, agent_id as "agentId", state, owner_kind as "ownerKind", owner_id as "ownerId",
  owner_name as "ownerName", address, forward_param as "forwardParam", shell, cols, rows,
  is_recorded as "isRecorded", records_input as "recordsInput", created_at as "createdAt", opened_at as "openedAt",
  ends_before as "endsBefore", end_requested_at as "endRequestedAt", end_requested_reason as "endRequestedReason",
  ended_at as "endedAt", end_reason as "endReason", exit_code as "exitCode", signal, survivors,
  output_bytes as "outputBytes", recorded_offset as "recordedOffset", recording_bytes as "recordingBytes",
  recording_truncated as "recordingTruncated", recording_deleted_at as "recordingDeletedAt"`;

export type NewTerminalSession = Pick<
  TerminalSessionRow,
  | 'id'
  | 'agentId'
  | 'ownerKind'
  | 'ownerId'
  | 'ownerName'
  | 'address'
  | 'forwardParam'
  | 'cols'
  | 'rows'
  | 'isRecorded'
  | 'recordsInput'
> & { maxMs: number };

export async function insertTerminalSession(
  db: Queryable,
  session: NewTerminalSession,
): Promise<TerminalSessionRow> {
  const row = await queryOne<TerminalSessionRow>(
    db,
    `insert into terminal_sessions (id, agent_id, owner_kind, owner_id, owner_name, address, forward_param, cols, rows,
                                    is_recorded, records_input, ends_before)
     values (:id, :agentId, :ownerKind, :ownerId, :ownerName, :address, :forwardParam, :cols, :rows,
             :isRecorded, :recordsInput, now() + :maxMs * interval '1 millisecond')
     returning ${columns}`,
    { ...session },
  );
  if (row === undefined) throw new Error('an insert returned no row');
  return row;
}

export const findTerminalSession = (db: Queryable, id: string): Promise<TerminalSessionRow | undefined> =>
  queryOne<TerminalSessionRow>(db, `select ${columns} from terminal_sessions where id = :id`, { id });

/** How many of them are not ended; the caller holds a lock under which they are counted one after the other. */
export async function countOpenTerminals(db: Queryable, ownerId: string): Promise<number> {
  const row = await queryOne<{ count: number }>(
    db,
    `select count(*) as count from terminal_sessions where owner_id = :ownerId and state <> 'ended'`,
    { ownerId },
  );
  return row?.count ?? 0;
}

/** Newest first, keyset by (created_at, id). */
export function listTerminalSessions(
  db: Queryable,
  filter: {
    ownerId: string | undefined;
    agentId: string | undefined;
    isOpen: boolean | undefined;
    before: { at: Date; id: string } | undefined;
    limit: number;
  },
): Promise<TerminalSessionRow[]> {
  const { ownerId, agentId, isOpen, before } = filter;
  const conditions = [
    ownerId === undefined ? [] : 'owner_id = :ownerId',
    agentId === undefined ? [] : 'agent_id = :agentId',
    isOpen === undefined ? [] : isOpen ? `state <> 'ended'` : `state = 'ended'`,
    before === undefined ? [] : '(created_at, id) < (:at, cast(:id as uuid))',
  ].flat();
  const where = conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`;
  return query<TerminalSessionRow>(
    db,
    `select ${columns} from terminal_sessions ${where} order by created_at desc, id desc limit :limit`,
    {
      limit: filter.limit,
      ...(ownerId !== undefined && { ownerId }),
      ...(agentId !== undefined && { agentId }),
      ...(before !== undefined && { at: before.at, id: before.id }),
    },
  );
}

/** The agent has made it. Undefined when it has ended meanwhile, or is not the agent's. */
export const markTerminalOpened = (
  db: Queryable,
  session: { id: string; agentId: string; shell: string },
): Promise<TerminalSessionRow | undefined> =>
  queryOne<TerminalSessionRow>(
    db,
    `update terminal_sessions set state = 'open', shell = :shell, opened_at = now()
     where id = :id and agent_id = :agentId and state = 'opening' returning ${columns}`,
    session,
  );

/** Somebody wants it to end; what was asked first stays. Undefined when it has ended. */
export const requestTerminalEnd = (
  db: Queryable,
  session: { id: string; reason: string },
): Promise<TerminalSessionRow | undefined> =>
  queryOne<TerminalSessionRow>(
    db,
    `update terminal_sessions set end_requested_at = coalesce(end_requested_at, now()),
            end_requested_reason = coalesce(end_requested_reason, :reason)
     where id = :id and state <> 'ended' returning ${columns}`,
    session,
  );

export interface TerminalEnd {
  reason: string;
  exitCode: number | null;
  signal: number | null;
  survivors: number | null;
  outputBytes: number | null;
}

/** Undefined when it had ended already, or is not the agent's. */
export const endTerminalSession = (
  db: Queryable,
  { id, agentId }: Pick<TerminalSessionRow, 'id' | 'agentId'>,
  end: TerminalEnd,
): Promise<TerminalSessionRow | undefined> =>
  queryOne<TerminalSessionRow>(
    db,
    `update terminal_sessions set state = 'ended', ended_at = now(), end_reason = :reason, exit_code = :exitCode,
            signal = :signal, survivors = :survivors, output_bytes = :outputBytes
     where id = :id and agent_id = :agentId and state <> 'ended' returning ${columns}`,
    { id, agentId, ...end },
  );

/**
 * Open sessions of an agent: those it named, and those older than its connection, which it should have named. Of a
 * connection that another has replaced only the former.
 */
export const listTerminalsToReconcile = (
  db: Queryable,
  { agentId, epoch }: { agentId: string; epoch: number },
  named: readonly string[],
): Promise<TerminalSessionRow[]> =>
  query<TerminalSessionRow>(
    db,
    `select ${columns} from terminal_sessions s
     where agent_id = :agentId and state <> 'ended'
       and (id = any(cast(:named as uuid[]))
            or created_at < (select connected_at from agent_connections c
                             where c.agent_id = s.agent_id and c.epoch = :epoch))`,
    { agentId, epoch, named: [...named] },
  );

/** Sessions whose time is over by more than the grace and whose agent has not said so. */
export const listOverdueTerminals = (
  db: Queryable,
  graceMs: number,
  limit: number,
): Promise<Pick<TerminalSessionRow, 'id' | 'agentId'>[]> =>
  query<Pick<TerminalSessionRow, 'id' | 'agentId'>>(
    db,
    `select id, agent_id as "agentId" from terminal_sessions
     where state <> 'ended' and ends_before < now() - :graceMs * interval '1 millisecond'
     order by ends_before limit :limit`,
    { graceMs, limit },
  );

/** Forget sessions that ended long ago, with their recordings. */
export async function deleteOldTerminals(db: Queryable, olderThan: Date, limit: number): Promise<number> {
  const rows = await query(
    db,
    `delete from terminal_sessions where id in (
       select id from terminal_sessions where state = 'ended' and ended_at < :olderThan
       order by ended_at limit :limit)
     returning id`,
    { olderThan, limit },
  );
  return rows.length;
}
