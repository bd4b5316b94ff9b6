/**
 * Terminals on the agent's socket: control as JSON frames, bytes as binary frames. Only for agents whose hello names
 * the capability `terminal`.
 *
 *   server → terminal.open               make the PTY; answered by terminal.opened or terminal.closed
 *   agent  → output (binary)             at most TERMINAL_WINDOW_BYTES beyond the last terminal.ack
 *   server → input (binary)              at most TERMINAL_INPUT_WINDOW_BYTES beyond the last terminal.inputAck
 *   agent  → terminal.alive              right after the welcome: the sessions that live
 *   server → terminal.attach             send from this offset on; answered by terminal.attached or terminal.closed
 *   agent  → terminal.closed             after the last output byte; sent again until terminal.closedAck
 *
 * Invariants (cited in agent/terminal*.ts and api/terminal/):
 *  T1. Output has byte offsets from 0; bytes not acked are kept by the agent and can be sent again.
 *  T2. The agent does not read its PTY while a whole window waits for an ack: whoever does not read stops the program,
 *      and nobody's memory grows.
 *  T3. An ack says that the reader at the very end has the bytes. Without a reader nothing is acked.
 *  T4. Nothing of a session lives when its terminal.closed is sent, or `survivors` says how many.
 */
import { z } from 'zod';

/** Output sent and not acked, bytes. */
export const TERMINAL_WINDOW_BYTES = 2 * 1024 * 1024;
/** Acked output that the agent keeps for readers that come back, bytes. */
export const TERMINAL_REPLAY_BYTES = 256 * 1024;
/** Input sent and not taken by the PTY, bytes. */
export const TERMINAL_INPUT_WINDOW_BYTES = 256 * 1024;
/** Acks of output are sent once so much more is there to ack, bytes. */
export const TERMINAL_ACK_EVERY_BYTES = 256 * 1024;
/** Acks of input are sent once so much more was taken, bytes. */
export const TERMINAL_INPUT_ACK_EVERY_BYTES = 64 * 1024;
/** … or after so many writes to the PTY: each key is one, and is kept by the server until then. */
export const TERMINAL_INPUT_ACK_EVERY_WRITES = 256;
/** Largest payload of a binary frame, bytes. */
export const TERMINAL_CHUNK_BYTES = 64 * 1024;
/** Largest size of a terminal, columns and rows. */
export const MAX_TERMINAL_SIDE = 1_000;

export const terminalSideSchema = z.int().min(1).max(MAX_TERMINAL_SIDE);
const sessionId = z.uuid();
const offset = z.int().min(0);
const size = { cols: terminalSideSchema, rows: terminalSideSchema };
const durationMs = z.int().min(1);

export const terminalServerFrames = [
  z.object({
    type: z.literal('terminal.open'),
    sessionId,
    ...size,
    /** Ends without input for this long. */
    idleMs: durationMs,
    /** Ends without a reader for this long. */
    detachedMs: durationMs,
    /** Ends after this long in any case. */
    maxMs: durationMs,
  }),
  z.object({
    type: z.literal('terminal.attach'),
    sessionId,
    /** Where the reader goes on; null: with all that is kept. */
    offset: offset.nullable(),
    /** Is somebody there who reads and types? */
    attended: z.boolean(),
    /** Named again in the answer: a reader may come back before an earlier one's attach was answered. */
    attachId: z.int().min(0).optional(),
  }),
  /** The reader has gone; the session waits for it. */
  z.object({ type: z.literal('terminal.detach'), sessionId }),
  z.object({ type: z.literal('terminal.resize'), sessionId, ...size }),
  z.object({ type: z.literal('terminal.ack'), sessionId, offset }),
  z.object({ type: z.literal('terminal.close'), sessionId, reason: z.string().max(1024) }),
  z.object({ type: z.literal('terminal.closedAck'), sessionId }),
] as const;

