/**
 * Recordings as asciicast v2 (https://docs.asciinema.org/manual/asciicast/v2/): a header, then a line for each event:
 * `[seconds, "o" | "i" | "r" | "m", text]`.
 */
import { StringDecoder } from 'node:string_decoder';
import { setTimeout as delay } from 'node:timers/promises';
import { problem } from '../../contracts/errors.ts';
import type { RecordingMark } from '../../contracts/terminals.ts';
import {
  insertRecordingChunk,
  nextRecordingPosition,
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

/** Where a recording goes on after this process took a session over. */
export const recordingPosition = (deps: Pick<DomainDeps, 'db'>, sessionId: string): Promise<number> =>
  nextRecordingPosition(deps.db, sessionId);

/** @throws when the database stays away */
export async function storeRecording(deps: Pick<DomainDeps, 'db'>, chunk: RecordingChunk): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await insertRecordingChunk(deps.db, chunk);
    } catch (error) {
      if (attempt >= MAX_ATTEMPTS) throw error;
      await delay(RETRY_PAUSE_MS);
    }
  }
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
