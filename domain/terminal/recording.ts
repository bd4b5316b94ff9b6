/**
 * Recordings as asciicast v2 (https://docs.asciinema.org/manual/asciicast/v2/): a header, then a line for each event:
 * `[seconds, "o" | "i" | "r" | "m", text]`.
 */
import { StringDecoder } from 'node:string_decoder';
import { setTimeout as delay } from 'node:timers/promises';
import { problem } from '../../contracts/errors.ts';
import type { RecordingMark } from '../../contracts/terminals.ts';
import { inTransaction, type Trx } from '../../db/database.ts';
import {
  insertRecordingChunk,
  isLastChunk,
  lockRecording,
  type RecordingChunk,
  readRecordingChunks,
} from '../../db/terminal-recordings.ts';
import type { TerminalSessionRow } from '../../db/terminal-sessions.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { getTerminal } from './sessions.ts';

export type { RecordingChunk } from '../../db/terminal-recordings.ts';

/** Chunks read at a time. */
const PAGE = 16;
/** Attempts to store a chunk while the database is away, and the pause between them, milliseconds. */
const MAX_ATTEMPTS = 5;
const RETRY_PAUSE_MS = 500;

/**
 * Store what comes next of a recording. While an agent goes from one process of the API to another both may have the same
 * output: what is stored already is left out. @throws when the database stays away
 */
export async function storeRecording(deps: Pick<DomainDeps, 'db'>, chunk: RecordingChunk): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await inTransaction(deps.db, (trx) => storeFresh(trx, chunk));
    } catch (error) {
      if (attempt >= MAX_ATTEMPTS) throw error;
      await delay(RETRY_PAUSE_MS);
    }
  }
}

async function storeFresh(trx: Trx, chunk: RecordingChunk): Promise<void> {
  const stored = await lockRecording(trx, chunk.sessionId);
  if (stored === undefined) return;
  // With no output that is new it may be the attempt before, whose answer was lost.
  if (stored.offset >= chunk.recordedOffset && (await isLastChunk(trx, chunk))) return;
  const fresh = withoutOutput(chunk, stored.offset - chunk.fromOffset);
  if (fresh.marks.length > 0) await insertRecordingChunk(trx, fresh);
}

/** The chunk without the first bytes of its output. */
function withoutOutput(chunk: RecordingChunk, skipBytes: number): RecordingChunk {
  const marks: RecordingMark[] = [];
  const parts: Buffer[] = [];
  let left = skipBytes;
  let at = 0;
  for (const mark of chunk.marks) {
    const [ms, kind, what] = mark;
    if (kind === 'o') {
      const skipped = Math.min(what, Math.max(0, left));
      left -= skipped;
      if (skipped < what) marks.push([ms, 'o', what - skipped]);
      parts.push(chunk.bytes.subarray(at + skipped, at + what));
      at += what;
    } else if (kind === 'i') {
      marks.push(mark);
      parts.push(chunk.bytes.subarray(at, at + what));
      at += what;
      // What it says is missing before output that is stored, is not.
    } else if (kind === 'r' || left <= 0) marks.push(mark);
  }
  return { ...chunk, marks, bytes: Buffer.concat(parts) };
}

/**
 * The whole recording as stored now, and the name of its file.
 * @throws forbidden, terminal_not_found, not_found (the session was not recorded)
 */
export async function readRecording(
  deps: DomainDeps,
  actor: Actor,
  id: string,
): Promise<{ name: string; bytes: AsyncIterable<Buffer> }> {
  const session = await getTerminal(deps, actor, id);
  if (!session.isRecorded) throw problem('not_found');
  return { name: `${id}.cast`, bytes: recordingBytes(deps, session) };
}

async function* recordingBytes(
  deps: Pick<DomainDeps, 'db'>,
  session: TerminalSessionRow,
): AsyncGenerator<Buffer> {
  yield Buffer.from(`${JSON.stringify(headerOf(session))}\n`);
  const lines = createLines();
  for (let from = 0; ; ) {
    const chunks = await readRecordingChunks(deps.db, session.id, from, PAGE);
    for (const chunk of chunks) yield lines(chunk);
    const last = chunks.at(-1);
    if (last === undefined || chunks.length < PAGE) return;
    from = last.position + 1;
  }
}

/** Characters may be split between two events, and between two chunks. */
function createLines(): (chunk: { bytes: Buffer; marks: readonly RecordingMark[] }) => Buffer {
  const decoders = { o: new StringDecoder('utf8'), i: new StringDecoder('utf8') };
  return ({ bytes, marks }) => {
    const lines: string[] = [];
    let at = 0;
    for (const [ms, kind, what] of marks) {
      const text = kind === 'o' || kind === 'i' ? decoders[kind].write(bytes.subarray(at, at + what)) : what;
      if (kind === 'o' || kind === 'i') at += what;
      if (text !== '') lines.push(`${JSON.stringify([ms / 1000, kind, text])}\n`);
    }
    return Buffer.from(lines.join(''));
  };
}

const headerOf = (session: TerminalSessionRow) => ({
  version: 2,
  width: session.cols,
  height: session.rows,
  timestamp: Math.floor(session.createdAt.getTime() / 1000),
  title: `${session.ownerName} on ${session.agentId}`,
  env: { TERM: 'xterm-256color', ...(session.shell !== null && { SHELL: session.shell }) },
});
