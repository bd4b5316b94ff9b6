/**
 * One session between the agent that has it and the client that reads it. The letters T are those of
 * contracts/terminal-protocol.ts.
 *
 *  A. Bytes go from the agent to the recorder and the client as they come; nothing is kept here but what the client has
 *     not read, and that is at most a window (T2, T3).
 *  B. After an attach, output is only recorded until the agent has answered the last one: what comes before is of an old
 *     position.
 *  C. Input is kept until the PTY has it, and sent again from the offset that the agent names.
 *  D. An agent that came back may go on ahead of what was lost with its connection, before it is asked from where: that
 *     comes again, and is not recorded until then. What it has not kept is missing from where it says that it begins.
 */
import {
  createTerminalEncoder,
  TERMINAL_ACK_EVERY_BYTES,
  TERMINAL_CHUNK_BYTES,
  TERMINAL_INPUT_ACK_EVERY_BYTES,
  TERMINAL_INPUT_WINDOW_BYTES,
  TERMINAL_WINDOW_BYTES,
  type TerminalAgentFrame,
  type TerminalServerFrame,
} from '../../contracts/terminal-protocol.ts';
import type { TerminalSessionRow } from '../../domain/terminal/sessions.ts';
import type { InputLog } from './input-log.ts';
import type { Recorder } from './recorder.ts';

export type ClosedFrame = Extract<TerminalAgentFrame, { type: 'terminal.closed' }>;
type AttachedFrame = Extract<TerminalAgentFrame, { type: 'terminal.attached' }>;

/** Whoever reads and types. */
export interface RelayClient {
  /** It has the session now; output follows from this offset. */
  ready(offset: number): void;
  /** Output that follows what it got before. It acks what it has read. */
  output(offset: number, bytes: Buffer): void;
  /** Too much of what it typed waits (true), or little enough again. */
  hold(isHeld: boolean): void;
  ended(end: {
    reason: string;
    exitCode: number | null;
    signal: number | null;
    survivors: number | null;
  }): void;
  leave(code: number, reason: string): void;
}

export interface RelayDeps {
  session: Pick<TerminalSessionRow, 'id' | 'agentId'>;
  recorder: Recorder;
  inputLog: InputLog;
  /** To the agent's socket, if it is here; false when it is not. */
  send(frame: TerminalServerFrame): boolean;
  sendBytes(frame: Buffer): boolean;
}

export interface Relay {
  readonly agentId: string;
  client(): RelayClient | null;
  /** This one reads and types from now on. Offset null: with all that the agent has kept. */
  take(client: RelayClient, offset: number | null): void;
  /** The first client of a new session: its output begins with the first byte. */
  takeNew(client: RelayClient): void;
  drop(client: RelayClient): void;
  /** The agent is (again) connected, and has the session. */
  agentBack(): void;
  opened(): void;
  attached(frame: AttachedFrame): void;
  /** False: the agent sent more than its window allows; nothing was taken. */
  output(offset: number, bytes: Buffer): boolean;
  inputTaken(offset: number): void;
  /** The client has read up to here. */
  ack(client: RelayClient, offset: number): void;
  /** The recorder can take more. */
  roomToRecord(): void;
  input(bytes: Buffer): void;
  resize(cols: number, rows: number): void;
  close(reason: string): void;
  /** Store what was recorded and logged so far. Never rejects. */
  store(): Promise<void>;
  /** Nothing comes any more: store what was recorded and let the client go. */
  finish(end: Parameters<RelayClient['ended']>[0]): Promise<void>;
}

/** Typed bytes that wait above which a client is held, and below which it goes on. */
const HOLD_INPUT_BYTES = TERMINAL_INPUT_WINDOW_BYTES - TERMINAL_CHUNK_BYTES;
const RELEASE_INPUT_BYTES = HOLD_INPUT_BYTES - TERMINAL_INPUT_ACK_EVERY_BYTES / 2;

