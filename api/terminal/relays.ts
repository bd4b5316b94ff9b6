/**
 * The sessions whose agents are connected to this process. The agent keeps a session and its output alive; a relay can
 * go and be made again: after a restart of the API, from what the agent names.
 *
 * An agent's socket is in one process of the API, and its terminals are only there.
 */
import type { TerminalAgentFrame, TerminalServerFrame } from '../../contracts/terminal-protocol.ts';
import { decodeTerminalBytes } from '../../contracts/terminal-protocol.ts';
import { terminalCloseCodes } from '../../contracts/terminals.ts';
import type { DomainDeps, Log } from '../../domain/deps.ts';
import type { TerminalLimits } from '../../domain/terminal/limits.ts';
import { writeTerminalLog } from '../../domain/terminal/log.ts';
import { storeRecording } from '../../domain/terminal/recording.ts';
import type { TerminalSessionRow } from '../../domain/terminal/sessions.ts';
import {
  isAgentElsewhere,
  lost,
  noteTerminalOpened,
  reconcileTerminals,
  recordTerminalEnd,
} from '../../domain/terminal/sessions.ts';
import type { AgentSocket } from '../bridge/agent-socket.ts';
import type { Registry } from '../bridge/registry.ts';
import { createLanes } from '../lanes.ts';
import { createInputLog } from './input-log.ts';
import { createRecorder } from './recorder.ts';
import { type ClosedFrame, createRelay, type Relay, type RelayClient } from './relay.ts';

/** What the bridge hands over. */
export interface TerminalPort {
  /** Rejects when it could not be looked up or written down. */
  onFrame(socket: AgentSocket, frame: TerminalAgentFrame): Promise<void>;
  /** False: that is no output, or more than its window allows. */
  onBytes(socket: AgentSocket, frame: Buffer): boolean;
}

export interface Relays extends TerminalPort {
  /** A session that was just written down: tell its agent, and give it to this client. Null: the agent has just gone. */
  open(session: TerminalSessionRow, client: RelayClient, limits: TerminalLimits): Promise<Relay | null>;
  /** The relay of a session whose agent is here. */
  find(sessionId: string): Relay | undefined;
  /** Whether this process holds the agent's socket. */
  hasAgent(agentId: string): boolean;
  /** Somebody asked for the end of a session. */
  end(agentId: string, sessionId: string, reason: string): void;
  /** A session was ended in the database. */
  ended(sessionId: string): void;
  /** An agent said hello somewhere. */
  agentConnected(agentId: string): void;
  /** Store what was recorded. The sessions live on. */
  close(): Promise<void>;
}

