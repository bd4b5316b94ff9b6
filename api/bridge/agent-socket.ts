/**
 * One agent's socket, from the first frame to the last. The protocol is contracts/agent-protocol.ts.
 *
 *  A. Nothing is sent before `sent` is committed at this socket's epoch, and nothing after a newer epoch is known.
 *  B. A peer that does not read is dropped at a named limit; one that floods is not read until its frames are stored.
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

/** Bytes the peer has not read yet; more means it is dropped. A full batch of run frames stays below. */
const MAX_BUFFERED_BYTES = 8 * 1024 * 1024;
/** Bytes the peer has not read yet above which a series of frames waits (see `drained`). */
const DRAINED_BYTES = 1024 * 1024;
/** Longest close reason, bytes (RFC 6455, 5.5). */
const MAX_REASON_BYTES = 123;
/** Closes after which the peer is not listened to any more: it may not speak, or has not spoken properly. */
const isRefusal = (code: number): boolean =>
  code === closeCodes.policy || code === closeCodes.revoked || code === closeCodes.badHello;
/** Bytes of frames received and not yet stored; more means we stop reading this peer. */
const MAX_UNSTORED_BYTES = 2 * 1024 * 1024;
/** Frames received and not yet stored; more of the smallest ones would keep the one lane of all agents busy. */
const MAX_UNSTORED_FRAMES = 1_000;
/** Malformed or unknown frames answered before the socket is closed. */
const MAX_BAD_FRAMES = 20;
/** A peer that does not answer our close frame is cut off after this long. */
const CLOSE_TIMEOUT_MS = 2_000;

/** Why the bridge ends a socket, in words for the agent's log. */
export const closeReasons = {
  superseded: 'a newer connection of this agent took over',
  expelled: 'the credential of this agent is gone',
} as const;

export interface AgentSocketHandlers {
  /** The hello of an authenticated agent. Resolves with the epoch when it was accepted. */
  onHello(socket: AgentSocket, hello: Hello): Promise<void>;
  /** A frame after the hello. `bytes` is its size; give it back by `stored` once it is dealt with. */
  onFrame(socket: AgentSocket, frame: AgentFrame, bytes: number): void;
  /** The socket is gone; `session` is what its hello was accepted with, if it was. */
  onClose(socket: AgentSocket, session: Session | undefined): void;
  onProblem(socket: AgentSocket, fields: { event: string; [field: string]: unknown }): void;
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
  /** Undefined until the hello was accepted, and from the moment this side closes: nothing more can be sent. */
  live(): Session | undefined;
  /** As `live`, but until the peer is gone: what it says while the socket closes is still evidence. */
  session(): Session | undefined;
  accept(epoch: number, hello: Hello): void;
  send(frame: ServerFrame): void;
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
  const unstored = { bytes: 0, frames: 0 };
  let badFrames = 0;
  let answeredPing = true;
  let isClosing = false;
  let isDeaf = false;
  let drainWaiters: (() => void)[] = [];

  const helloTimer = setTimeout(() => close(closeCodes.badHello, 'no hello in time'), HELLO_DEADLINE_MS);

  const send = (frame: ServerFrame): void => {
    if (ws.readyState !== ws.OPEN) return;
    if (ws.bufferedAmount > MAX_BUFFERED_BYTES) {
      handlers.onProblem(socket, { event: 'agent_slow', bufferedBytes: ws.bufferedAmount });
      close(closeCodes.slowConsumer, 'the agent does not read');
      return;
    }
    ws.send(JSON.stringify(frame), () => {
      if (drainWaiters.length > 0 && hasRoom()) releaseWaiters();
    });
  };

  const hasRoom = (): boolean => isClosing || ws.readyState !== ws.OPEN || ws.bufferedAmount <= DRAINED_BYTES;
  const releaseWaiters = (): void => {
    const waiters = drainWaiters;
    drainWaiters = [];
    for (const resolve of waiters) resolve();
  };

  const close = (code: number, reason: string): void => {
    clearTimeout(helloTimer);
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
    if (isDeaf) return;
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
    unstored.bytes += text.length;
    unstored.frames += 1;
    if (unstored.bytes > MAX_UNSTORED_BYTES || unstored.frames > MAX_UNSTORED_FRAMES) ws.pause();
    handlers.onFrame(socket, parsed.frame, text.length);
  });
  ws.on('pong', () => {
    answeredPing = true;
  });
  ws.on('error', (error) => handlers.onProblem(socket, { event: 'agent_socket_error', err: error }));
  ws.once('close', () => {
    clearTimeout(helloTimer);
    isClosing = true;
    releaseWaiters();
    const session = socket.session();
    state = { name: 'closed' };
    handlers.onClose(socket, session);
  });

  const socket: AgentSocket = {
    ...identity,
    live: () => (state.name === 'live' && !isClosing ? state : undefined),
    session: () => (state.name === 'live' ? state : undefined),
    accept(epoch, accepted) {
      if (state.name === 'connecting' && !isClosing) state = { name: 'live', epoch, hello: accepted };
    },
    send,
    drained: () =>
      hasRoom() ? Promise.resolve() : new Promise<void>((resolve) => void drainWaiters.push(resolve)),
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
      answeredPing = false;
      if (ws.readyState === ws.OPEN) ws.ping();
    },
  };
  return socket;
}

/** Cut to what a close frame can carry, at a character. */
function fitReason(reason: string): string {
  let fitting = reason.slice(0, MAX_REASON_BYTES);
  while (Buffer.byteLength(fitting) > MAX_REASON_BYTES) fitting = fitting.slice(0, -1);
  return fitting.toWellFormed();
}
