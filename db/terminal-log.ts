/** The log of terminals: who opened one, that something was typed, how it ended. */
import type { TerminalLogEntry, TerminalLogEvent } from '../contracts/terminals.ts';
import { execute, type Queryable, query } from './database.ts';

export interface TerminalLogRow {
  id: number;
  entry: TerminalLogEntry;
}

export interface NewTerminalLogRow {
  sessionId: string;
  ownerId: string;
  event: TerminalLogEvent;
  entry: TerminalLogEntry;
}

export async function insertTerminalLog(db: Queryable, row: NewTerminalLogRow): Promise<void> {
  await execute(
    db,
    `insert into terminal_log (session_id, owner_id, event, entry)
     values (:sessionId, :ownerId, :event, cast(:entry as jsonb))`,
    { ...row, entry: JSON.stringify(row.entry) },
  );
}

/** The newest entries, oldest first. @param ownerId only of sessions of this principal */
export async function readTerminalLogTail(
  db: Queryable,
  ownerId: string | undefined,
  limit: number,
): Promise<TerminalLogRow[]> {
  const rows = await query<TerminalLogRow>(
    db,
    `select id, entry from terminal_log ${ownerId === undefined ? '' : 'where owner_id = :ownerId'}
     order by id desc limit :limit`,
    { limit, ...(ownerId !== undefined && { ownerId }) },
  );
  return rows.reverse();
}

/** Entries that are newer than this one, without those that are known, oldest first. */
export const readTerminalLogAfter = (
  db: Queryable,
  ownerId: string | undefined,
  { after, known }: { after: number; known: readonly number[] },
  limit: number,
): Promise<TerminalLogRow[]> =>
  query<TerminalLogRow>(
    db,
    `select id, entry from terminal_log where id > :after and id <> all(cast(:known as bigint[]))
       ${ownerId === undefined ? '' : 'and owner_id = :ownerId'}
     order by id limit :limit`,
    { after, known: [...known], limit, ...(ownerId !== undefined && { ownerId }) },
  );

export async function deleteOldTerminalLog(db: Queryable, olderThan: Date, limit: number): Promise<number> {
  const rows = await query(
    db,
    `delete from terminal_log where id in (
       select id from terminal_log where at < :olderThan order by at limit :limit) returning id`,
    { olderThan, limit },
  );
  return rows.length;
}