export function createRelays(deps: {
  domain: DomainDeps;
  registry: Pick<Registry, 'find'>;
  bridgeId: string;
  log: Log;
}): Relays {
  const { domain, registry, log } = deps;
  const relays = new Map<string, Relay>();
  /** By agent. */
  const inLane = createLanes<string>();

  const sendTo = (agentId: string, frame: TerminalServerFrame): boolean => {
    const socket = registry.find(agentId);
    if (socket?.live() === undefined) return false;
    socket.send(frame);
    return true;
  };
  const sendBytesTo = (agentId: string, frame: Buffer): boolean => {
    const socket = registry.find(agentId);
    if (socket?.live() === undefined || socket.sendBytes === undefined) return false;
    socket.sendBytes(frame);
    return true;
  };

  const make = (session: TerminalSessionRow): Relay => {
    const { id: sessionId, agentId } = session;
    const onError = (err: unknown): void => log.error({ event: 'terminal_record_failed', sessionId, err });
    const relay: Relay = createRelay({
      session,
      recorder: createRecorder({
        sessionId,
        startedAt: session.createdAt,
        isOn: session.isRecorded,
        recordsInput: session.recordsInput,
        resume: {
          offset: session.recordedOffset,
          bytes: session.recordingBytes,
          isTruncated: session.recordingTruncated,
        },
        store: (chunk) => storeRecording(domain, chunk),
        onRoom: () => relay.roomToRecord(),
        onError,
      }),
      inputLog: createInputLog({
        showsInput: session.recordsInput,
        write: (entry) => writeTerminalLog(domain.db, session, { event: 'input', ...entry }),
        onError,
      }),
      send: (frame) => sendTo(agentId, frame),
      sendBytes: (frame) => sendBytesTo(agentId, frame),
    });
    relays.set(sessionId, relay);
    return relay;
  };

  const finish = async (sessionId: string, end: Parameters<Relay['finish']>[0]): Promise<void> => {
    const relay = relays.get(sessionId);
    relays.delete(sessionId);
    await relay?.finish(end);
  };

  const closed = async (agentId: string, frame: ClosedFrame): Promise<void> => {
    const { sessionId, reason, exitCode, signal, survivors, outputBytes } = frame;
    const relay = relays.get(sessionId);
    relays.delete(sessionId);
    const end = { reason, exitCode, signal, survivors };
    // What was seen and typed stands in the database before its end does.
    await relay?.store();
    try {
      await recordTerminalEnd(domain, { id: sessionId, agentId }, { ...end, outputBytes });
      sendTo(agentId, { type: 'terminal.closedAck', sessionId });
    } finally {
      await relay?.finish(end);
    }
  };

  const alive = async (socket: AgentSocket, sessionIds: readonly string[]): Promise<void> => {
    const { agentId } = socket;
    const epoch = socket.session()?.epoch;
    // It has connected again meanwhile: what lived at that time is told anew.
    const isReplaced = (): boolean => registry.find(agentId) !== socket;
    if (epoch === undefined || isReplaced()) return;
    const { living, lostIds } = await reconcileTerminals(domain, { agentId, epoch }, sessionIds);
    for (const id of lostIds) await finish(id, lost);
    if (isReplaced()) return;
    const known = new Set(living.map(({ id }) => id));
    for (const sessionId of sessionIds) {
      if (!known.has(sessionId)) sendTo(agentId, { type: 'terminal.close', sessionId, reason: 'unknown' });
    }
    for (const session of living) {
      const relay = relays.get(session.id) ?? make(session);
      relay.agentBack();
      if (session.endRequestedAt !== null) relay.close(session.endRequestedReason ?? 'ended by request');
    }
  };

  return {
    async onFrame(socket, frame) {
      const { agentId } = socket;
      if (frame.type === 'terminal.alive') return inLane(agentId, () => alive(socket, frame.sessionIds));
      const relay = relays.get(frame.sessionId);
      if (relay !== undefined && relay.agentId !== agentId) return;
      switch (frame.type) {
        case 'terminal.opened':
          relay?.opened();
          return inLane(agentId, () => noteTerminalOpened(domain, { ...frame, agentId }));
        case 'terminal.attached':
          return relay?.attached(frame);
        case 'terminal.inputAck':
          return relay?.inputTaken(frame.offset);
        case 'terminal.closed':
          return inLane(agentId, () => closed(agentId, frame));
      }
    },
    onBytes(socket, bytes) {
      const frame = decodeTerminalBytes(bytes);
      if (frame?.kind !== 'output' || !socket.session()?.hello.capabilities.includes('terminal'))
        return false;
      const relay = relays.get(frame.sessionId);
      // Of a session that has ended here meanwhile.
      if (relay?.agentId !== socket.agentId) return relay === undefined;
      return relay.output(frame.offset, frame.bytes);
    },
    async open(session, client, limits) {
      const { id: sessionId, agentId, cols, rows } = session;
      const relay = make(session);
      relay.takeNew(client);
      const { idleMs, detachedMs, maxMs } = limits;
      if (sendTo(agentId, { type: 'terminal.open', sessionId, cols, rows, idleMs, detachedMs, maxMs })) {
        return relay;
      }
      relays.delete(sessionId);
      await recordTerminalEnd(domain, session, lost);
      return null;
    },
    find: (sessionId) => relays.get(sessionId),
    hasAgent: (agentId) => registry.find(agentId)?.live() !== undefined,
    end: (agentId, sessionId, reason) => void sendTo(agentId, { type: 'terminal.close', sessionId, reason }),
    ended: (sessionId) => void finish(sessionId, lost),
    agentConnected(agentId) {
      const ours = [...relays].filter(([, relay]) => relay.agentId === agentId);
      if (ours.length === 0) return;
      isAgentElsewhere(domain, agentId, deps.bridgeId)
        .then((isElsewhere) => {
          if (!isElsewhere) return;
          for (const [sessionId, relay] of ours) {
            relays.delete(sessionId);
            relay.client()?.leave(terminalCloseCodes.moved, 'the agent is connected elsewhere; come back');
          }
        })
        .catch((err: unknown) => log.warn({ event: 'terminal_move_unknown', agentId, err }));
    },
    async close() {
      await Promise.all([...relays.values()].map((relay) => relay.store()));
    },
  };
}
