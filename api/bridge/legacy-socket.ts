/**
 * The socket of an agent that speaks one of the dialects: to the bridge it is one like every other, with a new journal
 * at every connection. The invariants are those of agent-socket.ts, and:
 *
 *  H. A command is written to the peer at most once: only a run frame that is no resume is, and no connection offers
 *     what an earlier one has sent (its journal is another, so the ledger calls it `unknown`).
 *  I. What such an agent cannot be told, or would do otherwise than it was decided, is `rejected` here and never sent.
 *  J. An answer counts for the command it names and no other, however late.
 */
import { createHash } from 'node:crypto';
import type { WebSocket } from 'ws';
import { type Act, actDigest } from '../../contracts/act.ts';
import {
  type AgentFrame,
  closeCodes,
  type Hello,
  NO_DIGEST,
  OUTPUT_CHUNK_BYTES,
  type RunFrame,
  type ServerFrame,
  type StreamName,
  type StreamSummary,
} from '../../contracts/agent-protocol.ts';
import type { Evidence } from '../../domain/commands/journal-less.ts';
import type { AgentSocket, AgentSocketHandlers, Session } from './agent-socket.ts';
import { now } from './dialects/dialect.ts';
import { parseLegacyFrame } from './dialects/events.ts';
import { canElevate, type Registration } from './dialects/registration.ts';
import type { LegacyResult } from './dialects/result.ts';
import { createWire } from './wire.ts';

/** Malformed frames answered before the socket is closed. */
const MAX_BAD_FRAMES = 20;
/** Commands out that are remembered without asking the ledger; the agent may never answer them. */
const MAX_REMEMBERED = 1_000;
/** What a frame without output counts in the bounds, bytes. */
const SMALL_FRAME_BYTES = 256;
/** Frames of one socket that are logged because they were passed over. */
const MAX_LOGGED = 20;

export interface LegacyIdentity {
  agentId: string;
  address: string;
  hello: Hello;
  registration: Registration;
}

/** The ledger's side of an agent without a journal (domain/commands/journal-less.ts). */
export interface LegacyLedger {
  expectAnswers(commandIds: readonly string[]): Promise<void>;
  findEvidence(agentId: string, commandId: string): Promise<Evidence | undefined>;
}

export interface LegacyHandlers extends AgentSocketHandlers {
  onSystemInfo?(socket: AgentSocket, info: Readonly<Record<string, unknown>>): void;
}

export interface LegacySocket extends AgentSocket {
  /** Texts that came before there was a socket to read them; then its own. Begins the connection. */
  begin(early: readonly string[]): void;
}

/** The welcome of all dialects. */
export const welcomeText = (agentId: string, connectionId: string): string =>
  JSON.stringify({
    type: 'welcome',
    data: { agent_id: agentId, connection_id: connectionId, message: 'Connected' },
    timestamp: now(),
  });

/** The error frame of all dialects. */
export const errorText = (message: string): string =>
  JSON.stringify({ type: 'error', data: { message }, timestamp: now() });

