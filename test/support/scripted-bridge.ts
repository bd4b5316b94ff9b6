/**
 * The server side of agent protocol v1 as a script for agent tests: a real HTTP and WebSocket server that stores
 * output by offset, acks what it stores, and otherwise does only what the test says.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import {
  type Act,
  type ActBinding,
  type AgentFrame,
  actDigest,
  adHocBinding,
  DEFAULT_OUTPUT_CAP_BYTES,
  type Hello,
  parseAgentFrame,
  type RunFrame,
  type ServerFrame,
  type StreamName,
} from '../../contracts/agent-protocol.ts';

export type FrameOf<T extends AgentFrame['type']> = Extract<AgentFrame, { type: T }>;
type Welcome = Extract<ServerFrame, { type: 'welcome' }>;

/** A wait in a test that takes longer has failed, milliseconds. */
const WAIT_DEADLINE_MS = 20_000;

/** Poll until the condition gives a value, or fail naming what was waited for. */
export async function waitFor<T>(
  what: string,
  condition: () => T | undefined | null | false,
  deadlineMs = WAIT_DEADLINE_MS,
): Promise<T> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    const value = condition();
    if (value !== undefined && value !== null && value !== false) return value;
    if (performance.now() > end) throw new Error(`waited ${deadlineMs} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export interface BridgeSession {
  hello: Hello;
  /** All frames after the hello, in order. */
  frames: AgentFrame[];
  authorization: string | undefined;
  send(frame: ServerFrame): void;
  sendText(text: string): void;
  /** The first frame of this type (about this command, if named), now or later. */
  frame<T extends AgentFrame['type']>(type: T, commandId?: string): Promise<FrameOf<T>>;
  framesOf<T extends AgentFrame['type']>(type: T, commandId?: string): FrameOf<T>[];
  close(code: number): void;
  /** End the TCP connection without a close frame. */
  terminate(): void;
  isOpen(): boolean;
  /** Stop reading from the socket; true resumes. */
  setReading(on: boolean): void;
}

export interface BridgeOptions {
  /** Fields of the welcome; may depend on the hello. */
  welcome?: (hello: Hello) => Partial<Welcome>;
  /** Answer of the upgrade: an HTTP status to refuse with, a close code, or undefined to accept. */
  refuse?: (request: IncomingMessage) => { status: number } | { closeCode: number } | undefined;
  /** Store and ack output. Default true. */
  ackOutput?: boolean;
  /** Ack results. Default true. */
  ackResults?: boolean;
  port?: number;
}

export interface ScriptedBridge {
  url: string;
  port: number;
  options: BridgeOptions;
  sessions: BridgeSession[];
  /** Times of connection attempts, milliseconds of performance.now(). */
  attempts: number[];
  /** The session with this index (0 = first that said hello), now or later. */
  session(index?: number): Promise<BridgeSession>;
  /** Bytes stored for a stream. */
  output(commandId: string, stream: StreamName): Buffer;
  enrolments: unknown[];
  close(): Promise<void>;
}

/** Start a scripted bridge on a free loopback port. */
export async function startScriptedBridge(options: BridgeOptions = {}): Promise<ScriptedBridge> {
  const sessions: BridgeSession[] = [];
  const attempts: number[] = [];
  const enrolments: unknown[] = [];
  const stored = new Map<string, Buffer[]>();
  const sizes = new Map<string, number>();

  const http = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (request.method !== 'POST' || request.url !== '/v1/agents/enrol')
        return response.writeHead(404).end();
      const body = JSON.parse(Buffer.concat(chunks).toString());
      enrolments.push(body);
      if (body.enrolmentToken !== 'one-time') return response.writeHead(401).end('{"code":"unauthorized"}');
      response
        .writeHead(201, { 'content-type': 'application/json' })
        .end(JSON.stringify({ agentId: body.agentId ?? 'enrolled-agent', agentToken: 'enrolled-token' }));
    });
  });
  const wss = new WebSocketServer({ noServer: true, perMessageDeflate: false });
  http.on('upgrade', (request, socket, head) => {
    attempts.push(performance.now());
    socket.on('error', () => {});
    const refusal = options.refuse?.(request);
    if (refusal !== undefined && 'status' in refusal) {
      socket.end(`HTTP/1.1 ${refusal.status} Refused\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    wss.handleUpgrade(request, socket, head, (ws) => {
      if (refusal !== undefined) ws.close(refusal.closeCode);
      else serve(ws, request);
    });
  });

  const store = (frame: FrameOf<'output'>): number => {
    const key = `${frame.commandId}.${frame.stream}`;
    const next = sizes.get(key) ?? 0;
    if (frame.offset !== next) return next;
    const bytes = Buffer.from(frame.bytes, 'base64');
    stored.set(key, [...(stored.get(key) ?? []), bytes]);
    sizes.set(key, next + bytes.length);
    return next + bytes.length;
  };

  const serve = (ws: WebSocket, request: IncomingMessage): void => {
    let session: BridgeSession | null = null;
    ws.on('error', () => {});
    ws.on('message', (data, isBinary) => {
      // Bytes of terminals.
      if (isBinary) return;
      const parsed = parseAgentFrame(data.toString());
      if (parsed.kind !== 'frame')
        throw new Error(`the agent sent a bad frame: ${data.toString().slice(0, 300)}`);
      const { frame } = parsed;
      if (session === null) {
        if (frame.type !== 'hello') throw new Error(`expected hello, got ${frame.type}`);
        session = createSession(ws, request, frame);
        session.send({
          type: 'welcome',
          protocol: 1,
          agentId: frame.agentId,
          epoch: sessions.length + 1,
          presenceIntervalMs: 15_000,
          serverVersion: 'scripted',
          resetJournal: false,
          ...options.welcome?.(frame),
        });
        sessions.push(session);
        return;
      }
      session.frames.push(frame);
      if (frame.type === 'output' && options.ackOutput !== false) {
        const { commandId, stream } = frame;
        session.send({ type: 'outputAck', commandId, stream, nextOffset: store(frame) });
      }
      if (frame.type === 'result' && options.ackResults !== false) {
        session.send({ type: 'resultAck', commandId: frame.commandId });
      }
    });
  };

  await new Promise<void>((resolve) => http.listen(options.port ?? 0, '127.0.0.1', resolve));
  const { port } = http.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    options,
    sessions,
    attempts,
    enrolments,
    session: (index = 0) => waitFor(`session ${index}`, () => sessions[index]),
    output: (commandId, stream) => Buffer.concat(stored.get(`${commandId}.${stream}`) ?? []),
    close: async () => {
      for (const client of wss.clients) client.terminate();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}

