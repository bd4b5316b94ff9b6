/**
 * One agent's socket, from the first frame to the last. The protocol is contracts/agent-protocol.ts.
 *
 *  A. Nothing is sent before `sent` is committed at this socket's epoch, and nothing after a newer epoch is known.
 *  B. A peer that does not read is dropped at a named limit; one that floods is not read until its frames are stored
 *     (wire.ts).
 *  C. Whatever a peer sends, the answer is a frame or a close, never an exception.
 */
import type { WebSocket } from 'ws';
import {
  type AgentFrame,
  closeCodes,
  HELLO_DEADLINE_MS,
  type Hello,
  PROTOCOL_VERSION,
  parseAgentFrame,
  type ServerFrame,
} from '../../contracts/agent-protocol.ts';
import { createWire } from './wire.ts';

/** Malformed or unknown frames answered before the socket is closed. */
const MAX_BAD_FRAMES = 20;

/** Why the bridge ends a socket, in words for the agent's log. */
export const closeReasons = {
  superseded: 'a newer connection of this agent took over',
  expelled: 'the credential of this agent is gone',
} as const;

export interface AgentSocketHandlers {
  /** The hello of an authenticated agent. Resolves with the epoch when it was accepted. */
  onHello(socket: AgentSocket, hello: Hello): Promise<void>;
  /** A frame after the hello. `bytes` is its size; give it back by `stored` once it is dealt with. */
  onFrame(socket: AgentSocket, frame: AgentFrame, bytes: number, beside?: BesideFrame): void;
  /** A binary frame of an accepted agent. False, or absent: it is refused as a bad frame. */
  onBytes?(socket: AgentSocket, frame: Buffer): boolean;
  /** The socket is gone; `session` is what its hello was accepted with, if it was. */
  onClose(socket: AgentSocket, session: Session | undefined): void;
  onProblem(socket: AgentSocket, fields: { event: string; [field: string]: unknown }): void;
}

/** What goes with a frame that its type has no place for: of agents that speak in other ways. */
export interface BesideFrame {
  /** The journal of the connection that the command was sent on, where that is not the present one. */
  journalId?: string;
  /** What the agent says of its machine, as it says it. */
  systemInfo?: Readonly<Record<string, unknown>> | undefined;
}

/** What a hello was accepted with. */
export interface Session {
  epoch: number;
  hello: Hello;
}

type State =
  | { name: 'awaiting_hello' }
  | { name: 'connecting' }
  | ({ name: 'live' } & Session)
  | { name: 'closed' };

export interface AgentSocket {
  readonly agentId: string;
  readonly address: string;
  /** False: its hello names a new journal each time, which says nothing of the machine. Default true. */
  readonly keepsJournal?: boolean;
  /** Undefined until the hello was accepted, and from the moment this side closes: nothing more can be sent. */
  live(): Session | undefined;
  /** As `live`, but until the peer is gone: what it says while the socket closes is still evidence. */
  session(): Session | undefined;
  accept(epoch: number, hello: Hello): void;
  send(frame: ServerFrame): void;
  /** A binary frame; agents of other dialects take none. */
  sendBytes?(frame: Buffer): void;
  /** Resolves when little waits for the peer to read it, or nothing more can be sent. */
  drained(): Promise<void>;
  /** One frame, of this many bytes, was stored or dropped. */
  stored(bytes: number): void;
  close(code: number, reason: string): void;
  /** Ping; a peer that did not answer the last one is cut off. */
  checkAlive(): void;
}

export function createAgentSocket(
  ws: WebSocket,
  identity: { agentId: string; address: string },
  handlers: AgentSocketHandlers,
): AgentSocket {
  let state: State = { name: 'awaiting_hello' };
  let badFrames = 0;

  const wire = createWire(ws, {
    onProblem: (fields) => handlers.onProblem(socket, fields),
    onClosed() {
      clearTimeout(helloTimer);
      const session = socket.session();
      state = { name: 'closed' };
      handlers.onClose(socket, session);
    },
  });
  const send = (frame: ServerFrame): void => void wire.send(JSON.stringify(frame));
  const close = (code: number, reason: string): void => {
    clearTimeout(helloTimer);
    wire.close(code, reason);
  };
  const helloTimer = setTimeout(() => close(closeCodes.badHello, 'no hello in time'), HELLO_DEADLINE_MS);

  const refuseFrame = (code: string, message: string): void => {
    badFrames += 1;
    if (badFrames > MAX_BAD_FRAMES) return close(closeCodes.policy, 'too many bad frames');
    send({ type: 'error', code, message });
  };

  const hello = (frame: AgentFrame): void => {
    clearTimeout(helloTimer);
    if (frame.type !== 'hello') return close(closeCodes.badHello, 'the first frame must be hello');
    if (frame.protocol !== PROTOCOL_VERSION) {
      return close(
        closeCodes.badHello,
        `protocol ${frame.protocol} is not spoken here, ${PROTOCOL_VERSION} is`,
      );
    }
    if (frame.agentId !== identity.agentId)
      return close(closeCodes.policy, 'the credential is of another agent');
    state = { name: 'connecting' };
    handlers.onHello(socket, frame).catch((error: unknown) => {
      handlers.onProblem(socket, { event: 'agent_hello_failed', err: error });
      close(closeCodes.goingAway, 'could not connect the agent; try again');
    });
  };

  ws.on('message', (data, isBinary) => {
    if (wire.isDeaf()) return;
    if (isBinary && state.name === 'live' && Buffer.isBuffer(data) && handlers.onBytes?.(socket, data))
      return;
    if (isBinary) return refuseFrame('binary_frame', 'frames are JSON text');
    const text = data.toString();
    const parsed = parseAgentFrame(text);
    if (parsed.kind === 'unknown') {
      return refuseFrame('unknown_frame', `frame type ${parsed.frameType} is not known here`);
    }
    if (parsed.kind === 'malformed') {
      if (state.name === 'awaiting_hello') return close(closeCodes.badHello, parsed.message);
      return refuseFrame('malformed_frame', parsed.message);
    }
    if (state.name === 'awaiting_hello') return hello(parsed.frame);
    if (state.name !== 'live' || parsed.frame.type === 'hello') {
      return refuseFrame('unexpected_frame', `${parsed.frame.type} does not go here`);
    }
    wire.received(text.length);
    handlers.onFrame(socket, parsed.frame, text.length);
  });
  const socket: AgentSocket = {
    ...identity,
    live: () => (state.name === 'live' && !wire.isClosing() ? state : undefined),
    session: () => (state.name === 'live' ? state : undefined),
    accept(epoch, accepted) {
      if (state.name === 'connecting' && !wire.isClosing()) state = { name: 'live', epoch, hello: accepted };
    },
    send,
    sendBytes: (frame) => void wire.send(frame),
    drained: wire.drained,
    stored: wire.stored,
    close,
    checkAlive: wire.checkAlive,
  };
  return socket;
}