export function createLegacySocket(
  ws: WebSocket,
  { agentId, address, hello, registration }: LegacyIdentity,
  handlers: LegacyHandlers,
  ledger: LegacyLedger,
): LegacySocket {
  const { dialect } = registration;
  /** Commands written to the peer and not answered, oldest first. */
  const out = new Map<string, Evidence>();
  /** Commands whose cancel came before their run frame. */
  const refused = new Set<string>();
  let session: Session | undefined;
  let isLive = false;
  let waiting: string[] = [];
  let badFrames = 0;
  let logged = 0;
  let written: string[] = [];
  let lookUps: Promise<void> = Promise.resolve();

  const wire = createWire(ws, {
    onProblem: (fields) => handlers.onProblem(socket, fields),
    onClosed() {
      const ended = session;
      session = undefined;
      handlers.onClose(socket, ended);
    },
    onPong: () => report({ type: 'presence', journalSeq: 0, running: out.size, metrics: null }),
  });

  const problem = (fields: { event: string; [field: string]: unknown }): void => {
    logged += 1;
    if (logged <= MAX_LOGGED) handlers.onProblem(socket, fields);
  };

  /** Tell the bridge, as the agent would. */
  const report = (frame: AgentFrame, bytes = SMALL_FRAME_BYTES): void => {
    if (session === undefined) return;
    wire.received(bytes);
    handlers.onFrame(socket, frame, bytes);
  };

  const answerUnrun = (run: RunFrame, outcome: 'rejected' | 'canceled', reason: string): void =>
    report(resultFrame(run.commandId, run.digest, { outcome, reason }));

  const run = (frame: RunFrame): void => {
    if (frame.resume) return; // H
    if (refused.delete(frame.commandId)) return answerUnrun(frame, 'canceled', 'canceled');
    const reason = unfitness(frame, hello, canElevate(registration));
    if (reason !== undefined) return answerUnrun(frame, 'rejected', reason); // I
    const { act, commandId, digest } = frame;
    if (act.mode !== 'shell') return;
    const isWritten = wire.send(
      JSON.stringify(
        dialect.commandFrame({
          commandId,
          shell: act.shell,
          script: act.script,
          workingDirectory: act.workingDirectory,
          elevated: act.elevated,
          timeoutSeconds: Math.max(1, Math.ceil(act.timeoutMs / 1000)),
        }),
      ),
    );
    if (!isWritten) return;
    const [oldest] = out.keys();
    if (out.size >= MAX_REMEMBERED && oldest !== undefined) out.delete(oldest);
    out.set(commandId, { digest, journalId: hello.journalId, outputCapBytes: act.outputCapBytes });
    expectAnswer(commandId);
  };

  /** Set-based: all that left in this turn. */
  const expectAnswer = (commandId: string): void => {
    written.push(commandId);
    if (written.length > 1) return;
    setImmediate(() => {
      const commandIds = written;
      written = [];
      ledger
        .expectAnswers(commandIds)
        // Then they are overdue later, or unknown at the next connection.
        .catch((error: unknown) => problem({ event: 'answers_not_expected', err: error }));
    });
  };

  /** There is no word for it in any dialect: what has left goes on, what has not never will. */
  const cancel = (commandId: string, reason: string): void => {
    if (out.has(commandId)) return;
    if (refused.size < MAX_REMEMBERED) refused.add(commandId);
    report(resultFrame(commandId, NO_DIGEST, { outcome: 'canceled', reason }));
  };

  const takeResult = (result: LegacyResult, bytes: number): void => {
    const { commandId } = result;
    if (commandId === undefined) return problem({ event: 'legacy_result_unknown', reason: 'foreign_id' });
    const known = out.get(commandId);
    if (known !== undefined) {
      out.delete(commandId);
      return reportResult(commandId, result, known);
    }
    // One at a time: a peer that floods takes one connection of the pool, and is not read while it waits (B).
    wire.received(bytes);
    lookUps = lookUps
      .then(() => ledger.findEvidence(agentId, commandId))
      .then((evidence) => {
        if (evidence === undefined) problem({ event: 'legacy_result_unknown', commandId });
        else reportResult(commandId, result, evidence);
      })
      .catch((error: unknown) => problem({ event: 'legacy_result_lost', commandId, err: error }))
      .finally(() => wire.stored(bytes));
  };

  const reportResult = (commandId: string, result: LegacyResult, evidence: Evidence): void => {
    const { digest, journalId, outputCapBytes } = evidence;
    const say = (frame: AgentFrame, bytes?: number): void => {
      if (session === undefined) return;
      wire.received(bytes ?? SMALL_FRAME_BYTES);
      handlers.onFrame(socket, frame, bytes ?? SMALL_FRAME_BYTES, journalId);
    };
    const kept = { stdout: keep(result.stdout, outputCapBytes), stderr: keep(result.stderr, outputCapBytes) };
    for (const stream of ['stdout', 'stderr'] as const) {
      for (const frame of outputFrames(commandId, stream, kept[stream])) say(frame, frame.bytes.length);
    }
    const { outcome, exitCode, reason, durationMs } = result;
    say(
      resultFrame(commandId, digest, {
        outcome,
        exitCode,
        reason,
        durationMs,
        finishedAt: now(),
        stdout: summaryOf(kept.stdout, result.stdout.length),
        stderr: summaryOf(kept.stderr, result.stderr.length),
      }),
    );
  };

  const read = (text: string): void => {
    const event = parseLegacyFrame(text);
    switch (event.kind) {
      case 'result':
        return takeResult(event.result, text.length);
      case 'ping':
        wire.send(JSON.stringify({ type: 'pong', timestamp: now() }));
        return report({ type: 'presence', journalSeq: 0, running: out.size, metrics: null });
      case 'alive':
        report({ type: 'presence', journalSeq: 0, running: out.size, metrics: event.metrics });
        if (event.systemInfo !== undefined && text.length <= MAX_SYSTEM_INFO_BYTES)
          handlers.onSystemInfo?.(socket, event.systemInfo);
        return;
      case 'register':
        // Said again: who it is and how it speaks was settled by the first.
        return report({ type: 'presence', journalSeq: 0, running: out.size, metrics: null });
      case 'other':
        return problem({ event: 'legacy_frame_passed_over', frameType: event.frameType });
      case 'malformed':
        badFrames += 1;
        if (badFrames > MAX_BAD_FRAMES) return wire.close(closeCodes.policy, 'too many bad frames');
        wire.send(errorText(event.message));
    }
  };

  const receive = (text: string): void => {
    if (wire.isDeaf()) return;
    if (isLive) return read(text);
    wire.received(text.length); // B
    waiting.push(text);
  };

  const readWaiting = (): void => {
    isLive = true;
    const texts = waiting;
    waiting = [];
    for (const text of texts) {
      wire.stored(text.length);
      if (!wire.isDeaf()) read(text);
    }
  };

  const socket: LegacySocket = {
    agentId,
    address,
    live: () => (wire.isClosing() ? undefined : session),
    session: () => session,
    accept(epoch, accepted) {
      if (session !== undefined || wire.isClosing()) return;
      session = { epoch, hello: accepted };
      // After the bridge has registered this socket, which it does in this very turn.
      queueMicrotask(readWaiting);
    },
    send(frame: ServerFrame) {
      switch (frame.type) {
        case 'welcome':
          return void wire.send(welcomeText(agentId, hello.journalId));
        case 'run':
          return run(frame);
        case 'cancel':
          return cancel(frame.commandId, frame.reason);
        case 'error':
          return void wire.send(errorText(frame.message));
        default:
          return; // Acks: these agents wait for none.
      }
    },
    drained: wire.drained,
    stored: wire.stored,
    close: wire.close,
    checkAlive: wire.checkAlive,
    askForPresence: () => void wire.send(JSON.stringify({ type: 'system_info_request', timestamp: now() })),
    begin(early) {
      ws.on('message', (data, isBinary) => {
        // Some libraries send text as binary.
        receive(isBinary ? asBuffer(data).toString('utf8') : data.toString());
      });
      early.forEach(receive);
      handlers.onHello(socket, hello).catch((error: unknown) => {
        handlers.onProblem(socket, { event: 'agent_hello_failed', err: error });
        wire.close(closeCodes.goingAway, 'could not connect the agent; try again');
      });
    },
  };
  return socket;
}

