/**
 * The bridge: agents' sockets on one side, the ledger on the other.
 *
 *  D. NOTIFY is an edge: every SCAN_INTERVAL_MS, and after every renewed LISTEN, the bridge looks at the rows itself.
 *  E. One scan at a time: it claims what waits for the agents connected here, sends cancels, drops replaced sockets.
 */
import {
  type AgentFrame,
  agentIdSchema,
  closeCodes,
  type Hello,
  PING_INTERVAL_MS,
  PRESENCE_INTERVAL_MS,
  PROTOCOL_VERSION,
} from '../../contracts/agent-protocol.ts';
import { isProblem } from '../../contracts/errors.ts';
import { agentTaskQueue } from '../../contracts/workflow-io.ts';
import { CLAIM_LIMIT, type CommandWithAct, type Socket } from '../../db/commands.ts';
import { connectAgent, disconnectAgent } from '../../domain/agents/connections.ts';
import { type PresenceReport, recordPresence } from '../../domain/agents/presence.ts';
import { claimQueued, findCancelRequests, findStaleSockets } from '../../domain/commands/claim.ts';
import type { DomainDeps, Log } from '../../domain/deps.ts';
import type { Authenticate } from '../context.ts';
import type { UpgradeRoute } from '../upgrade.ts';
import { type AgentSocket, createAgentSocket, type Session } from './agent-socket.ts';
import { createOffers } from './offers.ts';
import { createRecorder } from './recorder.ts';
import type { Registry } from './registry.ts';

/** The backstop of a lost NOTIFY, milliseconds. */
const SCAN_INTERVAL_MS = 5_000;
/** Presence reports are stored together this often, milliseconds. */
const PRESENCE_FLUSH_MS = 5_000;
/** Longest wait for reports to be stored when the bridge closes, milliseconds. */
const CLOSE_FLUSH_MS = 5_000;
/** Sockets of one agent that may be open at once, all but one of them on their way in or out; more are refused. */
const MAX_SOCKETS_OF_AGENT = 8;
/** Error frames of one socket that are logged. */
const MAX_LOGGED_ERRORS = 20;
const SUPERSEDED = 'a newer connection of this agent took over';
const EXPELLED = 'the credential of this agent is gone';

export interface BridgeDeps {
  domain: DomainDeps;
  registry: Registry;
  authenticate: Authenticate;
  /** Identity of this process among the bridges. */
  bridgeId: string;
  serverVersion: string;
  /** Where agents with Temporal delivery connect. */
  temporal: { address: string; namespace: string };
  log: Log;
}

export interface Bridge {
  upgradeRoute: UpgradeRoute;
  /** Look at the rows of these agents now (or of all agents connected here). */
  wake(agentIds: readonly string[] | '*'): void;
  /** Close an agent's socket here, if it has one: its credential is gone. */
  expel(agentId: string): void;
  /** Another bridge accepted a hello of this agent at that epoch: close the older socket here, if there is one. */
  supersede(agentId: string, epoch: number): void;
  /** A cancel of this command was asked for. */
  cancel(agentId: string, commandId: string, reason: string): void;
  /** Stop accepting, tell the agents, store what they reported. Idempotent. */
  close(): Promise<void>;
}

