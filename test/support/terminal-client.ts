/** A client of `/ws/terminal`, in text or in bytes. */
import WebSocket from 'ws';
import type { System } from './system.ts';

/** Below the limit of a test, so that what it waited for is said. */
const DEADLINE_MS = 20_000;

export interface Frame {
  type: string;
  data: Record<string, unknown>;
}

export interface TestTerminal {
  ws: WebSocket;
  /** JSON frames so far. */
  frames: Frame[];
  /** Output so far, in either mode. */
  output(): Buffer;
  /** Length of the output so far. */
  length(): number;
  /** Session id of `ready`. */
  sessionId(): string;
  ready: Promise<Frame>;
  closed: Promise<{ code: number; reason: string }>;
  type(text: string): void;
  send(frame: unknown): void;
  frame(type: string): Promise<Frame>;
  /** Wait until the output has this in it. */
  until(what: string | RegExp): Promise<void>;
  /** Break the connection without a word. */
  cut(): void;
  close(): Promise<void>;
}

export interface TerminalClientOptions {
  agentId?: string;
  sessionId?: string;
  offset?: number;
  binary?: boolean;
  token?: string | null;
  query?: Record<string, string>;
  url?: string;
  /** Binary: ack what was read. Default true. */
  acks?: boolean;
  /** Instead of keeping the output. */
  onBytes?: (bytes: Buffer) => void;
}

export function openTerminal(
  system: Pick<System, 'url' | 'token'>,
  options: TerminalClientOptions = {},
): TestTerminal {
  const query = new URLSearchParams({
    ...(options.agentId !== undefined && { agent_id: options.agentId }),
    ...(options.sessionId !== undefined && { session_id: options.sessionId }),
    ...(options.offset !== undefined && { offset: String(options.offset) }),
    ...(options.binary && { binary: '1' }),
    ...options.query,
  });
  const token = options.token === undefined ? system.token() : options.token;
  const ws = new WebSocket(`${(options.url ?? system.url).replace('http', 'ws')}/ws/terminal?${query}`, {
    headers: token === null ? {} : { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
  });
  const frames: Frame[] = [];
  const parts: Buffer[] = [];
  let length = 0;
  let offset = 0;
  let acked = 0;
  let listeners: (() => void)[] = [];
  let isClosed = false;
  const changed = (): void => {
    for (const listener of listeners) listener();
  };
  const keep = (bytes: Buffer): void => {
    length += bytes.length;
    if (options.onBytes === undefined) parts.push(bytes);
    else options.onBytes(bytes);
  };
  ws.on('message', (data, isBinary) => {
    if (!Buffer.isBuffer(data)) return;
    if (isBinary) {
      keep(data);
      offset += data.length;
      if (options.acks !== false && offset - acked >= 64 * 1024) {
        acked = offset;
        ws.send(JSON.stringify({ type: 'ack', data: { offset } }));
      }
    } else {
      const frame: Frame = JSON.parse(data.toString());
      frames.push(frame);
      if (frame.type === 'ready') offset = acked = Number(frame.data.offset ?? 0);
      if (frame.type === 'output') keep(Buffer.from(String(frame.data.chunk)));
    }
    changed();
  });
  ws.on('error', () => undefined);
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    ws.on('close', (code, reason) => {
      resolve({ code, reason: reason.toString() });
      isClosed = true;
      changed();
    });
  });
  const wait = <T>(what: string, find: () => T | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const fail = (): void => {
        stop();
        const seen = JSON.stringify(Buffer.concat(parts).toString().slice(-500));
        const last = JSON.stringify(frames.slice(-5));
        reject(new Error(`${what} did not come; ${length} bytes of output: ${seen}; frames: ${last}`));
      };
      const timer = setTimeout(fail, DEADLINE_MS);
      const look = (): void => {
        const found = find();
        if (found === undefined) return isClosed ? fail() : undefined;
        stop();
        resolve(found);
      };
      const stop = (): void => {
        clearTimeout(timer);
        listeners = listeners.filter((each) => each !== look);
      };
      listeners.push(look);
      look();
    });
  const frame = (type: string): Promise<Frame> => wait(type, () => frames.find((each) => each.type === type));
  const ready = frame('ready');
  ready.catch(() => undefined);
  return {
    ws,
    frames,
    output: () => Buffer.concat(parts),
    length: () => length,
    sessionId: () => String(frames.find(({ type }) => type === 'ready')?.data.session_id ?? ''),
    ready,
    closed,
    type: (text) =>
      ws.send(options.binary ? Buffer.from(text) : JSON.stringify({ type: 'input', data: text })),
    send: (value) => ws.send(typeof value === 'string' ? value : JSON.stringify(value)),
    frame,
    until: async (what) => {
      await wait(String(what), () => {
        const text = Buffer.concat(parts).toString();
        return (typeof what === 'string' ? text.includes(what) : what.test(text)) ? true : undefined;
      });
    },
    cut: () => ws.terminate(),
    async close() {
      ws.close();
      await closed;
    },
  };
}
