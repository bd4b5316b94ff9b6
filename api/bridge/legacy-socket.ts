/**
 * The socket of an agent that speaks one of the dialects: to the bridge it is one like every other, with a new journal
 * at every connection. The invariants are those of agent-socket.ts, and:
 *
 *  H. A command is written to the peer at most once: only a run frame that is no resume is, and no connection offers
 *     what an earlier one has sent (its journal is another, so the ledger calls it `unknown`).
 *  I. What such an agent cannot be told, or would do otherwise than it was decided, is `rejected` here and never sent.
 *  J. An answer counts for the command it names and no other, however late.
 */
import type { WebSocket } from 'ws';
import {
  type AgentFrame,
  closeCodes,
  type Hello,
  NO_DIGEST,
  type RunFrame,
  type ServerFrame,
} from '../../contracts/agent-protocol.ts';
import type { Evidence } from '../../domain/commands/journal-less.ts';
import type { AgentSocket, AgentSocketHandlers, BesideFrame, Session } from './agent-socket.ts';
import { now } from './dialects/dialect.ts';
import { parseLegacyFrame } from './dialects/events.ts';
import { canElevate, type Registration } from './dialects/registration.ts';
import type { LegacyResult } from './dialects/result.ts';
import { unfitness } from './legacy-fitness.ts';
import { errorText, keep, outputFrames, resultFrame, summaryOf, welcomeText } from './legacy-frames.ts';
import { createWire } from './wire.ts';

/** Malformed frames answered before the socket is closed. */
const MAX_BAD_FRAMES = 20;
/** Commands out that are remembered without asking the ledger; the agent may never answer them. */
const MAX_REMEMBERED = 1_000;
/** What a frame without output counts in the bounds, bytes. */
const SMALL_FRAME_BYTES = 256;
/** Largest frame whose description of the machine is passed on, characters. */
const MAX_SYSTEM_INFO_CHARACTERS = 64 * 1024;
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

export interface LegacySocket extends AgentSocket {
  /** Texts that came before there was a socket to read them; then its own. Begins the connection. */
  begin(early: readonly string[]): void;
}

export function createLegacySocket(
  ws: WebSocket,
  { agentId, address, hello, registration }: LegacyIdentity,
  handlers: AgentSocketHandlers,
  ledger: LegacyLedger,
): LegacySocket {
  const { dialect } = registration;
  /** Commands written to the peer and not answered, oldest first. */
  const out = new Map<string, Evidence>();
  /** One that was written is not in `out` any more, and was not answered. */
  let hasForgotten = false;
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
    // An agent that is idle and there: some send no heartbeats.
    onPong: () => present(),
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

  const present = (systemInfo?: BesideFrame['systemInfo']): void => {
    if (session === undefined) return;
    const frame = { type: 'presence', journalSeq: 0, running: out.size, metrics: null } as const;
    wire.received(SMALL_FRAME_BYTES);
    handlers.onFrame(socket, frame, SMALL_FRAME_BYTES, { systemInfo });
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
    if (out.size >= MAX_REMEMBERED && oldest !== undefined) hasForgotten = out.delete(oldest);
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
    const [oldest] = refused;
    if (refused.size >= MAX_REMEMBERED && oldest !== undefined) refused.delete(oldest);
    refused.add(commandId);
    // It may be one of those.
    if (hasForgotten) return;
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
    // Not `report`: it is evidence even when the peer has gone meanwhile.
    const say = (frame: AgentFrame, bytes = SMALL_FRAME_BYTES): void => {
      wire.received(bytes);
      handlers.onFrame(socket, frame, bytes, { journalId });
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
        return present();
      case 'alive':
        return present(text.length <= MAX_SYSTEM_INFO_CHARACTERS ? event.systemInfo : undefined);
      case 'register':
        // Said again: who it is and how it speaks was settled by the first.
        return present(text.length <= MAX_SYSTEM_INFO_CHARACTERS ? event.systemInfo : undefined);
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
    keepsJournal: false,
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
        case 'presenceRequest':
          return void wire.send(JSON.stringify({ type: 'system_info_request', timestamp: now() }));
        default:
          return; // Acks: these agents wait for none.
      }
    },
    drained: wire.drained,
    stored: wire.stored,
    close: wire.close,
    checkAlive: wire.checkAlive,
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

const asBuffer = (data: Buffer | ArrayBuffer | Buffer[]): Buffer => {
  if (Array.isArray(data)) return Buffer.concat(data);
  return Buffer.isBuffer(data) ? data : Buffer.from(data);
};
