/**
 * One terminal, from its PTY to the server. The letters are those of contracts/terminal-protocol.ts.
 *
 *   living ─► ending (nothing of it may survive) ─► ended (what is left is sent, then terminal.closed)
 */
import {
  createTerminalHeader,
  TERMINAL_HEADER_BYTES,
  TERMINAL_INPUT_ACK_EVERY_BYTES,
  TERMINAL_INPUT_ACK_EVERY_WRITES,
  TERMINAL_REPLAY_BYTES,
  TERMINAL_WINDOW_BYTES,
  type TerminalAgentFrame,
  type TerminalServerFrame,
} from '../contracts/agent-protocol.ts';
import type { Link } from './link.ts';
import type { Pty, PtyLibrary, PtyProgram } from './pty.ts';
import { createReplayBuffer } from './replay-buffer.ts';
import { FRAME_PAYLOAD_BYTES, type TerminalFrames } from './terminal-frames.ts';
import type { TerminalLeader } from './terminal-leader.ts';

/** After everything was killed, output is read at most this much longer, milliseconds. */
const LAST_OUTPUT_MS = 1_000;

/** A read of so much is likely not the last; a PTY gives 4,095 bytes at most. */
const LONG_READ_BYTES = 2_048;
/** Output of long reads is sent once it fills a frame, or has waited this long for more, milliseconds. */
const GATHER_MS = 2;
/** Frames of at most so many bytes of output get memory of their own. */
const SMALL_OUTPUT_BYTES = 2_048;
/** The end of a session is told again after this long without an ack, milliseconds. */
const CLOSED_AGAIN_MS = 10_000;

export type OpenFrame = Extract<TerminalServerFrame, { type: 'terminal.open' }>;
type AttachFrame = Extract<TerminalServerFrame, { type: 'terminal.attach' }>;
type ClosedFrame = Extract<TerminalAgentFrame, { type: 'terminal.closed' }>;

export interface TerminalSessionDeps {
  ptys: PtyLibrary;
  link: Link;
  frames: TerminalFrames;
  open: OpenFrame;
  program: Pick<PtyProgram, 'file' | 'args' | 'environment' | 'directory'>;
  leader: Pick<TerminalLeader, 'createFilter'>;
  /** End everything that belongs to the session; resolves to the number of survivors. */
  kill(pid: number): Promise<number>;
}

export interface TerminalSession {
  readonly pid: number;
  isEnded(): boolean;
  attach(frame: Pick<AttachFrame, 'offset' | 'attended' | 'attachId'>): void;
  detach(): void;
  ack(offset: number): void;
  input(offset: number, bytes: Buffer): void;
  resize(cols: number, rows: number): void;
  /** Resolves when nothing of it lives. */
  close(reason: string): Promise<void>;
  /** Send what window and socket allow. */
  pump(): void;
  /** The socket is gone: nobody reads. */
  linkLost(): void;
  /** The server knows that it has ended, or the agent goes: no timer is left. */
  dispose(): void;
}

