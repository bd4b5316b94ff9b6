/** Agents of other systems, as bare sockets: they say what a test says, in the shapes that shipped agents use. */
import WebSocket from 'ws';

export type Frame = Record<string, unknown> & { type: string };

export interface LegacyAgent {
  /** Every frame received, oldest first. */
  frames: Frame[];
  /** Called with every further frame as it is read. */
  onFrame(listener: (frame: Frame) => void): void;
  send(frame: unknown): void;
  /** One message in several frames on the wire. */
  sendSplit(frame: unknown, parts: number): void;
  sendText(text: string): void;
  sendBinary(text: string): void;
  /** The next frame that fits and was not taken yet; waits for it. */
  take(type: string, fits?: (frame: Frame) => boolean): Promise<Frame>;
  /** Frames of this type so far. */
  count(type: string): number;
  pause(): void;
  readyState(): number;
  closed: Promise<{ code: number; reason: string }>;
  close(): Promise<void>;
  /** Cut the connection without a close frame. */
  cut(): void;
}

const FRAME_TIMEOUT_MS = 15_000;

export async function connectLegacyAgent(
  url: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<LegacyAgent> {
  const ws = new WebSocket(`${url.replace('http', 'ws')}${path}`, { headers, perMessageDeflate: false });
  const frames: Frame[] = [];
  const taken = new Set<Frame>();
  let wake: () => void = () => {};
  const listeners: ((frame: Frame) => void)[] = [];
  ws.on('message', (data) => {
    const frame: Frame = JSON.parse(data.toString());
    frames.push(frame);
    for (const listener of listeners) listener(frame);
    wake();
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    ws.on('close', (code, reason) => {
      resolve({ code, reason: reason.toString() });
      wake();
    });
  });
  ws.on('error', () => {});
  await new Promise<void>((resolve) => {
    ws.on('open', () => resolve());
    ws.on('close', () => resolve());
  });
  return {
    frames,
    closed,
    onFrame: (listener) => void listeners.push(listener),
    send: (frame) => ws.send(JSON.stringify(frame)),
    sendSplit(frame, parts) {
      const text = JSON.stringify(frame);
      const size = Math.ceil(text.length / parts);
      for (let at = 0; at < text.length; at += size)
        ws.send(text.slice(at, at + size), { fin: at + size >= text.length });
    },
    sendText: (text) => ws.send(text),
    sendBinary: (text) => ws.send(Buffer.from(text)),
    async take(type, fits = () => true) {
      const deadline = Date.now() + FRAME_TIMEOUT_MS;
      for (;;) {
        const found = frames.find((frame) => frame.type === type && !taken.has(frame) && fits(frame));
        if (found !== undefined) {
          taken.add(found);
          return found;
        }
        if (Date.now() > deadline || ws.readyState === ws.CLOSED)
          throw new Error(`no ${type} came; received: ${frames.map((frame) => frame.type).join(', ')}`);
        await new Promise<void>((resolve) => {
          wake = resolve;
          setTimeout(resolve, 200);
        });
      }
    },
    count: (type) => frames.filter((frame) => frame.type === type).length,
    pause: () => ws.pause(),
    readyState: () => ws.readyState,
    async close() {
      ws.close();
      await closed;
    },
    cut: () => ws.terminate(),
  };
}

/** What one shipped agent sends and gets. */
export interface LegacyScript {
  name: 'A' | 'B' | 'C' | 'D';
  path(agentId: string): string;
  register(agentId: string, given?: Record<string, unknown>): Frame;
  /** Type of the frame that brings a command. */
  commandType: string;
  commandOf(frame: Frame): { id: unknown; command: unknown; timeout: unknown; directory: unknown };
  result(id: unknown, said: { output?: string; error?: string; success: boolean; code?: number }): Frame;
}

const dataOf = (frame: Frame): Record<string, unknown> => {
  const { data } = frame;
  if (typeof data !== 'object' || data === null) throw new Error(`${frame.type} has no data`);
  return { ...data };
};

const nestedCommand = (frame: Frame) => {
  const data = dataOf(frame);
  return {
    id: data.command_id,
    command: data.command,
    timeout: data.timeout,
    directory: data.working_directory,
  };
};

export const legacyScripts: readonly LegacyScript[] = [
  {
    name: 'A',
    path: () => '/api/v1/ws/agent',
    register: (id, given) => ({ type: 'register', data: { id, hostname: id, os: 'Windows 11', ...given } }),
    commandType: 'powershell_command',
    commandOf: (frame) => ({
      id: frame.request_id,
      command: frame.command,
      timeout: frame.timeout,
      directory: frame.working_directory,
    }),
    result: (id, { output, error, success }) => ({
      type: 'powershell_result',
      request_id: id,
      data: success ? { output } : { error },
      success,
      timestamp: new Date().toISOString(),
    }),
  },
  {
    name: 'B',
    path: (id) => `/api/v1/ws/${id}`,
    register: (id, given) => ({
      type: 'register',
      data: { agent_id: id, hostname: id, os: 'Windows', ...given },
    }),
    commandType: 'command',
    commandOf: nestedCommand,
    result: (id, { output = '', error = '', success, code }) => ({
      type: 'command_result',
      data: {
        command_id: id,
        result: { command: 'x', success, output, error, exit_code: code, execution_time: 0.25 },
      },
    }),
  },
  {
    name: 'C',
    path: (id) => `/websocket/ws/${id}`,
    register: (id, given) => ({ type: 'register', data: { hostname: id, os: 'Windows', ...given } }),
    commandType: 'command',
    commandOf: nestedCommand,
    result: (id, { output = '', error = '', success, code }) => ({
      type: 'command_result',
      command_id: id,
      data: { success, output, error, execution_time: 0.25, exit_code: code },
    }),
  },
  {
    name: 'D',
    path: () => '/websocket/ws/agent',
    register: (id, given) => ({ type: 'register', agent_id: id, hostname: id, system_info: {}, ...given }),
    commandType: 'execute_command',
    commandOf: (frame) => ({
      id: frame.command_id,
      command: frame.command,
      timeout: frame.timeout,
      directory: frame.working_directory,
    }),
    result: (id, { output = '', error, success }) => ({
      type: 'command_result',
      command_id: id,
      success,
      output,
      ...(error === undefined ? {} : { error }),
      execution_time: 0.25,
    }),
  },
];
