/** What terminals showed: bytes in chunks with marks of what they are, and how much of a session is in them. */
import type { RecordingMark } from '../contracts/terminals.ts';
import { type Queryable, query, queryOne } from './database.ts';

export interface RecordingChunk {
  sessionId: string;
  position: number;
  bytes: Buffer;
  marks: readonly RecordingMark[];
  /** Output of the session up to here is in this chunk or in an earlier one. */
  recordedOffset: number;
  isTruncated: boolean;
}

/** Store one chunk and the session's progress together. A position that exists stays as it is. */
export async function insertRecordingChunk(db: Queryable, chunk: RecordingChunk): Promise<void> {
  await query(
    db,
    `with stored as (
       insert into terminal_recordings (session_id, position, bytes, marks)
       values (:sessionId, :position, :bytes, cast(:marks as jsonb))
       on conflict (session_id, position) do nothing returning length(bytes) as size
     )
     update terminal_sessions set recorded_offset = greatest(recorded_offset, :recordedOffset),
            recording_bytes = recording_bytes + stored.size,
            recording_truncated = recording_truncated or :isTruncated
     from stored where id = :sessionId`,
    { ...chunk, marks: JSON.stringify(chunk.marks) },
  );
}

/** The position that comes next. */
export async function nextRecordingPosition(db: Queryable, sessionId: string): Promise<number> {
  const row = await queryOne<{ next: number }>(
    db,
    `select coalesce(max(position) + 1, 0) as next from terminal_recordings where session_id = :sessionId`,
    { sessionId },
  );
  return row?.next ?? 0;
}

/** Chunks from this position on, oldest first. */
export const readRecordingChunks = (
  db: Queryable,
  sessionId: string,
  from: number,
  limit: number,
): Promise<{ position: number; bytes: Buffer; marks: RecordingMark[] }[]> =>
  query(
    db,
    `select position, bytes, marks from terminal_recordings where session_id = :sessionId and position >= :from
     order by position limit :limit`,
    { sessionId, from, limit },
  );
