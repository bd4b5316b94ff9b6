/** Output bytes of commands, by stream and byte offset. Bytes are bytea: text columns hold neither NUL nor bad UTF-8. */
import type { StreamName } from '../contracts/agent-protocol.ts';
import { execute, type Queryable, query } from './database.ts';

export interface OutputChunk {
  commandId: string;
  stream: StreamName;
  offset: number;
  bytes: Buffer;
}

/** Store chunks. The caller holds the command rows and has checked the offsets. */
export async function insertOutput(db: Queryable, chunks: readonly OutputChunk[]): Promise<void> {
  if (chunks.length === 0) return;
  await execute(
    db,
    `insert into command_output (command_id, stream, byte_offset, bytes)
     select * from unnest(cast(:ids as uuid[]), cast(:streams as text[]), cast(:offsets as bigint[]), cast(:bytes as bytea[]))`,
    {
      ids: chunks.map((c) => c.commandId),
      streams: chunks.map((c) => c.stream),
      offsets: chunks.map((c) => c.offset),
      bytes: chunks.map((c) => c.bytes),
    },
  );
}

/** Stored bytes from `offset` on, in order, at most `maxBytes` of them. */
export async function readOutput(
  db: Queryable,
  commandId: string,
  stream: StreamName,
  offset: number,
  maxBytes: number,
): Promise<Buffer> {
  const rows = await query<{ byte_offset: number; bytes: Buffer }>(
    db,
    `select byte_offset, bytes from command_output
     where command_id = :id and stream = :stream
       and byte_offset < :end
       and byte_offset >= coalesce(
         (select max(byte_offset) from command_output
          where command_id = :id and stream = :stream and byte_offset <= :offset), 0)
     order by byte_offset`,
    { id: commandId, stream, offset, end: offset + maxBytes },
  );
  const parts = rows.map((row) => {
    const from = Math.max(0, offset - row.byte_offset);
    const to = Math.min(row.bytes.length, offset + maxBytes - row.byte_offset);
    return row.bytes.subarray(from, Math.max(from, to));
  });
  return Buffer.concat(parts);
}

/** The first bytes of both streams of several commands, in order. */
export function readOutputHeads(
  db: Queryable,
  commandIds: readonly string[],
  maxBytes: number,
): Promise<{ commandId: string; stream: StreamName; bytes: Buffer }[]> {
  return query(
    db,
    `select command_id as "commandId", stream,
            substring(bytes from 1 for cast(least(length(bytes), :max - byte_offset) as integer)) as bytes
     from command_output where command_id = any(cast(:ids as uuid[])) and byte_offset < :max
     order by command_id, stream, byte_offset`,
    { ids: [...commandIds], max: maxBytes },
  );
}