export function createBridge(deps: BridgeDeps): Bridge {
  const { domain, registry, log } = deps;
  const presence = new Map<string, PresenceReport>();
  /** The latest write of presence reports; never rejects. */
  let presenceStored: Promise<void> = Promise.resolve();
  const closing = new Set<Promise<void>>();
  const claims = new WeakMap<AgentSocket, Promise<void>>();
  const errors = new WeakMap<AgentSocket, number>();
  let wanted: Set<string> | '*' = new Set();
  let scanning: Promise<void> | undefined;
  let closed: Promise<void> | undefined;

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

  const { offerAll, claim } = createOffers({ domain, log });

  const onHello = async (
    socket: AgentSocket,
    hello: Hello,
    isCredentialGood: () => Promise<boolean>,
  ): Promise<void> => {
    let connected: Awaited<ReturnType<typeof connectAgent>>;
    try {
      connected = await connectAgent(domain, { hello, bridgeId: deps.bridgeId, address: socket.address });
    } catch (error) {
      if (isProblem(error, 'agent_revoked') || isProblem(error, 'agent_not_found')) {
        return socket.close(closeCodes.revoked, error.code);
      }
      throw error;
    }
    // Revoked between the upgrade and the hello: later than `connected_at` nobody would notice.
    if (!(await isCredentialGood())) {
      await disconnectAgent(domain, hello.agentId, connected.epoch);
      return socket.close(closeCodes.revoked, EXPELLED);
    }
    socket.accept(connected.epoch, hello);
    const live = socket.live();
    // Closed while the transaction ran: its close handler had no epoch to release.
    if (live === undefined) return void (await disconnectAgent(domain, hello.agentId, connected.epoch));
    // Two hellos at once: their commits have an order, their continuations here have none.
    const present = registry.find(hello.agentId);
    if ((present?.session()?.epoch ?? 0) > live.epoch) return socket.close(closeCodes.superseded, SUPERSEDED);
    registry.add(socket)?.close(closeCodes.superseded, SUPERSEDED);
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
    wake([hello.agentId]);
  };

  const onFrame = (socket: AgentSocket, frame: AgentFrame, bytes: number): void => {
    const session = socket.session();
    if (session === undefined) return socket.stored(bytes);
    const { agentId } = socket;
    switch (frame.type) {
      case 'started':
      case 'output':
      case 'result':
      case 'notKnown':
        return recorder.push(socket, { agentId, journalId: session.hello.journalId, frame }, bytes);
      case 'presence':
        if (registry.find(agentId) !== socket) break; // Replaced: it speaks for this agent no more.
        presence.set(agentId, {
          agentId,
          epoch: session.epoch,
          journalSeq: frame.journalSeq,
          running: frame.running,
          draining: registry.isDraining(agentId),
          metrics: frame.metrics,
        });
        break;
      case 'claim':
        return track(claimInTurn(socket, frame).finally(() => socket.stored(bytes)));
      case 'draining':
        if (registry.find(agentId) === socket) registry.drain(agentId);
        break;
      case 'error':
        if (countError(socket) <= MAX_LOGGED_ERRORS)
          log.warn({ event: 'agent_error', agentId, code: frame.code, message: frame.message });
        break;
      case 'hello':
        break;
    }
    socket.stored(bytes);
  };

  /** One claim of a socket at a time: an agent that floods takes one connection of the pool, not all. */
  const claimInTurn = (socket: AgentSocket, frame: Extract<AgentFrame, { type: 'claim' }>): Promise<void> => {
    const before = claims.get(socket) ?? Promise.resolve();
    const turn = before.catch(() => undefined).then(() => claim(socket, frame));
    claims.set(socket, turn);
    return turn;
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
    if (presence.get(agentId)?.epoch === session.epoch) presence.delete(agentId);
    log.info({ event: 'agent_disconnected', agentId, epoch: session.epoch });
    // After a report of it that is being stored now: that one would make it look connected again.
    track(presenceStored.then(() => disconnectAgent(domain, agentId, session.epoch)));
  };

  const track = (work: Promise<void>): void => {
    const tracked = work
      .catch((error: unknown) => log.error({ event: 'bridge_work_failed', err: error }))
      .finally(() => closing.delete(tracked));
    closing.add(tracked);
  };

  const wake = (agentIds: readonly string[] | '*'): void => {
    if (closed !== undefined) return;
    if (agentIds === '*') wanted = '*';
    else if (wanted !== '*') for (const agentId of agentIds) if (registry.find(agentId)) wanted.add(agentId);
    if (wanted !== '*' && wanted.size === 0) return;
    scanning ??= scanLoop();
  };

  const scanLoop = async (): Promise<void> => {
    while ((wanted === '*' || wanted.size > 0) && closed === undefined) {
      const ids = wanted;
      wanted = new Set();
      const sockets = registry.all().filter((socket) => ids === '*' || ids.has(socket.agentId));
      await scan(sockets, ids === '*').catch((error: unknown) =>
        log.error({ event: 'bridge_scan_failed', err: error }),
      );
    }
    scanning = undefined;
  };

  const scan = async (sockets: readonly AgentSocket[], isFull: boolean): Promise<void> => {
    const held = sockets.flatMap((socket) => {
      const live = socket.live();
      return live === undefined ? [] : [{ agentId: socket.agentId, epoch: live.epoch, hello: live.hello }];
    });
    if (held.length === 0) return;
    const takers = held.filter(
      (one) => one.hello.delivery === 'websocket' && !registry.isDraining(one.agentId),
    );
    const claimed = await claimQueued(domain, takers);
    for (const [agentId, commands] of groupByAgent(claimed)) {
      const socket = registry.find(agentId);
      // Another epoch: the newer hello has found the rows as `sent` and offers them itself.
      if (socket?.live()?.epoch === commands[0]?.sentEpoch && socket !== undefined)
        track(offerAll(socket, commands));
    }
    // A full claim: there may be more.
    if (claimed.length >= CLAIM_LIMIT) wake([...new Set(claimed.map((command) => command.agentId))]);
    if (isFull) {
      await sendCancels(held);
      await dropStale(sockets, held);
    }
  };

  const cancel = (agentId: string, commandId: string, reason: string): void =>
    registry.find(agentId)?.send({ type: 'cancel', commandId, reason });

  /** The backstop of lost events: cancels that are not answered yet. */
  const sendCancels = async (held: readonly Socket[]): Promise<void> => {
    const agentIds = held.map((one) => one.agentId);
    for (const one of await findCancelRequests(domain, agentIds))
      cancel(one.agentId, one.commandId, one.reason);
  };

  /** The backstop of lost events: sockets whose connection was taken over, or whose credential is gone. */
  const dropStale = async (sockets: readonly AgentSocket[], held: readonly Socket[]): Promise<void> => {
    const stale = await findStaleSockets(domain, held);
    // Only the sockets that were asked about: a newer one may have come meanwhile.
    const closeSame = (agentId: string, code: number, reason: string): void => {
      const socket = registry.find(agentId);
      if (socket !== undefined && sockets.includes(socket)) socket.close(code, reason);
    };
    for (const agentId of stale.expelled) closeSame(agentId, closeCodes.revoked, EXPELLED);
    for (const agentId of stale.superseded) closeSame(agentId, closeCodes.superseded, SUPERSEDED);
  };

  /** Another bridge has accepted a newer hello of this agent. */
  const supersede = (agentId: string, epoch: number): void => {
    const socket = registry.find(agentId);
    const live = socket?.live();
    if (live !== undefined && live.epoch < epoch) socket?.close(closeCodes.superseded, SUPERSEDED);
  };

  const expel = (agentId: string): void => registry.find(agentId)?.close(closeCodes.revoked, EXPELLED);

  const flushPresence = (): void => {
    if (presence.size === 0) return;
    const reports = [...presence.values()];
    presence.clear();
    presenceStored = recordPresence(domain, deps.bridgeId, reports).catch((error: unknown) =>
      log.error({ event: 'presence_not_stored', err: error }),
    );
    track(presenceStored);
  };

  const timers = [
    setInterval(() => wake('*'), SCAN_INTERVAL_MS),
    setInterval(flushPresence, PRESENCE_FLUSH_MS),
    setInterval(() => registry.all().forEach((socket) => socket.checkAlive()), PING_INTERVAL_MS),
  ];
  const pending = new Set<AgentSocket>();
  /** How many of `pending` are of an agent. */
  const socketCounts = new Map<string, number>();
  const releaseSocket = (agentId: string): void => {
    const left = (socketCounts.get(agentId) ?? 1) - 1;
    if (left > 0) socketCounts.set(agentId, left);
    else socketCounts.delete(agentId);
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
        const principal = await authenticate();
        if (principal?.kind !== 'agent' || !agentIdSchema.safeParse(principal.id).success) {
          return upgrade.refuse('an agent token is needed');
        }
        if ((socketCounts.get(principal.id) ?? 0) >= MAX_SOCKETS_OF_AGENT) {
          return upgrade.refuse('too many sockets of this agent; try again', closeCodes.goingAway);
        }
        const ws = await upgrade.accept();
        const socket = createAgentSocket(
          ws,
          { agentId: principal.id, address: upgrade.address },
          {
            onHello: (greeting, hello) =>
              onHello(greeting, hello, async () => (await authenticate())?.id === principal.id),
            onFrame,
            onClose(ended, session) {
              pending.delete(ended);
              releaseSocket(ended.agentId);
              onClose(ended, session);
            },
            onProblem: (ended, fields) => log.warn({ ...fields, agentId: ended.agentId }),
          },
        );
        pending.add(socket);
        socketCounts.set(principal.id, (socketCounts.get(principal.id) ?? 0) + 1);
      },
    },
    wake,
    expel,
    supersede,
    cancel,
    close() {
      closed ??= (async () => {
        for (const timer of timers) clearInterval(timer);
        await withDeadline(recorder.flush(), CLOSE_FLUSH_MS);
        for (const socket of pending) socket.close(closeCodes.goingAway, 'the server is shutting down');
        await scanning;
        flushPresence();
        await withDeadline(waitUntilEmpty(pending, closing), CLOSE_FLUSH_MS);
        // What they said while they closed.
        await withDeadline(recorder.flush(), CLOSE_FLUSH_MS);
      })();
      return closed;
    },
  };
}

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

function groupByAgent(commands: readonly CommandWithAct[]): Map<string, CommandWithAct[]> {
  const groups = new Map<string, CommandWithAct[]>();
  for (const command of commands) {
    const group = groups.get(command.agentId);
    if (group === undefined) groups.set(command.agentId, [command]);
    else group.push(command);
  }
  return groups;
}
