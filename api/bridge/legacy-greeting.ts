/** How an agent of the dialects begins: with a register frame, or, where enough is known of it, with anything. */
import type { WebSocket } from 'ws';
import { closeCodes, HELLO_DEADLINE_MS } from '../../contracts/agent-protocol.ts';
import type { Upgrade } from '../upgrade.ts';
import { parseLegacyFrame } from './dialects/events.ts';
import {
  type Endpoint,
  type Registration,
  readRegistration,
  withoutRegistration,
} from './dialects/registration.ts';
import { errorText } from './legacy-frames.ts';

/** What a peer may say before it is known, bytes. */
const MAX_GREETING_BYTES = 128 * 1024;
/** A peer that is sent away has this long to answer our close frame. */
const CLOSE_TIMEOUT_MS = 2_000;
/** RFC 6455, 7.4.1: a message that is too big to process. */
const CLOSE_TOO_BIG = 1009;

export interface Greeting {
  registration: Registration;
  /** Texts that came with it, and since; they are still to be read. */
  early: string[];
  /** Begin to read for oneself. */
  stopCollecting(): void;
}

/**
 * Wait for the first frame. Undefined when the peer is gone or was sent away. An agent that has shown its credential
 * and its id already may begin with something else, or say nothing.
 */
export function greet(
  ws: WebSocket,
  { request }: Upgrade,
  endpoint: Endpoint,
  isKnown: boolean,
): Promise<Greeting | undefined> {
  return new Promise((resolve) => {
    let bytes = 0;
    const settle = (said?: { registration: Registration; early: string[] }): void => {
      clearTimeout(timer);
      request.socket.off('data', count);
      ws.off('message', first);
      ws.off('close', gone);
      if (said === undefined) return resolve(undefined);
      // In this very turn: what comes next may be in the same packet.
      let length = 0;
      const collect = (data: WebSocket.RawData): void => {
        const text = data.toString();
        said.early.push(text);
        length += text.length;
        // Until it is known; its socket goes on reading once it has dealt with these.
        if (length > MAX_GREETING_BYTES) ws.pause();
      };
      ws.on('message', collect);
      resolve({ ...said, stopCollecting: () => ws.off('message', collect) });
    };
    const refuse = (code: number, reason: string, message?: string): void => {
      if (message !== undefined && ws.readyState === ws.OPEN) ws.send(errorText(message));
      sendAway(ws, code, reason);
      settle();
    };
    const gone = (): void => settle();
    const count = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > MAX_GREETING_BYTES) refuse(CLOSE_TOO_BIG, 'too much before the registration');
    };
    const first = (data: WebSocket.RawData): void => {
      const text = data.toString();
      const event = parseLegacyFrame(text);
      if (event.kind === 'register') {
        const registration = readRegistration(event.frame, endpoint);
        if (endpoint === 'agent' && registration.claimedId === undefined) {
          const message = 'Agent ID required in registration';
          return refuse(closeCodes.policy, message, message);
        }
        return settle({ registration, early: [] });
      }
      if (endpoint === 'id' && isKnown) return settle({ registration: withoutRegistration(), early: [text] });
      const message = 'First message must be registration';
      refuse(closeCodes.policy, message, message);
    };
    const timer = setTimeout(() => {
      if (endpoint === 'id' && isKnown) settle({ registration: withoutRegistration(), early: [] });
      else refuse(closeCodes.policy, 'no registration in time');
    }, HELLO_DEADLINE_MS);
    request.socket.on('data', count);
    ws.on('message', first);
    ws.once('close', gone);
  });
}

/** Close, and cut off a peer that does not answer. */
export function sendAway(ws: WebSocket, code: number, reason: string): void {
  if (ws.readyState === ws.CLOSED) return;
  ws.close(code, reason);
  // A paused socket would never see the peer's close frame.
  ws.resume();
  const timer = setTimeout(() => ws.terminate(), CLOSE_TIMEOUT_MS);
  ws.once('close', () => clearTimeout(timer));
}