export function createRelay(deps: RelayDeps): Relay {
  const { recorder, send } = deps;
  const { id: sessionId, agentId } = deps.session;
  const encode = createTerminalEncoder('input', sessionId);
  let client: RelayClient | null = null;
  let isNew = false;
  /** The last attach is out and not answered (B). */
  let attaching: { id: number; isForClient: boolean; offset: number | null } | null = null;
  let attaches = 0;
  /** Output the client was given, and has read. */
  let given = 0;
  let read = 0;
  let ackTold = 0;
  let waiting: { offset: number; bytes: Buffer }[] = [];
  let inputEnd = 0;
  let inputTaken = 0;
  let isHeld = false;
  /** What an agent that was away may not have heard. */
  let size: { cols: number; rows: number } | null = null;
  let endReason: string | null = null;

  const tellAck = (): void => {
    if (attaching !== null || client === null || !recorder.hasRoom()) return;
    if (read - ackTold < TERMINAL_ACK_EVERY_BYTES) return;
    if (send({ type: 'terminal.ack', sessionId, offset: read })) ackTold = read;
  };
  const attach = (isForClient: boolean, offset: number | null): void => {
    const id = attaches++;
    attaching = { id, isForClient, offset };
    send({ type: 'terminal.attach', sessionId, offset, attended: client !== null, attachId: id });
  };
  const sendInput = ({ offset, bytes }: { offset: number; bytes: Buffer }): void =>
    void deps.sendBytes(encode(offset, bytes));
  const tellSize = (): void => void (size !== null && send({ type: 'terminal.resize', sessionId, ...size }));
  const tellEnd = (): void =>
    void (endReason !== null && send({ type: 'terminal.close', sessionId, reason: endReason }));
  const releaseInput = (taken: number): void => {
    inputTaken = Math.max(inputTaken, taken);
    waiting = waiting.filter(({ offset, bytes }) => offset + bytes.length > inputTaken);
    if (!isHeld || inputEnd - inputTaken > RELEASE_INPUT_BYTES) return;
    isHeld = false;
    client?.hold(false);
  };

  const store = async (): Promise<void> => {
    await Promise.all([recorder.flush(), deps.inputLog.flush()]);
  };

  return {
    agentId,
    store,
    client: () => client,
    take(next, offset) {
      client = next;
      isNew = false;
      isHeld = false;
      attach(true, offset);
    },
    takeNew(next) {
      client = next;
      isNew = true;
    },
    drop(gone) {
      if (client !== gone) return;
      client = null;
      send({ type: 'terminal.detach', sessionId });
    },
    agentBack() {
      tellSize();
      tellEnd();
      if (attaching?.isForClient) return attach(true, attaching.offset);
      // Not made before the connection broke, or made and `terminal.opened` was lost: the answer tells.
      attach(false, client === null ? recorder.offset() : given);
    },
    opened() {
      if (!isNew) return;
      isNew = false;
      client?.ready(0);
    },
    attached({ offset, inputOffset, attachId }) {
      if (attaching === null || (attachId !== undefined && attachId !== attaching.id)) return;
      const isFirst = attaching.isForClient || isNew;
      attaching = null;
      isNew = false;
      given = offset;
      read = offset;
      ackTold = offset;
      inputEnd = Math.max(inputEnd, inputOffset);
      // A relay of a new process begins where the agent is.
      if (waiting.length === 0) inputTaken = Math.max(inputTaken, inputOffset);
      if (isFirst) client?.ready(offset);
      for (const piece of waiting) if (piece.offset + piece.bytes.length > inputOffset) sendInput(piece);
      releaseInput(inputTaken);
    },
    output(offset, bytes) {
      const isWithin = offset + bytes.length <= ackTold + TERMINAL_WINDOW_BYTES + TERMINAL_CHUNK_BYTES;
      if (attaching === null && !isWithin) return false;
      // D
      if (offset <= recorder.offset() || (attaching === null && offset === given))
        recorder.output(offset, bytes);
      if (attaching !== null || client === null || offset !== given) return true;
      given += bytes.length;
      client.output(offset, bytes);
      return true;
    },
    inputTaken: releaseInput,
    ack(from, offset) {
      if (from !== client || offset <= read || offset > given) return;
      read = offset;
      tellAck();
    },
    roomToRecord: tellAck,
    input(bytes) {
      deps.inputLog.add(bytes);
      recorder.input(bytes);
      for (let at = 0; at < bytes.length; at += TERMINAL_CHUNK_BYTES) {
        const piece = { offset: inputEnd, bytes: bytes.subarray(at, at + TERMINAL_CHUNK_BYTES) };
        inputEnd += piece.bytes.length;
        waiting.push(piece);
        if (attaching === null) sendInput(piece);
      }
      if (isHeld || inputEnd - inputTaken < HOLD_INPUT_BYTES) return;
      isHeld = true;
      client?.hold(true);
    },
    resize(cols, rows) {
      recorder.resize(cols, rows);
      size = { cols, rows };
      tellSize();
    },
    close(reason) {
      endReason ??= reason;
      tellEnd();
    },
    async finish(end) {
      const last = client;
      client = null;
      await store();
      last?.ended(end);
    },
  };
}
