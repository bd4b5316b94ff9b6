/** One WebSocket client of events: frames out, nothing in. */
import type { WebSocket } from 'ws';
import { type EventFrame, eventCloseCodes } from '../../contracts/event-routes.ts';
import { createLiveSocket } from '../live-socket.ts';
import type { EventSink } from './feed.ts';

/** Largest frame of a client: it has nothing to say. */
export const MAX_CLIENT_FRAME_BYTES = 4 * 1024;

export interface EventSocket extends EventSink {
  /** Its session has ended. */
  expel(): void;
  /** Something broke on our side. */
  fail(): void;
}

/** Takes over an accepted socket; it ends with the shutdown at the latest. */
export function createEventSocket(ws: WebSocket, shutdown: AbortSignal): EventSocket {
  const live = createLiveSocket(ws, {
    shutdown,
    onFrame(_bytes, isBinary) {
      if (isBinary) live.leave(eventCloseCodes.unsupportedData, 'no binary frames');
    },
  });
  const send = (frame: EventFrame): void => live.send(frame);
  return {
    ready: (cursor) => send({ type: 'ready', cursor }),
    send: (event) => send({ type: 'event', event }),
    drained: live.drained,
    close: () => live.leave(eventCloseCodes.tryAgain, 'too far behind; resume with the last id'),
    closed: live.closed,
    expel: () => live.leave(eventCloseCodes.policy, 'the session has ended'),
    fail: () => live.leave(eventCloseCodes.internalError, 'internal error'),
  };
}
