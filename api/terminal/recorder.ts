/**
 * What passes of a session, stored in chunks as it came: bytes, and marks that say what they are and when. It becomes
 * an asciicast when it is read, so that recording costs a terminal next to nothing.
 *
 *  A. Each byte of output is recorded once, however often the agent sends it again.
 *  B. The first RECORDING_CAP_BYTES are kept; a mark says that the rest is missing.
 *  C. No more than MAX_PENDING_BYTES wait for the database: until then nothing is acked to the agent.
 */
import { RECORDING_CAP_BYTES, type RecordingMark } from '../../contracts/terminals.ts';
import type { RecordingChunk } from '../../domain/terminal/recording.ts';

/** What is recorded is stored after this long at the latest, milliseconds. */
const FLUSH_AFTER_MS = 1_000;
/** Bytes gathered for one chunk; the last piece of it may go beyond. */
const CHUNK_BYTES = 256 * 1024;
/** Marks gathered for one chunk. */
const CHUNK_MARKS = 1_000;
/** Bytes not stored yet. */
const MAX_PENDING_BYTES = 2 * 1024 * 1024;

export interface Recorder {
  /** Output that passes. Bytes before the last recorded one are read over (A). */
  output(offset: number, bytes: Buffer): void;
  input(bytes: Buffer): void;
  resize(cols: number, rows: number): void;
  /** Everything before this offset has passed here. */
  offset(): number;
  /** False while too much waits for the database (C). */
  hasRoom(): boolean;
  /** Store what waits. Never rejects. */
  flush(): Promise<void>;
}

export interface RecorderDeps {
  sessionId: string;
  /** Of the session; times are counted from here. */
  startedAt: Date;
  /** Off: only offsets are kept. */
  isOn: boolean;
  recordsInput: boolean;
  /** Where an earlier process ended. */
  resume: { offset: number; bytes: number; isTruncated: boolean };
  store(chunk: RecordingChunk): Promise<void>;
  onRoom(): void;
  onError(error: unknown): void;
}

export function createRecorder(deps: RecorderDeps): Recorder {
  const { resume } = deps;
  let offset = resume.offset;
  /** Of the first byte of output in `parts`; null while there is none. */
  let from: number | null = null;
  let total = resume.bytes;
  let isOn = deps.isOn && !resume.isTruncated;
  let isTruncated = resume.isTruncated;
  let parts: Buffer[] = [];
  let marks: RecordingMark[] = [];
  let gathered = 0;
  let pending = 0;
  let timer: NodeJS.Timeout | undefined;
  let storing: Promise<void> = Promise.resolve();

  const now = (): number => Math.max(0, Date.now() - deps.startedAt.getTime());
  const mark = (entry: RecordingMark): void => {
    marks.push(entry);
    if (gathered >= CHUNK_BYTES || marks.length >= CHUNK_MARKS) store();
    else timer ??= setTimeout(store, FLUSH_AFTER_MS);
  };
  const addBytes = (kind: 'o' | 'i', bytes: Buffer): void => {
    const kept = bytes.subarray(0, Math.max(0, RECORDING_CAP_BYTES - total));
    parts.push(kept);
    total += kept.length;
    gathered += kept.length;
    pending += kept.length;
    if (kept.length > 0) mark([now(), kind, kept.length]);
    if (kept.length === bytes.length) return;
    isOn = false;
    isTruncated = true;
    mark([now(), 'm', 'the recording ends here: it has reached its largest size']);
  };

  const store = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (marks.length === 0) return;
    const size = gathered;
    const chunk: RecordingChunk = {
      sessionId: deps.sessionId,
      bytes: Buffer.concat(parts),
      marks,
      fromOffset: from ?? offset,
      recordedOffset: offset,
      isTruncated,
    };
    parts = [];
    marks = [];
    gathered = 0;
    from = null;
    storing = storing
      .then(() => deps.store(chunk))
      .catch(deps.onError)
      .then(() => {
        const wasFull = pending > MAX_PENDING_BYTES;
        pending -= size;
        if (wasFull && pending <= MAX_PENDING_BYTES) deps.onRoom();
      });
  };

  return {
    output(at, bytes) {
      const end = at + bytes.length;
      if (end <= offset) return;
      const missing = at - offset;
      const fresh = missing < 0 ? bytes.subarray(-missing) : bytes;
      // The output of a chunk has no gap.
      if (missing > 0) store();
      offset = end;
      if (!isOn) return;
      from ??= end - fresh.length;
      if (missing > 0) mark([now(), 'm', `${missing} bytes of output are missing here`]);
      addBytes('o', fresh);
    },
    input(bytes) {
      if (isOn && deps.recordsInput) addBytes('i', bytes);
    },
    resize(cols, rows) {
      if (isOn) mark([now(), 'r', `${cols}x${rows}`]);
    },
    offset: () => offset,
    hasRoom: () => pending <= MAX_PENDING_BYTES,
    async flush() {
      store();
      await storing;
    },
  };
}
