/**
 * One client of an interactive terminal. In text, output is JSON and counts as read once it has left; in binary it is
 * bytes, and counts as read when the client says so (`ack`).
 */
import type { Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { WebSocket } from 'ws';
import {
  type TerminalClientFrame,
  type TerminalFrame,
  terminalClientFrameSchema,
  terminalCloseCodes,
} from '../../contracts/terminals.ts';
import { createLiveSocket } from '../live-socket.ts';
import type { Relay, RelayClient } from './relay.ts';

/** A character of UTF-8 has one more at most. */
const MAX_HELD_BYTES = 3;
/** A client may take this long to read the last output before it is cut off, milliseconds. */
const LAST_READ_MS = 30_000;

export interface TerminalClient extends RelayClient {
  /** What it types goes there once it is ready, which must be within so many milliseconds. */
  begin(relay: Relay, deadlineMs: number): void;
  /** Tell what is wrong and close. */
  fail(message: string, details: string, code?: number): void;
  /** Its credential, or its right, has ended: so does the session. */
  expel(): void;
  readonly closed: AbortSignal;
}

export interface TerminalClientDeps {
  shutdown: AbortSignal;
  isBinary: boolean;
  /** The connection under the socket. */
  transport: Pick<Writable, 'cork' | 'uncork' | 'writableCorked'>;
  /** Facts of `ready`. */
  session: () => { session_id: string; agent_id: string; resumed: boolean };
}

/** Takes over an accepted socket. What it says before `begin` waits unread. */
export function createTerminalClient(ws: WebSocket, deps: TerminalClientDeps): TerminalClient {
  const { isBinary, transport } = deps;
  let relay: Relay | null = null;
  let isReady = false;
  let isExpelled = false;
  let deadline: NodeJS.Timeout | undefined;
  let decoder = new StringDecoder('utf8');
  /** The newest bytes of output that the decoder was given. */
  let last: Buffer = Buffer.alloc(0);
  ws.pause();

  const live = createLiveSocket(ws, {
    shutdown: deps.shutdown,
    onFrame(bytes, isBinaryFrame) {
      const frame = isBinaryFrame ? undefined : parseFrame(bytes);
      if (frame === 'unknown') return send({ type: 'error', data: { message: 'unknown_frame' } });
      if (frame === undefined) return relay?.input(bytes);
      switch (frame.type) {
        case 'input':
          return relay?.input(Buffer.from(frame.data));
        case 'resize':
          return relay?.resize(frame.data.cols, frame.data.rows);
        case 'ack':
          return relay?.ack(client, frame.data.offset);
        case 'close':
          return relay?.close('closed by its client');
      }
    },
  });
  const send = (frame: TerminalFrame): void => live.send(frame);
  /** A paused socket would never see the peer's close frame. */
  const leave = (code: number, reason: string): void => {
    live.leave(code, reason);
    ws.resume();
  };

  /** What comes after the first frame of a turn leaves in one write: an agent's socket may give many in one read. */
  const gatherWrites = (): void => {
    if (transport.writableCorked > 0) return;
    transport.cork();
    process.nextTick(() => transport.uncork());
  };
  const outputText = (offset: number, bytes: Buffer): void => {
    const end = offset + bytes.length;
    const chunk = decoder.write(bytes);
    last = Buffer.concat([last, bytes.subarray(-MAX_HELD_BYTES)]).subarray(-MAX_HELD_BYTES);
    // Whoever comes back needs the beginning of the last character again.
    const frame: TerminalFrame = { type: 'output', data: { chunk, offset: end - heldBytes(last) } };
    ws.send(JSON.stringify(frame), (error) => {
      if (!error) relay?.ack(client, end);
    });
  };

  const client: TerminalClient = {
    begin(to, deadlineMs) {
      relay = to;
      if (isExpelled) client.expel();
      if (live.closed.aborted) return to.drop(client);
      if (isReady) return;
      deadline = setTimeout(() => {
        client.fail('terminal_unavailable', 'the agent does not answer', terminalCloseCodes.internalError);
        if (!deps.session().resumed) to.close('not made in time');
      }, deadlineMs);
    },
    ready(offset) {
      isReady = true;
      clearTimeout(deadline);
      decoder = new StringDecoder('utf8');
      last = Buffer.alloc(0);
      send({ type: 'ready', data: { ...deps.session(), mode: 'interactive', read_only: false, offset } });
      ws.resume();
    },
    output(offset, bytes) {
      if (live.closed.aborted) return;
      // Its bytes stay as they are until they have left: nobody writes into a frame that was received.
      if (isBinary) ws.send(bytes, { binary: true });
      else outputText(offset, bytes);
      gatherWrites();
    },
    hold: (isHeld) => void (isHeld ? ws.pause() : ws.resume()),
    ended({ reason, exitCode, signal, survivors }) {
      if (live.closed.aborted) return;
      const rest = isBinary ? '' : decoder.end();
      if (rest !== '') send({ type: 'output', data: { chunk: rest } });
      const frame: TerminalFrame = {
        type: 'exit',
        data: { reason, exit_code: exitCode, signal, survivors },
      };
      const timer = setTimeout(() => ws.terminate(), LAST_READ_MS);
      ws.once('close', () => clearTimeout(timer));
      ws.send(JSON.stringify(frame), () => ws.close(terminalCloseCodes.ended, 'the session has ended'));
      ws.resume();
    },
    leave,
    fail(message, details, code = terminalCloseCodes.policy) {
      send({ type: 'error', data: { message, details } });
      leave(code, message);
    },
    expel() {
      // Its session may still be on its way.
      isExpelled = true;
      relay?.close('its credential has ended');
      leave(terminalCloseCodes.policy, 'the session has ended');
    },
    closed: live.closed,
  };
  live.closed.addEventListener(
    'abort',
    () => {
      clearTimeout(deadline);
      relay?.drop(client);
    },
    { once: true },
  );
  return client;
}

/** Undefined: input as it is. A frame of the dialect that is not known, or not well-formed, is no input. */
function parseFrame(bytes: Buffer): TerminalClientFrame | 'unknown' | undefined {
  if (bytes[0] !== 0x7b) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('type' in value)) return undefined;
  const parsed = terminalClientFrameSchema.safeParse(value);
  return parsed.success ? parsed.data : 'unknown';
}

/** How many bytes at the end are the beginning of a character. */
function heldBytes(bytes: Buffer): number {
  for (let count = 1; count <= bytes.length; count++) {
    const byte = bytes[bytes.length - count] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf8 ? 1 : byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return count < length ? count : 0;
  }
  return 0;
}
