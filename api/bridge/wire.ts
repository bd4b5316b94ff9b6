/**
 * A socket with its bounds, whatever is spoken on it. The letters are those of agent-socket.ts.
 *
 *  B. A peer that does not read is dropped at a named limit; one that floods is not read until its frames are stored.
 */
import type { WebSocket } from 'ws';
import { closeCodes } from '../../contracts/agent-protocol.ts';

/** Bytes the peer has not read yet; more means it is dropped. A full batch of run frames stays below. */
const MAX_BUFFERED_BYTES = 8 * 1024 * 1024;
/** Bytes the peer has not read yet above which a series of frames waits (see `drained`). */
const DRAINED_BYTES = 1024 * 1024;
/** Longest close reason, bytes (RFC 6455, 5.5). */
const MAX_REASON_BYTES = 123;
/** Bytes of frames received and not yet stored; more means we stop reading this peer. */
const MAX_UNSTORED_BYTES = 2 * 1024 * 1024;
/** Frames received and not yet stored; more of the smallest ones would keep the one lane of all agents busy. */
const MAX_UNSTORED_FRAMES = 1_000;
/** A peer that does not answer our close frame is cut off after this long. */
const CLOSE_TIMEOUT_MS = 2_000;

/** Closes after which the peer is not listened to any more: it may not speak, or has not spoken properly. */
const isRefusal = (code: number): boolean =>
  code === closeCodes.policy || code === closeCodes.revoked || code === closeCodes.badHello;

export interface Wire {
  /** This side has begun to close, or the socket is gone: nothing more can be sent. */
  isClosing(): boolean;
  /** It was refused: what the peer still says does not count. */
  isDeaf(): boolean;
  /** True when it is on its way; false when nothing can be sent any more. */
  send(data: string | Buffer): boolean;
  /** Resolves when little waits for the peer to read it, or nothing more can be sent. */
  drained(): Promise<void>;
  /** A frame of this many bytes is to be stored; give it back by `stored`. */
  received(bytes: number): void;
  stored(bytes: number): void;
  close(code: number, reason: string): void;
  /** Ping; a peer that did not answer the last one is cut off. */
  checkAlive(): void;
}

export interface WireEvents {
  onProblem(fields: { event: string; [field: string]: unknown }): void;
  onClosed(): void;
  /** The peer answered a ping. */
  onPong?(): void;
}

export function createWire(ws: WebSocket, events: WireEvents): Wire {
  const unstored = { bytes: 0, frames: 0 };
  let answeredPing = true;
  let isClosing = false;
  let isDeaf = false;
  let drainWaiters: (() => void)[] = [];

  const hasRoom = (): boolean => isClosing || ws.readyState !== ws.OPEN || ws.bufferedAmount <= DRAINED_BYTES;
  const releaseWaiters = (): void => {
    const waiters = drainWaiters;
    drainWaiters = [];
    for (const resolve of waiters) resolve();
  };

  const close = (code: number, reason: string): void => {
    isDeaf ||= isRefusal(code);
    if (isClosing || ws.readyState === ws.CLOSED) return;
    isClosing = true;
    ws.close(code, fitReason(reason));
    releaseWaiters();
    const timer = setTimeout(() => ws.terminate(), CLOSE_TIMEOUT_MS);
    ws.once('close', () => clearTimeout(timer));
    // A paused socket would never see the peer's close frame.
    ws.resume();
  };

  ws.on('pong', () => {
    answeredPing = true;
    events.onPong?.();
  });
  ws.on('error', (error) => events.onProblem({ event: 'agent_socket_error', err: error }));
  ws.once('close', () => {
    isClosing = true;
    releaseWaiters();
    events.onClosed();
  });

  return {
    isClosing: () => isClosing,
    isDeaf: () => isDeaf,
    send(data) {
      if (ws.readyState !== ws.OPEN) return false;
      if (ws.bufferedAmount > MAX_BUFFERED_BYTES) {
        events.onProblem({ event: 'agent_slow', bufferedBytes: ws.bufferedAmount });
        close(closeCodes.slowConsumer, 'the agent does not read');
        return false;
      }
      ws.send(data, () => {
        if (drainWaiters.length > 0 && hasRoom()) releaseWaiters();
      });
      return true;
    },
    drained: () =>
      hasRoom() ? Promise.resolve() : new Promise<void>((resolve) => void drainWaiters.push(resolve)),
    received(bytes) {
      unstored.bytes += bytes;
      unstored.frames += 1;
      if (unstored.bytes > MAX_UNSTORED_BYTES || unstored.frames > MAX_UNSTORED_FRAMES) ws.pause();
    },
    stored(bytes) {
      unstored.bytes -= bytes;
      unstored.frames -= 1;
      const hasRoomAgain =
        unstored.bytes <= MAX_UNSTORED_BYTES / 2 && unstored.frames <= MAX_UNSTORED_FRAMES / 2;
      if (hasRoomAgain && ws.isPaused) ws.resume();
    },
    close,
    checkAlive() {
      if (!answeredPing && !ws.isPaused) return ws.terminate();
      // One that is not read cannot be heard: its time begins when it is.
      answeredPing = ws.isPaused;
      if (ws.readyState === ws.OPEN) ws.ping();
    },
  };
}

/** Cut to what a close frame can carry, at a character. */
function fitReason(reason: string): string {
  let fitting = reason.slice(0, MAX_REASON_BYTES);
  while (Buffer.byteLength(fitting) > MAX_REASON_BYTES) fitting = fitting.slice(0, -1);
  return fitting.toWellFormed();
}
