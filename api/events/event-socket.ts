/** One WebSocket client of events: frames out, nothing in. */
import type { WebSocket } from 'ws';
import { PING_INTERVAL_MS } from '../../contracts/agent-protocol.ts';
import { type EventFrame, eventCloseCodes } from '../../contracts/event-routes.ts';
import { MAX_BUFFERED_BYTES } from '../event-stream.ts';
import type { EventSink } from './feed.ts';

/** Pings without an answer after which a socket counts as dead. */
const MAX_MISSED_PONGS = 2;
/** A client that was told to go has this long to answer our close frame, milliseconds. */
const CLOSE_TIMEOUT_MS = 2_000;

export interface EventSocket extends EventSink {
  /** Its session has ended. */
  expel(): void;
  /** Something broke on our side. */
  fail(): void;
}

/** Takes over an accepted socket; it ends with the shutdown at the latest. */
export function createEventSocket(ws: WebSocket, shutdown: AbortSignal): EventSocket {
  const closed = new AbortController();
  let missedPongs = 0;
  let sent: Promise<void> = Promise.resolve();

  const send = (frame: EventFrame): void => {
    if (closed.signal.aborted) return;
    if (ws.bufferedAmount > MAX_BUFFERED_BYTES) {
      // It does not read, so it would not read a close frame either.
      end();
      return ws.terminate();
    }
    sent = new Promise((resolve) => ws.send(JSON.stringify(frame), () => resolve()));
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
  const goAway = (): void => leave(eventCloseCodes.goingAway, 'the server is shutting down');

  const ping = setInterval(() => {
    if (missedPongs >= MAX_MISSED_PONGS) return ws.terminate();
    missedPongs++;
    ws.ping();
  }, PING_INTERVAL_MS);

  ws.on('pong', () => {
    missedPongs = 0;
  });
  ws.on('message', (_frame, isBinary) => {
    if (isBinary) leave(eventCloseCodes.unsupportedData, 'no binary frames');
  });
  ws.on('error', () => ws.terminate());
  ws.on('close', end);
  shutdown.addEventListener('abort', goAway);
  if (shutdown.aborted) goAway();

  return {
    ready: (cursor) => send({ type: 'ready', cursor }),
    send: (event) => send({ type: 'event', event }),
    drained: () => sent,
    close: () => leave(eventCloseCodes.tryAgain, 'too far behind; resume with the last id'),
    closed: closed.signal,
    expel: () => leave(eventCloseCodes.policy, 'the session has ended'),
    fail: () => leave(eventCloseCodes.internalError, 'internal error'),
  };
}
