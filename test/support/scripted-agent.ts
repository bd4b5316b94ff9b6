/** An agent that does exactly what a test says: a bare socket that speaks protocol v1 frame by frame. */
import { createHash, randomUUID } from 'node:crypto';
import WebSocket from 'ws';
import {
  type AgentFrame,
  type Hello,
  PROTOCOL_VERSION,
  type RunFrame,
  type ServerFrame,
  type StreamSummary,
} from '../../contracts/agent-protocol.ts';

type FrameOf<T extends ServerFrame['type']> = Extract<ServerFrame, { type: T }>;

export interface ScriptedAgent {
  agentId: string;
  journalId: string;
  /** Every frame received, oldest first. */
  frames: ServerFrame[];
  send(frame: AgentFrame | Record<string, unknown>): void;
  /** Send the hello (see `greets`). */
  greet(): void;
  sendText(text: string): void;
  /** Send a frame in fragments of so many characters (RFC 6455, 5.4). */
  sendSplit(frame: AgentFrame | Record<string, unknown>, size: number): void;
  sendBinary(bytes: Buffer): void;
  readyState(): number;
  /** Stop or go on reading. */
  pause(): void;
  resume(): void;
  /** Called with every further frame as it is read. */
  onFrame(listener: (frame: ServerFrame) => void): void;
  /** The next frame of this type that fits and was not taken yet; waits for it. */
  take<T extends ServerFrame['type']>(type: T, fits?: (frame: FrameOf<T>) => boolean): Promise<FrameOf<T>>;
  /** Resolves with the close code. */
  closed: Promise<number>;
  close(): Promise<void>;
  /** Cut the connection without a close frame. */
  cut(): void;
}

export interface ScriptedAgentOptions {
  url: string;
  agentId: string;
  token: string;
  journalId?: string;
  journalSeq?: number;
  hello?: Partial<Hello>;
  /** False: send no hello. */
  greets?: boolean;
}

const FRAME_TIMEOUT_MS = 15_000;

export async function connectScriptedAgent(options: ScriptedAgentOptions): Promise<ScriptedAgent> {
  const journalId = options.journalId ?? randomUUID();
  const ws = new WebSocket(`${options.url.replace('http', 'ws')}/v1/agent`, {
    headers: { authorization: `Bearer ${options.token}` },
    perMessageDeflate: false,
  });
  const frames: ServerFrame[] = [];
  const listeners: ((frame: ServerFrame) => void)[] = [];
  const taken = new Set<ServerFrame>();
  let wake: () => void = () => {};
  ws.on('message', (data) => {
    const frame = JSON.parse(data.toString()) as ServerFrame;
    frames.push(frame);
    for (const listener of listeners) listener(frame);
    wake();
  });
  const closed = new Promise<number>((resolve) => {
    ws.on('close', (code) => {
      resolve(code);
      wake();
    });
  });
  ws.on('error', () => {});
  await new Promise<void>((resolve) => {
    ws.on('open', () => resolve());
    ws.on('close', () => resolve());
  });
  const agent: ScriptedAgent = {
    agentId: options.agentId,
    journalId,
    frames,
    closed,
    send: (frame) => ws.send(JSON.stringify(frame)),
    greet: () =>
      agent.send({
        type: 'hello',
        protocol: PROTOCOL_VERSION,
        agentId: options.agentId,
        journalId,
        journalSeq: options.journalSeq ?? 0,
        delivery: 'websocket',
        hostname: options.agentId,
        os: 'Linux',
        arch: 'x64',
        version: 'scripted',
        capabilities: ['shell', 'argv'],
        shells: ['sh'],
        defaultShell: 'sh',
        ...options.hello,
      }),
    onFrame: (listener) => void listeners.push(listener),
    sendText: (text) => ws.send(text),
    sendSplit(frame, size) {
      const text = JSON.stringify(frame);
      for (let at = 0; at < text.length; at += size)
        ws.send(text.slice(at, at + size), { fin: at + size >= text.length });
    },
    sendBinary: (bytes) => ws.send(bytes),
    readyState: () => ws.readyState,
    pause: () => ws.pause(),
    resume: () => ws.resume(),
    async take<T extends ServerFrame['type']>(type: T, fits: (frame: FrameOf<T>) => boolean = () => true) {
      const deadline = Date.now() + FRAME_TIMEOUT_MS;
      for (;;) {
        const found = frames.find(
          (frame): frame is FrameOf<T> =>
            frame.type === type && !taken.has(frame) && fits(frame as FrameOf<T>),
        );
        if (found !== undefined) {
          taken.add(found);
          return found;
        }
        if (Date.now() > deadline || ws.readyState === ws.CLOSED) {
          throw new Error(`no ${type} frame came; received: ${frames.map((frame) => frame.type).join(', ')}`);
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
          setTimeout(resolve, 200);
        });
      }
    },
    async close() {
      ws.close();
      await closed;
    },
    cut: () => ws.terminate(),
  };
  if (options.greets !== false) agent.greet();
  return agent;
}

type AgentFrameOf<Type extends AgentFrame['type']> = Extract<AgentFrame, { type: Type }>;

export const startedFrame = (run: Pick<RunFrame, 'commandId' | 'digest'>): AgentFrameOf<'started'> => ({
  type: 'started',
  commandId: run.commandId,
  digest: run.digest,
  pid: 1,
  startedAt: new Date().toISOString(),
});

export const outputFrame = (
  run: Pick<RunFrame, 'commandId'>,
  stream: 'stdout' | 'stderr',
  offset: number,
  bytes: Buffer | string,
): AgentFrameOf<'output'> => ({
  type: 'output',
  commandId: run.commandId,
  stream,
  offset,
  bytes: Buffer.from(bytes).toString('base64'),
});

export const summaryOf = (bytes: Buffer | string): StreamSummary => ({
  bytes: Buffer.byteLength(bytes),
  totalBytes: Buffer.byteLength(bytes),
  sha256: createHash('sha256').update(bytes).digest('hex'),
  truncated: false,
});

export const resultFrame = (
  run: Pick<RunFrame, 'commandId' | 'digest'>,
  given: Partial<AgentFrameOf<'result'>> = {},
): AgentFrameOf<'result'> => ({
  type: 'result',
  commandId: run.commandId,
  digest: run.digest,
  outcome: 'succeeded',
  exitCode: 0,
  signal: null,
  reason: null,
  startedAt: new Date().toISOString(),
  finishedAt: new Date().toISOString(),
  durationMs: 1,
  stdout: summaryOf(''),
  stderr: summaryOf(''),
  ...given,
});
