/**
 * The bridge: agents' sockets on one side, the ledger on the other. This file ties the parts together:
 *
 *   agent-socket.ts      one socket (invariants A to C)       registry.ts           who is connected here
 *   scanner.ts           rows → sockets (D, E)                recorder.ts           reports → rows
 *   offers.ts            commands → frames (F, G)             presence-reports.ts   presence → rows
 *   legacy-routes.ts     agents without a journal (K)         legacy-socket.ts      one of them (H to J)
 */
import {
  agentIdSchema,
  closeCodes,
  type Hello,
  PING_INTERVAL_MS,
  PRESENCE_INTERVAL_MS,
  PROTOCOL_VERSION,
  type TerminalAgentFrame,
} from '../../contracts/agent-protocol.ts';
import { isProblem } from '../../contracts/errors.ts';
import { agentTaskQueue } from '../../contracts/workflow-io.ts';
import { connectAgent, disconnectAgent } from '../../domain/agents/connections.ts';
import type { PresencePort } from '../../domain/agents/presence.ts';
import type { DomainDeps, Log } from '../../domain/deps.ts';
import { createLimiter, type Limiter } from '../../domain/identity/limit-concurrency.ts';
import type { Authenticate } from '../context.ts';
import { createLanes } from '../lanes.ts';
import type { TerminalPort } from '../terminal/relays.ts';
import type { UpgradeRoute } from '../upgrade.ts';
import {
  type AgentSocket,
  type AgentSocketHandlers,
  closeReasons,
  createAgentSocket,
  type Session,
} from './agent-socket.ts';
import { createOffers } from './offers.ts';
import { createPresenceReports } from './presence-reports.ts';
import { createRecorder } from './recorder.ts';
import type { Registry } from './registry.ts';
import { createScanner } from './scanner.ts';

/** Longest wait for reports to be stored when the bridge closes, milliseconds. */
const CLOSE_FLUSH_MS = 5_000;
/** Sockets of one agent that may be open at once, all but one of them on their way in or out; more are refused. */
const MAX_SOCKETS_OF_AGENT = 16;
/**
 * When thousands return at once they take turns, so that the first are welcomed while the last wait, nobody's wait for a
 * connection of the pool runs out, and other requests find one. Credentials looked up, hellos, and ends stored at a time.
 */
const UPGRADES_AT_ONCE = 4;
const HELLOS_AT_ONCE = 8;
const ENDS_AT_ONCE = 2;
/** Error frames of one socket that are logged. */
const MAX_LOGGED_ERRORS = 20;

export interface BridgeDeps {
  domain: DomainDeps;
  registry: Registry;
  authenticate: Authenticate;
  /** Identity of this process among the bridges. */
  bridgeId: string;
  serverVersion: string;
  /** What agents say of terminals. */
  terminals: TerminalPort;
  /** Where agents with Temporal delivery connect. */
  temporal: { address: string; namespace: string };
  log: Log;
}

/** What an agent came with. */
export interface SocketCredential {
  /** Id of the agent's own token; undefined when it was another credential. */
  tokenId: string | undefined;
  /** Asked once its hello is stored. */
  isGood(): Promise<boolean>;
}

export interface Bridge {
  upgradeRoute: UpgradeRoute;
  /** Whether one more socket of this agent may be opened. */
  hasRoomFor(agentId: string): boolean;
  /** Serve a socket, whatever is spoken on it; undefined when the agent has too many. */
  attach<S extends AgentSocket>(
    agentId: string,
    make: (handlers: AgentSocketHandlers) => S,
    credential: SocketCredential,
  ): S | undefined;
  /** Look at the rows of these agents now (or of all agents connected here). */
  wake(agentIds: readonly string[] | '*'): void;
  /** Close an agent's socket here, if it has one: its credential is gone. */
  expel(agentId: string): void;
  /** Another bridge accepted a hello of this agent at that epoch: close the older socket here, if there is one. */
  supersede(agentId: string, epoch: number): void;
  /** A cancel of this command was asked for. */
  cancel(agentId: string, commandId: string, reason: string): void;
  /** An operator wants this agent to take nothing new, or lets it work again. */
  hold(agentId: string, isHeld: boolean): void;
  /** Ask this agent to report now, if it is connected here. */
  askPresence(agentId: string): void;
  /** Takes what agents say of themselves by other ways than their socket. */
  presence: PresencePort;
  /** Stop accepting, tell the agents, store what they reported. Idempotent. */
  close(): Promise<void>;
}

