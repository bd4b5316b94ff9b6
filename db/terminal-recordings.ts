/** What terminals showed: bytes in chunks with marks of what they are, and how much of a session is in them. */
import type { RecordingMark } from '../contracts/terminals.ts';
import { type Queryable, query, queryOne, type Trx } from './database.ts';

export interface RecordingChunk {
  sessionId: string;
  bytes: Buffer;
  marks: readonly RecordingMark[];
  /** The chunk's output is that of the session from here on, without a gap. */
  fromOffset: number;
  /** Output of the session up to here is in this chunk or in an earlier one. */
  recordedOffset: number;
  isTruncated: boolean;
}

/**
 * Hold a recording until the transaction ends: up to which offset of the output it is stored. Undefined when the session
 * is gone.
 */
export const lockRecording = (trx: Trx, sessionId: string): Promise<{ offset: number } | undefined> =>
  queryOne(
    trx,
    'select recorded_offset as "offset" from terminal_sessions where id = :sessionId for update',
    { sessionId },
  );

/** Is this chunk the last of its recording already? */
export async function isLastChunk(
  trx: Trx,
  { sessionId, bytes, marks }: Pick<RecordingChunk, 'sessionId' | 'bytes' | 'marks'>,
): Promise<boolean> {
  const row = await queryOne<{ isSame: boolean }>(
    trx,
    `select bytes = :bytes and marks = cast(:marks as jsonb) as "isSame" from terminal_recordings
     where session_id = :sessionId order by position desc limit 1`,
    { sessionId, bytes, marks: JSON.stringify(marks) },
  );
  return row?.isSame ?? false;
}

/** Store one chunk and the session's progress together. The recording is locked by the caller. */
export async function insertRecordingChunk(trx: Trx, chunk: RecordingChunk): Promise<void> {
  const { sessionId, bytes, recordedOffset, isTruncated } = chunk;
  await query(
    trx,
    `with stored as (
       insert into terminal_recordings (session_id, position, bytes, marks)
       select :sessionId, coalesce(max(position) + 1, 0), :bytes, cast(:marks as jsonb)
       from terminal_recordings where session_id = :sessionId
       returning length(bytes) as size
     )
     update terminal_sessions set recorded_offset = greatest(recorded_offset, :recordedOffset),
            recording_bytes = recording_bytes + stored.size,
            recording_truncated = recording_truncated or :isTruncated
     from stored where id = :sessionId`,
    { sessionId, bytes, marks: JSON.stringify(chunk.marks), recordedOffset, isTruncated },
  );
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