export const terminalAgentFrames = [
  z.object({ type: z.literal('terminal.opened'), sessionId, pid: z.int(), shell: z.string().max(1024) }),
  z.object({
    type: z.literal('terminal.attached'),
    sessionId,
    /** Of the first byte that follows: the one asked for, or the oldest that is kept. */
    offset,
    /** Of the next input byte. */
    inputOffset: offset,
    /** Of the attach that this answers; agents of before do not name it. */
    attachId: z.int().min(0).optional(),
  }),
  /** The PTY has taken input up to here. */
  z.object({ type: z.literal('terminal.inputAck'), sessionId, offset }),
  z.object({
    type: z.literal('terminal.closed'),
    sessionId,
    /** `exited`, or why it was ended or could not begin. */
    reason: z.string().max(1024),
    exitCode: z.int32().nullable(),
    signal: z.int32().nullable(),
    /** Length of all output. */
    outputBytes: offset,
    /** Processes that could not be killed. */
    survivors: z.int32().min(0),
  }),
  z.object({ type: z.literal('terminal.alive'), sessionIds: z.array(sessionId).max(1_024) }),
] as const;

type FrameOf<Frames extends readonly z.ZodType[]> = z.infer<Frames[number]>;
export type TerminalServerFrame = FrameOf<typeof terminalServerFrames>;
export type TerminalAgentFrame = FrameOf<typeof terminalAgentFrames>;

export type TerminalByteKind = 'output' | 'input';
export interface TerminalBytes {
  kind: TerminalByteKind;
  sessionId: string;
  /** Of the first byte. */
  offset: number;
  bytes: Buffer;
}

/** Of a binary frame: kind (1 byte), session id (16), offset (8, big-endian); the bytes follow. */
export const TERMINAL_HEADER_BYTES = 25;
const kinds: readonly TerminalByteKind[] = ['output', 'input'];

/** A binary frame, in one piece. */
export function encodeTerminalBytes({ kind, sessionId: id, offset: at, bytes }: TerminalBytes): Buffer {
  return createTerminalEncoder(kind, id)(at, bytes);
}

/** As `encodeTerminalBytes`, of one session in one direction. */
export type TerminalEncoder = (offset: number, bytes: Buffer) => Buffer;

export function createTerminalEncoder(kind: TerminalByteKind, id: string): TerminalEncoder {
  const writeHeader = createTerminalHeader(kind, id);
  return (at, bytes) => {
    const frame = Buffer.allocUnsafe(TERMINAL_HEADER_BYTES + bytes.length);
    writeHeader(at, frame);
    frame.set(bytes, TERMINAL_HEADER_BYTES);
    return frame;
  };
}

/** Writes only the header, to the beginning of a frame whose bytes are put there otherwise. */
export function createTerminalHeader(
  kind: TerminalByteKind,
  id: string,
): (offset: number, frame: Buffer) => void {
  const header = Buffer.alloc(TERMINAL_HEADER_BYTES);
  header[0] = kinds.indexOf(kind) + 1;
  header.write(id.replaceAll('-', ''), 1, 'hex');
  return (at, frame) => {
    frame.set(header);
    frame.writeUInt32BE(Math.floor(at / 2 ** 32), 17);
    frame.writeUInt32BE(at % 2 ** 32, 21);
  };
}

/** What a binary frame holds; its bytes are those of the frame, not a copy. Undefined for anything else. */
export function decodeTerminalBytes(frame: Buffer): TerminalBytes | undefined {
  const kind = kinds[(frame[0] ?? 0) - 1];
  if (kind === undefined || frame.length < TERMINAL_HEADER_BYTES) return undefined;
  const hex = frame.toString('hex', 1, 17);
  const at = frame.readUInt32BE(17) * 2 ** 32 + frame.readUInt32BE(21);
  if (!Number.isSafeInteger(at)) return undefined;
  return {
    kind,
    sessionId: `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`,
    offset: at,
    bytes: frame.subarray(TERMINAL_HEADER_BYTES),
  };
}