/** @throws when the process cannot be made */
export function createTerminalSession(deps: TerminalSessionDeps): TerminalSession {
  const { link, open, frames } = deps;
  const { sessionId } = open;
  const output = createReplayBuffer();
  const writeHeader = createTerminalHeader('output', sessionId);
  let acked = 0;
  let sent = 0;
  /** Bytes of input that came, and that the PTY took. */
  let received = 0;
  let taken = 0;
  let takenTold = 0;
  let writesTaken = 0;
  let isPaused = false;
  /** Nothing lives that could write more. */
  let isLast = false;
  let gatherTimer: NodeJS.Timeout | undefined;
  let isDisposed = false;
  let ending: Promise<void> | null = null;
  let closed: ClosedFrame | null = null;
  let isClosedSent = false;
  let exit: { exitCode: number; signal: number } | null = null;
  let detachTimer: NodeJS.Timeout | undefined;
  let closedTimer: NodeJS.Timeout | undefined;
  let tellOutputEnd: () => void = () => {};
  const outputEnded = new Promise<void>((resolve) => {
    tellOutputEnd = resolve;
  });

  const pump = (): void => {
    clearTimeout(gatherTimer);
    gatherTimer = undefined;
    if (isDisposed) return;
    while (sent < output.end() && sent < acked + TERMINAL_WINDOW_BYTES && link.hasRoom()) {
      const room = Math.min(FRAME_PAYLOAD_BYTES, output.end() - sent, acked + TERMINAL_WINDOW_BYTES - sent);
      const count = sendOutput(room);
      if (count === 0) return;
      sent += count;
    }
    if (closed !== null && !isClosedSent && sent >= output.end()) tellClosed(closed);
  };
  /** Output from `sent` on, at most so many bytes; gives how many are on their way. */
  const sendOutput = (maxBytes: number): number => {
    const isSmall = maxBytes <= SMALL_OUTPUT_BYTES;
    const memory = isSmall ? Buffer.allocUnsafe(TERMINAL_HEADER_BYTES + maxBytes) : frames.take();
    const count = output.copy(sent, memory.subarray(TERMINAL_HEADER_BYTES, TERMINAL_HEADER_BYTES + maxBytes));
    writeHeader(sent, memory);
    const frame = memory.subarray(0, TERMINAL_HEADER_BYTES + count);
    if (isSmall) return link.sendBytes(frame) ? count : 0;
    const isOnItsWay = link.sendBytes(frame, () => frames.give(memory));
    if (isOnItsWay) return count;
    frames.give(memory);
    return 0;
  };
  /** Again and again: the server may have been unable to write it down. */
  const tellClosed = (frame: ClosedFrame): void => {
    if (isDisposed) return;
    isClosedSent = link.send(frame);
    clearTimeout(closedTimer);
    closedTimer = setTimeout(() => tellClosed(frame), CLOSED_AGAIN_MS);
  };
  /**
   * A short read is all there is, and somebody waits for it. A long one filled the kernel's buffer and more is behind it:
   * that is gathered, for a frame costs the agent, the server and the client as much as thousands of bytes.
   */
  const pumpSoon = (readBytes: number): void => {
    const isGathering = readBytes >= LONG_READ_BYTES && output.end() - sent < FRAME_PAYLOAD_BYTES;
    if (isGathering) gatherTimer ??= setTimeout(pump, GATHER_MS);
    else pump();
  };

  const filter = deps.leader.createFilter();
  const onData = (read: Buffer): void => {
    const { bytes, exitCode } = filter.push(read);
    if (exitCode !== null) {
      exit ??= { exitCode, signal: 0 };
      void close('exited');
    }
    if (bytes.length > 0) keep(bytes);
  };
  const keep = (bytes: Buffer): void => {
    output.append(bytes);
    // T2. What comes once everything is dead is bounded by the kernel's buffer.
    if (!isPaused && !isLast && output.end() - acked >= TERMINAL_WINDOW_BYTES) {
      isPaused = true;
      pty.pause();
    }
    pumpSoon(bytes.length);
  };
  const resumeWhenRoom = (): void => {
    if (!isPaused || output.end() - acked >= TERMINAL_WINDOW_BYTES) return;
    isPaused = false;
    pty.resume();
  };
  const tellTaken = (): void => {
    takenTold = taken;
    writesTaken = 0;
    link.send({ type: 'terminal.inputAck', sessionId, offset: taken });
  };

  const pty: Pty = deps.ptys.start({
    ...deps.program,
    cols: open.cols,
    rows: open.rows,
    onData,
    onEnd: tellOutputEnd,
    // Of the leader: when somebody has killed it, or when this session kills it.
    onExit: (exitCode, signal) => {
      exit ??= ending === null ? { exitCode, signal } : null;
      void close('exited');
    },
    onTaken: (count) => {
      taken += count;
      writesTaken += 1;
      // Not each key: the window is wide.
      const isMuch = taken - takenTold >= TERMINAL_INPUT_ACK_EVERY_BYTES;
      if (isMuch || writesTaken >= TERMINAL_INPUT_ACK_EVERY_WRITES) tellTaken();
    },
  });

  const idleTimer = setTimeout(() => void close('idle'), open.idleMs);
  const maxTimer = setTimeout(() => void close('max_duration'), open.maxMs);

  const detach = (): void => {
    clearTimeout(detachTimer);
    if (!isDisposed) detachTimer = setTimeout(giveUp, open.detachedMs);
  };
  /** Nobody came back. A session that has ended does not wait for a reader of its last bytes any more. */
  const giveUp = (): void => {
    if (closed === null) return void close('detached');
    tellClosed(closed);
  };

  const end = async (reason: string): Promise<void> => {
    clearTimeout(idleTimer);
    clearTimeout(maxTimer);
    const survivors = await deps.kill(pty.pid).catch(() => 1);
    isLast = true;
    pty.resume();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => setImmediate(resolve), LAST_OUTPUT_MS);
    });
    await Promise.race([outputEnded, late]);
    clearTimeout(timer);
    pty.destroy();
    const rest = filter.rest();
    if (rest.length > 0) output.append(rest);
    closed = {
      type: 'terminal.closed',
      sessionId,
      reason,
      exitCode: exit?.exitCode ?? null,
      signal: exit?.signal || null,
      outputBytes: output.end(),
      survivors,
    };
    pump();
  };
  const close = (reason: string): Promise<void> => {
    ending ??= end(reason);
    return ending;
  };

  return {
    pid: pty.pid,
    isEnded: () => closed !== null,
    attach: ({ offset, attended, attachId }) => {
      const from = Math.min(Math.max(offset ?? output.start(), output.start()), output.end());
      acked = from;
      sent = from;
      isClosedSent = false;
      clearTimeout(closedTimer);
      clearTimeout(detachTimer);
      if (!attended) detach();
      link.send({ type: 'terminal.attached', sessionId, offset: from, inputOffset: received, attachId });
      tellTaken();
      resumeWhenRoom();
      pump();
    },
    detach,
    ack: (offset) => {
      if (offset <= acked || offset > sent) return;
      acked = offset;
      output.forget(acked - TERMINAL_REPLAY_BYTES);
      resumeWhenRoom();
      pump();
    },
    input: (offset, bytes) => {
      // A gap cannot be: the server sends again from `inputOffset` after every attach.
      if (ending !== null || offset > received) return;
      const fresh = bytes.subarray(received - offset);
      if (fresh.length === 0) return;
      received += fresh.length;
      idleTimer.refresh();
      pty.write(fresh);
    },
    resize: (cols, rows) => {
      if (ending === null) pty.resize(cols, rows);
    },
    close,
    pump,
    linkLost: detach,
    dispose: () => {
      isDisposed = true;
      clearTimeout(idleTimer);
      clearTimeout(maxTimer);
      clearTimeout(detachTimer);
      clearTimeout(closedTimer);
      clearTimeout(gatherTimer);
      pty.destroy();
    },
  };
}
