/** What every socket of a person or a program does whatever it carries: it is alive, it reads, it ends with the server. */
import type { WebSocket } from 'ws';
import { PING_INTERVAL_MS } from '../contracts/agent-protocol.ts';
import { MAX_BUFFERED_BYTES } from './event-stream.ts';

/** Pings without an answer after which a socket counts as dead. */
const MAX_MISSED_PONGS = 2;
/** A client that was told to go has this long to answer our close frame, milliseconds. */
const CLOSE_TIMEOUT_MS = 2_000;
/** RFC 6455: the endpoint is going away. */
const CLOSE_GOING_AWAY = 1001;

export interface LiveSocket {
  /** Sends a frame as JSON. A client with more than MAX_BUFFERED_BYTES waiting is cut off. Nothing once it is closed. */
  send(frame: object): void;
  /** Resolves when what was sent has left. */
  drained(): Promise<void>;
  /** Closes with this code, once. */
  leave(code: number, reason: string): void;
  /** Aborted once the socket is closed or closing, whoever began. */
  readonly closed: AbortSignal;
}

/**
 * Takes over an accepted socket; it ends with the shutdown at the latest.
 * `onFrame` is given every frame of the client while the socket is open.
 */
export function createLiveSocket(
  ws: WebSocket,
  { shutdown, onFrame }: { shutdown: AbortSignal; onFrame: (bytes: Buffer, isBinary: boolean) => void },
): LiveSocket {
  const closed = new AbortController();
  let missedPongs = 0;
  let sent: Promise<void> = Promise.resolve();

  const send = (frame: object): void => {
    if (closed.signal.aborted) return;
    if (ws.bufferedAmount > MAX_BUFFERED_BYTES) {
      // It does not read, so it would not read a close frame either.
      end();
      return ws.terminate();
    }
    const text = JSON.stringify(frame);
    sent = new Promise((resolve) => ws.send(text, () => resolve()));
  };

  const end = (): void => {
    clearInterval(ping);
    shutdown.removeEventListener('abort', goAway);
    closed.abort();
  };

  const leave = (code: number, reason: string): void => {
    if (closed.signal.aborted) return;
    end();
    ws.close(code, reason);
    const timer = setTimeout(() => ws.terminate(), CLOSE_TIMEOUT_MS);
    ws.once('close', () => clearTimeout(timer));
  };
  const goAway = (): void => leave(CLOSE_GOING_AWAY, 'the server is shutting down');

  const ping = setInterval(() => {
    if (missedPongs >= MAX_MISSED_PONGS) return ws.terminate();
    // One that is not read cannot be heard: its time begins when it is.
    missedPongs = ws.isPaused ? 0 : missedPongs + 1;
    ws.ping();
  }, PING_INTERVAL_MS);

  ws.on('pong', () => {
    missedPongs = 0;
  });
  ws.on('message', (bytes, isBinary) => {
    // `ws` gives buffers as long as nobody sets another `binaryType`.
    if (!closed.signal.aborted && Buffer.isBuffer(bytes)) onFrame(bytes, isBinary);
  });
  ws.on('error', () => ws.terminate());
  ws.on('close', end);
  shutdown.addEventListener('abort', goAway);
  if (shutdown.aborted) goAway();

  return { send, drained: () => sent, leave, closed: closed.signal };
}
