/**
 * The WebSocket to the server: one at a time, reconnecting for ever.
 *
 *   waiting ─► connecting ─► greeting (hello sent) ─► open ─► waiting …        any ─► closed
 *
 * Invariants:
 *  C1. Frames are handed on only between a valid welcome and the end of that socket; frames of an older socket never.
 *  C2. A socket that does not answer pings is ended after two of them; a welcome must come within WELCOME_DEADLINE_MS.
 *  C3. Between SEND_HIGH_WATER_BYTES and the drain of the buffer `hasRoom` is false: output waits in the spool.
 *  E.  A frame of an unknown type is answered by name and is not fatal; an error frame is never answered.
 */
import type { Socket } from 'node:net';
import WebSocket from 'ws';
import {
  type AgentFrame,
  type Hello,
  MAX_FRAME_BYTES,
  PING_INTERVAL_MS,
  PROTOCOL_VERSION,
  parseServerFrame,
  type ServerFrame,
} from '../contracts/agent-protocol.ts';
import { type BackoffLimits, backoffDelayMs, type EndCause } from './backoff.ts';
import type { Link } from './link.ts';
import { type AgentLog, errorText } from './log.ts';

/** From the start of the connection attempt to the welcome, milliseconds: thousands may be coming back before this one. */
export const WELCOME_DEADLINE_MS = 30_000;
/** Bytes waiting in the socket's buffer above which output waits. */
export const SEND_HIGH_WATER_BYTES = 1024 * 1024;
/** A connection this old resets the backoff when it ends, milliseconds. */
export const STABLE_AFTER_MS = 10_000;
/** Pings without an answer that end the socket. */
const MAX_MISSED_PONGS = 2;

export type Welcome = Extract<ServerFrame, { type: 'welcome' }>;

export interface ConnectionOptions {
  /** Base URL of the server, http(s) or ws(s). */
  url: string;
  token: string;
  hello: () => Hello;
  /** `reconnect` ends this socket at once without backoff (a new journal must say hello first). */
  onWelcome: (welcome: Welcome) => 'accept' | 'reconnect';
  onFrame: (frame: Exclude<ServerFrame, { type: 'welcome' }>) => void;
  onBytes: (frame: Buffer) => void;
  /** A known frame type with a wrong shape, already answered. `text` is the whole frame. */
  onMalformed: (text: string) => void;
  onRoom: () => void;
  onEnd: () => void;
  log: AgentLog;
  backoff: BackoffLimits;
  random: () => number;
  pingIntervalMs?: number;
}

export interface Connection extends Link {
  isOpen(): boolean;
  /** Stop for good. Resolves when the socket is gone. */
  close(): Promise<void>;
}

type State =
  | { kind: 'waiting'; timer: NodeJS.Timeout }
  | { kind: 'connecting' | 'greeting'; socket: WebSocket }
  | { kind: 'open'; socket: WebSocket; since: number }
  | { kind: 'closed' };