/** Largest frame whose description of the machine is passed on, bytes. */
const MAX_SYSTEM_INFO_BYTES = 64 * 1024;

const asBuffer = (data: Buffer | ArrayBuffer | Buffer[]): Buffer => {
  if (Array.isArray(data)) return Buffer.concat(data);
  return Buffer.isBuffer(data) ? data : Buffer.from(data);
};

/** Why these agents cannot run this act as it was decided, or undefined when they can. */
function unfitness({ act, binding, digest }: RunFrame, hello: Hello, mayElevate: boolean): string | undefined {
  if (actDigest(act, binding) !== digest) return 'digest_mismatch';
  if (act.mode !== 'shell') return 'argv_not_available';
  if (!hello.shells.includes(act.shell)) return 'shell_not_found';
  if (act.elevated && !mayElevate) return 'elevation_not_available';
  return untellable(act);
}

/** No frame of a dialect has a place for these. */
function untellable(act: Act): string | undefined {
  if (act.user !== null) return 'run_as_not_available';
  if (act.stdin !== null) return 'stdin_not_available';
  if (Object.keys(act.environment).length > 0) return 'environment_not_available';
  return undefined;
}

const keep = (bytes: Buffer, capBytes: number): Buffer => bytes.subarray(0, capBytes);

function* outputFrames(commandId: string, stream: StreamName, bytes: Buffer) {
  for (let offset = 0; offset < bytes.length; offset += OUTPUT_CHUNK_BYTES) {
    const chunk = bytes.subarray(offset, offset + OUTPUT_CHUNK_BYTES);
    yield { type: 'output', commandId, stream, offset, bytes: chunk.toString('base64') } as const;
  }
}

const summaryOf = (kept: Buffer, totalBytes: number): StreamSummary => ({
  bytes: kept.length,
  totalBytes,
  sha256: createHash('sha256').update(kept).digest('hex'),
  truncated: totalBytes > kept.length,
});

type ResultFrame = Extract<AgentFrame, { type: 'result' }>;

const nothing = Buffer.alloc(0);

const resultFrame = (
  commandId: string,
  digest: string,
  given: Pick<ResultFrame, 'outcome' | 'reason'> & Partial<ResultFrame>,
): ResultFrame => ({
  type: 'result',
  commandId,
  digest,
  exitCode: null,
  signal: null,
  startedAt: null,
  finishedAt: null,
  durationMs: null,
  stdout: summaryOf(nothing, 0),
  stderr: summaryOf(nothing, 0),
  ...given,
});