export function createBridge(deps: BridgeDeps): Bridge {
  const { domain, registry, log } = deps;
  const closing = new Set<Promise<void>>();
  const inLane = createLanes<AgentSocket>();
  const errors = new WeakMap<AgentSocket, number>();
  let closed: Promise<void> | undefined;
  const upgradeTurn = createTurns(UPGRADES_AT_ONCE);
  const helloTurn = createTurns(HELLOS_AT_ONCE);
  const endTurn = createTurns(ENDS_AT_ONCE);

  const recorder = createRecorder({
    domain,
    acknowledge(ack) {
      const socket = registry.find(ack.agentId);
      if (ack.kind === 'result') return socket?.send({ type: 'resultAck', commandId: ack.commandId });
      const { commandId, stream, nextOffset } = ack;
      socket?.send({ type: 'outputAck', commandId, stream, nextOffset });
    },
    onLost(sockets, error) {
      log.error({ event: 'reports_not_stored', agents: sockets.size, err: error });
      for (const socket of sockets)
        socket.close(closeCodes.goingAway, 'could not store reports; connect again');
    },
  });

  const presence = createPresenceReports({ domain, bridgeId: deps.bridgeId, log });
  const { offerAll, claim } = createOffers({ domain, log });
  const cancel = (agentId: string, commandId: string, reason: string): void =>
    registry.find(agentId)?.send({ type: 'cancel', commandId, reason });
  const scanner = createScanner({
    domain,
    registry,
    offer: (socket, commands) => track(offerAll(socket, commands)),
    cancel,
    log,
  });

  const onHello = async (socket: AgentSocket, hello: Hello, credential: SocketCredential): Promise<void> => {
    // It gave up while it waited.
    if (!pending.has(socket)) return;
    let connected: Awaited<ReturnType<typeof connectAgent>>;
    try {
      const { tokenId } = credential;
      const { address, keepsJournal } = socket;
      const { bridgeId } = deps;
      connected = await connectAgent(domain, { hello, bridgeId, address, tokenId, keepsJournal });
    } catch (error) {
      if (isProblem(error, 'agent_revoked') || isProblem(error, 'agent_not_found')) {
        return socket.close(closeCodes.revoked, error.code);
      }
      throw error;
    }
    // Revoked between the upgrade and the hello: later than `connected_at` nobody would notice.
    if (!(await credential.isGood())) {
      await disconnectAgent(domain, hello.agentId, connected.epoch);
      return socket.close(closeCodes.revoked, closeReasons.expelled);
    }
    socket.accept(connected.epoch, hello);
    const live = socket.live();
    // Closed while the transaction ran: its close handler had no epoch to release.
    if (live === undefined) return void (await disconnectAgent(domain, hello.agentId, connected.epoch));
    // Two hellos at once: their commits have an order, their continuations here have none.
    const present = registry.find(hello.agentId);
    if ((present?.session()?.epoch ?? 0) > live.epoch)
      return socket.close(closeCodes.superseded, closeReasons.superseded);
    registry.add(socket)?.close(closeCodes.superseded, closeReasons.superseded);
    registry.hold(hello.agentId, connected.isHeld);
    // Whatever were sent to a rolled-back journal would be lost with it at the next hello.
    if (connected.resetJournal) registry.drain(hello.agentId);
    log.info({
      event: 'agent_connected',
      agentId: hello.agentId,
      epoch: live.epoch,
      delivery: hello.delivery,
    });
    socket.send({
      type: 'welcome',
      protocol: PROTOCOL_VERSION,
      agentId: hello.agentId,
      epoch: live.epoch,
      presenceIntervalMs: PRESENCE_INTERVAL_MS,
      serverVersion: deps.serverVersion,
      resetJournal: connected.resetJournal,
      ...(hello.delivery === 'temporal'
        ? { temporal: { ...deps.temporal, taskQueue: agentTaskQueue(hello.agentId) } }
        : {}),
    });
    track(offerAll(socket, connected.reoffer));
    scanner.wake([hello.agentId]);
  };

  const onFrame: AgentSocketHandlers['onFrame'] = (socket, frame, bytes, beside = {}) => {
    const session = socket.session();
    const journalId = beside.journalId ?? session?.hello.journalId;
    if (journalId === undefined) return socket.stored(bytes);
    const { agentId } = socket;
    switch (frame.type) {
      case 'started':
      case 'output':
      case 'result':
      case 'notKnown':
        return recorder.push(socket, { agentId, journalId, frame }, bytes);
      case 'presence':
        if (session === undefined) break;
        if (registry.find(agentId) !== socket) break; // Replaced: it speaks for this agent no more.
        presence.add({
          agentId,
          epoch: session.epoch,
          journalSeq: frame.journalSeq,
          running: frame.running,
          draining: registry.saysDraining(agentId),
          metrics: frame.metrics,
          systemInfo: beside.systemInfo ?? null,
        });
        break;
      case 'claim':
        return track(inLane(socket, () => claim(socket, frame)).finally(() => socket.stored(bytes)));
      case 'draining':
        if (registry.find(agentId) === socket) registry.drain(agentId);
        break;
      case 'error':
        if (countError(socket) <= MAX_LOGGED_ERRORS)
          log.warn({ event: 'agent_error', agentId, code: frame.code, message: frame.message });
        break;
      case 'terminal.alive':
        // Said once a connection: unheard, nobody would ask for the output of these sessions from where it broke off.
        return terminal(socket, frame, bytes, () =>
          socket.close(closeCodes.goingAway, 'could not look up terminals; connect again'),
        );
      case 'terminal.opened':
      case 'terminal.attached':
      case 'terminal.inputAck':
      case 'terminal.closed':
        return terminal(socket, frame, bytes);
      case 'hello':
        break;
    }
    socket.stored(bytes);
  };

  const terminal = (
    socket: AgentSocket,
    frame: TerminalAgentFrame,
    bytes: number,
    onLost?: () => void,
  ): void => {
    if (registry.find(socket.agentId) !== socket) return socket.stored(bytes);
    const heard = deps.terminals.onFrame(socket, frame).finally(() => socket.stored(bytes));
    heard.catch(() => onLost?.());
    track(heard);
  };

  const countError = (socket: AgentSocket): number => {
    const count = (errors.get(socket) ?? 0) + 1;
    errors.set(socket, count);
    return count;
  };

  const onClose = (socket: AgentSocket, session: Session | undefined): void => {
    registry.remove(socket);
    if (session === undefined) return;
    const { agentId } = socket;
    presence.forget(agentId, session.epoch);
    log.info({ event: 'agent_disconnected', agentId, epoch: session.epoch });
    // After a report of it that is being stored now: that one would make it look connected again.
    track(presence.stored().then(() => endTurn(() => disconnectAgent(domain, agentId, session.epoch))));
  };

  const track = (work: Promise<void>): void => {
    const tracked = work
      .catch((error: unknown) => log.error({ event: 'bridge_work_failed', err: error }))
      .finally(() => closing.delete(tracked));
    closing.add(tracked);
  };

  /** Another bridge has accepted a newer hello of this agent. */
  const supersede = (agentId: string, epoch: number): void => {
    const socket = registry.find(agentId);
    const live = socket?.live();
    if (live !== undefined && live.epoch < epoch)
      socket?.close(closeCodes.superseded, closeReasons.superseded);
  };

  const expel = (agentId: string): void =>
    registry.find(agentId)?.close(closeCodes.revoked, closeReasons.expelled);

  const pingTimer = setInterval(() => {
    for (const socket of registry.all()) socket.checkAlive();
  }, PING_INTERVAL_MS);
  const pending = new Set<AgentSocket>();
  /** How many of `pending` are of an agent. */
  const socketCounts = new Map<string, number>();
  const releaseSocket = (agentId: string): void => {
    const left = (socketCounts.get(agentId) ?? 1) - 1;
    if (left > 0) socketCounts.set(agentId, left);
    else socketCounts.delete(agentId);
  };

  const hasRoomFor = (agentId: string): boolean => (socketCounts.get(agentId) ?? 0) < MAX_SOCKETS_OF_AGENT;

  const attach: Bridge['attach'] = (agentId, make, credential) => {
    if (!hasRoomFor(agentId)) return undefined;
    const socket = make({
      onHello: (greeting, hello) => helloTurn(() => onHello(greeting, hello, credential)),
      onFrame,
      onBytes(from, frame) {
        // Of a socket that was replaced: it was right when it left.
        return registry.find(from.agentId) !== from || deps.terminals.onBytes(from, frame);
      },
      onClose(ended, session) {
        pending.delete(ended);
        releaseSocket(ended.agentId);
        onClose(ended, session);
      },
      onProblem: (ended, fields) => log.warn({ ...fields, agentId: ended.agentId }),
    });
    pending.add(socket);
    socketCounts.set(agentId, (socketCounts.get(agentId) ?? 0) + 1);
    if (closed !== undefined) socket.close(closeCodes.goingAway, 'the server is shutting down');
    return socket;
  };

  return {
    upgradeRoute: {
      path: '/v1/agent',
      async handle(upgrade) {
        const authenticate = async () => {
          try {
            return await deps.authenticate({ ...upgrade, headers: upgrade.request.headers });
          } catch (error) {
            if (isProblem(error)) return null;
            throw error;
          }
        };
        const principal = await upgradeTurn(authenticate);
        if (principal?.kind !== 'agent' || !agentIdSchema.safeParse(principal.id).success) {
          return upgrade.refuse('an agent token is needed');
        }
        const { id: agentId } = principal;
        if (!hasRoomFor(agentId))
          return upgrade.refuse('too many sockets of this agent; try again', closeCodes.goingAway);
        const ws = await upgrade.accept();
        const socket = attach(
          agentId,
          (handlers) => createAgentSocket(ws, { agentId, address: upgrade.address }, handlers),
          {
            tokenId: principal.credentialId,
            isGood: async () => (await authenticate())?.id === agentId,
          },
        );
        if (socket === undefined) ws.close(closeCodes.goingAway, 'too many sockets of this agent; try again');
      },
    },
    hasRoomFor,
    attach,
    wake: scanner.wake,
    expel,
    supersede,
    cancel,
    hold(agentId, isHeld) {
      registry.hold(agentId, isHeld);
      if (!isHeld) scanner.wake([agentId]);
    },
    askPresence: (agentId) => registry.find(agentId)?.send({ type: 'presenceRequest' }),
    presence,
    close() {
      closed ??= (async () => {
        clearInterval(pingTimer);
        const scanned = scanner.close();
        await withDeadline(recorder.flush(), CLOSE_FLUSH_MS);
        for (const socket of pending) socket.close(closeCodes.goingAway, 'the server is shutting down');
        await scanned;
        track(presence.close());
        await withDeadline(waitUntilEmpty(pending, closing), CLOSE_FLUSH_MS);
        // What they said while they closed.
        await withDeadline(recorder.flush(), CLOSE_FLUSH_MS);
      })();
      return closed;
    },
  };
}

const createTurns = (maxRunning: number): Limiter =>
  createLimiter({ maxRunning, maxWaiting: Number.POSITIVE_INFINITY });

/** Sockets close and their disconnects are stored. */
async function waitUntilEmpty(
  sockets: ReadonlySet<AgentSocket>,
  work: ReadonlySet<Promise<void>>,
): Promise<void> {
  while (sockets.size > 0 || work.size > 0) {
    if (work.size > 0) await Promise.all(work);
    else await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function withDeadline(work: Promise<void>, deadlineMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, deadlineMs);
  });
  await Promise.race([work, deadline]);
  clearTimeout(timer);
}