/** Address of the agent endpoint below the server's base URL. */
export function agentSocketUrl(base: string): string {
  const url = new URL(base);
  url.protocol = url.protocol === 'https:' || url.protocol === 'wss:' ? 'wss:' : 'ws:';
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/v1/agent`;
  return url.href;
}

/**
 * Masking protects proxies that mistake what is in a WebSocket for requests (RFC 6455, 10.3). There is none inside TLS or
 * inside this machine, and it costs as much as all the rest of a large frame: a mask of zeros changes nothing.
 */
const isTrustedPath = (address: string): boolean =>
  /^(wss:|ws:\/\/(127(\.\d{1,3}){3}|localhost|\[::1\])[:/])/.test(address);
const noMask = (mask: Buffer): void => void mask.fill(0);

/** Connect, and stay connected until `close`. */
export function createConnection(options: ConnectionOptions): Connection {
  const { log } = options;
  const address = agentSocketUrl(options.url);
  let state: State;
  let attempt = 0;
  let isFull = false;
  /** The TCP or TLS connection under the present socket. */
  let transport: Socket | undefined;

  /** Frames of one turn leave in one write: a short command's start and result are then stored together. */
  const gatherWrites = (): void => {
    const stream = transport;
    if (stream === undefined || stream.writableCorked > 0) return;
    stream.cork();
    process.nextTick(() => stream.uncork());
  };

  const schedule = (delayMs: number): void => {
    state = { kind: 'waiting', timer: setTimeout(connect, delayMs) };
  };

  const connect = (): void => {
    const socket = new WebSocket(address, {
      headers: { authorization: `Bearer ${options.token}` },
      maxPayload: MAX_FRAME_BYTES,
      ...(isTrustedPath(address) && { generateMask: noMask }),
      perMessageDeflate: false,
      handshakeTimeout: WELCOME_DEADLINE_MS,
      followRedirects: false,
    });
    state = { kind: 'connecting', socket };
    let refusal: EndCause | null = null;
    let shouldReturnAtOnce = false;
    let missedPongs = 0;
    const isCurrent = (): boolean => 'socket' in state && state.socket === socket;
    const deadline = setTimeout(() => socket.terminate(), WELCOME_DEADLINE_MS);
    const ping = setInterval(() => {
      if (missedPongs >= MAX_MISSED_PONGS) {
        log.warn('socket_dead', { missedPongs });
        return socket.terminate();
      }
      missedPongs += 1;
      if (socket.readyState === WebSocket.OPEN) socket.ping();
    }, options.pingIntervalMs ?? PING_INTERVAL_MS);

    socket.on('pong', () => {
      missedPongs = 0;
    });
    socket.on('upgrade', (response) => {
      transport = response.socket;
    });
    socket.on('open', () => {
      if (!isCurrent()) return socket.terminate();
      state = { kind: 'greeting', socket };
      socket.send(JSON.stringify(options.hello()));
    });
    socket.on('message', (data, isBinary) => {
      missedPongs = 0;
      if (!isCurrent()) return;
      if (isBinary && state.kind === 'open') {
        if (Buffer.isBuffer(data) && !shouldReturnAtOnce) options.onBytes(data);
        return;
      }
      const verdict = receive(socket, isBinary ? '' : data.toString());
      if (verdict === 'reconnect') {
        shouldReturnAtOnce = true;
        socket.close(1000, 'new journal');
      }
    });
    socket.on('unexpected-response', (request, response) => {
      const status = response.statusCode ?? 0;
      if (status === 401 || status === 403) refusal = 'refused';
      log.warn('socket_refused', { status });
      request.destroy();
      socket.terminate();
    });
    socket.on('error', (error) => log.debug('socket_error', { err: errorText(error) }));
    socket.on('close', (code, reason) => {
      clearTimeout(deadline);
      clearInterval(ping);
      if (!isCurrent()) return;
      const wasOpen = state.kind === 'open';
      if (state.kind === 'open' && performance.now() - state.since >= STABLE_AFTER_MS) attempt = 0;
      isFull = false;
      const cause: EndCause = refusal ?? (code === 1006 ? 'unreachable' : code);
      // A server that asks for a new journal again and again gets the usual backoff from the second time on.
      const isAtOnce = shouldReturnAtOnce && attempt === 0;
      const delayMs = isAtOnce ? 0 : backoffDelayMs(attempt, cause, options.backoff, options.random);
      attempt += 1;
      log.info('socket_closed', {
        code,
        reason: reason.toString().slice(0, 200),
        wasOpen,
        retryInMs: delayMs,
      });
      schedule(delayMs);
      if (wasOpen) options.onEnd();
    });

    const accept = (welcome: Welcome): 'ok' | 'reconnect' => {
      clearTimeout(deadline);
      if (welcome.protocol !== PROTOCOL_VERSION) {
        log.error('protocol_mismatch', { server: welcome.protocol, agent: PROTOCOL_VERSION });
        socket.close(1002, 'protocol version');
        return 'ok';
      }
      const { agentId } = options.hello();
      if (welcome.agentId !== agentId) {
        log.error('identity_mismatch', { server: welcome.agentId, agent: agentId });
        socket.close(1002, 'agent id');
        return 'ok';
      }
      state = { kind: 'open', socket, since: performance.now() };
      log.info('connected', { epoch: welcome.epoch, serverVersion: welcome.serverVersion });
      return options.onWelcome(welcome) === 'reconnect' ? 'reconnect' : 'ok';
    };

    const receive = (from: WebSocket, text: string): 'ok' | 'reconnect' => {
      const parsed = parseServerFrame(text);
      if (state.kind === 'greeting') {
        if (parsed.kind === 'frame' && parsed.frame.type === 'welcome') return accept(parsed.frame);
        log.error('welcome_expected', { got: parsed.kind === 'frame' ? parsed.frame.type : parsed.kind });
        from.close(1002, 'welcome expected');
        return 'ok';
      }
      if (state.kind !== 'open' || shouldReturnAtOnce) return 'ok';
      if (parsed.kind === 'unknown') {
        log.warn('unknown_frame', { type: parsed.frameType });
        send({ type: 'error', code: 'unknown_frame', message: parsed.frameType });
      } else if (parsed.kind === 'malformed') {
        log.warn('malformed_frame', { message: parsed.message });
        send({ type: 'error', code: 'malformed_frame', message: parsed.message });
        options.onMalformed(text);
      } else if (parsed.frame.type !== 'welcome') {
        options.onFrame(parsed.frame);
      }
      return 'ok';
    };
  };

  const send = (frame: AgentFrame): boolean => sendData(JSON.stringify(frame));
  const sendData = (data: string | Buffer, onLeft?: () => void): boolean => {
    if (state.kind !== 'open') return false;
    const { socket } = state;
    if (socket.readyState !== WebSocket.OPEN) return false;
    // Bytes wait for nothing: whoever has more of them to come has gathered them before.
    if (typeof data === 'string') gatherWrites();
    socket.send(data, () => {
      onLeft?.();
      if (!isFull || socket.bufferedAmount > SEND_HIGH_WATER_BYTES / 2) return;
      isFull = false;
      options.onRoom();
    });
    if (socket.bufferedAmount > SEND_HIGH_WATER_BYTES) isFull = true;
    return true;
  };

  // The first attempt waits for nothing.
  schedule(0);
  return {
    send,
    sendBytes: sendData,
    hasRoom: () => state.kind === 'open' && !isFull,
    isOpen: () => state.kind === 'open',
    close: async () => {
      const last = state;
      if (last.kind === 'closed') return;
      state = { kind: 'closed' };
      if (last.kind === 'waiting') return clearTimeout(last.timer);
      await new Promise<void>((resolve) => {
        const kill = setTimeout(() => last.socket.terminate(), 1_000);
        last.socket.once('close', () => {
          clearTimeout(kill);
          resolve();
        });
        if (last.kind === 'connecting') last.socket.terminate();
        else last.socket.close(1001, 'agent stops');
      });
    },
  };
}