function createSession(ws: WebSocket, request: IncomingMessage, hello: Hello): BridgeSession {
  const frames: AgentFrame[] = [];
  const framesOf = <T extends AgentFrame['type']>(type: T, commandId?: string): FrameOf<T>[] =>
    frames.filter(
      (frame): frame is FrameOf<T> =>
        frame.type === type &&
        (commandId === undefined || ('commandId' in frame && frame.commandId === commandId)),
    );
  return {
    hello,
    frames,
    authorization: request.headers.authorization,
    send: (frame) => ws.send(JSON.stringify(frame)),
    sendText: (text) => ws.send(text),
    framesOf,
    frame: (type, commandId) =>
      waitFor(`frame ${type}`, () => framesOf(type, commandId)[0]).catch((error: Error) => {
        const seen = frames.map((f) => (f.type === 'output' ? 'output' : JSON.stringify(f).slice(0, 300)));
        throw new Error(`${error.message}; got ${seen.join('\n')}`);
      }),
    close: (code) => ws.close(code),
    terminate: () => ws.terminate(),
    isOpen: () => ws.readyState === ws.OPEN,
    setReading: (on) => (on ? ws.resume() : ws.pause()),
  };
}

const actDefaults = {
  stdin: null,
  workingDirectory: null,
  environment: {},
  user: null,
  elevated: false,
  timeoutMs: 30_000,
  outputCapBytes: DEFAULT_OUTPUT_CAP_BYTES,
  expiryMs: 60_000,
} as const;

type ActFields = Partial<Omit<Extract<Act, { mode: 'shell' }>, 'mode' | 'script'>>;

/** A shell act (bash unless named). */
export const shellAct = (script: string, fields: ActFields = {}): Act => ({
  ...actDefaults,
  mode: 'shell',
  shell: 'bash',
  ...fields,
  script,
});

/** A direct argv act. */
export const argvAct = (argv: string[], fields: Omit<ActFields, 'shell'> = {}): Act => ({
  ...actDefaults,
  mode: 'argv',
  ...fields,
  argv,
});

/** A run frame for an act, with its true digest. */
export function runFrame(
  act: Act,
  fields: Partial<RunFrame> = {},
  binding: ActBinding = adHocBinding,
): RunFrame {
  return {
    type: 'run',
    commandId: randomUUID(),
    digest: actDigest(act, binding),
    act,
    binding,
    startWithinMs: 60_000,
    resume: false,
    offsets: { stdout: 0, stderr: 0 },
    ...fields,
  };
}

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
