/**
 * Look at the rows of the agents connected here, and act on them: hand out what waits, repeat cancels, drop stale sockets.
 *
 *  D. NOTIFY is an edge: every SCAN_INTERVAL_MS, and after every renewed LISTEN, the rows are looked at without one.
 *  E. One scan at a time.
 */
import { closeCodes } from '../../contracts/agent-protocol.ts';
import { CLAIM_LIMIT, type Socket } from '../../db/command-claims.ts';
import type { CommandWithAct } from '../../db/commands.ts';
import { findDrainedAgents } from '../../domain/agents/registry.ts';
import { claimQueued, findCancelRequests, findStaleSockets } from '../../domain/commands/claim.ts';
import type { DomainDeps, Log } from '../../domain/deps.ts';
import { type AgentSocket, closeReasons } from './agent-socket.ts';
import type { Registry } from './registry.ts';

/** The backstop of a lost NOTIFY, milliseconds. */
const SCAN_INTERVAL_MS = 5_000;

export interface ScannerDeps {
  domain: DomainDeps;
  registry: Registry;
  /** Hand claimed commands to the socket of their agent, in the background. */
  offer(socket: AgentSocket, commands: readonly CommandWithAct[]): void;
  cancel(agentId: string, commandId: string, reason: string): void;
  log: Log;
}

export interface Scanner {
  /** Look at the rows of these agents now (or of all agents connected here). */
  wake(agentIds: readonly string[] | '*'): void;
  /** Begin no further scan; resolves when the present one has ended. Idempotent. */
  close(): Promise<void>;
}

export function createScanner(deps: ScannerDeps): Scanner {
  const { domain, registry, log } = deps;
  let wanted: Set<string> | '*' = new Set();
  let scanning: Promise<void> | undefined;
  let isClosed = false;

  const wake = (agentIds: readonly string[] | '*'): void => {
    if (isClosed) return;
    if (agentIds === '*') wanted = '*';
    else if (wanted !== '*') for (const agentId of agentIds) if (registry.find(agentId)) wanted.add(agentId);
    if (wanted !== '*' && wanted.size === 0) return;
    scanning ??= scanLoop();
  };

  const scanLoop = async (): Promise<void> => {
    while ((wanted === '*' || wanted.size > 0) && !isClosed) {
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
    if (isFull) await holdDrained(held);
    const takers = held.filter(
      (one) => one.hello.delivery === 'websocket' && !registry.isDraining(one.agentId),
    );
    const claimed = await claimQueued(domain, takers);
    for (const [agentId, commands] of groupByAgent(claimed)) {
      const socket = registry.find(agentId);
      // Another epoch: the newer hello has found the rows as `sent` and offers them itself.
      if (socket?.live()?.epoch === commands[0]?.sentEpoch && socket !== undefined)
        deps.offer(socket, commands);
    }
    // A full claim: there may be more.
    if (claimed.length >= CLAIM_LIMIT) wake([...new Set(claimed.map((command) => command.agentId))]);
    if (isFull) {
      await sendCancels(held);
      await dropStale(sockets, held);
    }
  };

  /** The backstop of lost events, and of those that came while a socket connected: who is to take nothing new. */
  const holdDrained = async (held: readonly Socket[]): Promise<void> => {
    const drained = new Set(
      await findDrainedAgents(
        domain,
        held.map((one) => one.agentId),
      ),
    );
    for (const { agentId } of held) registry.hold(agentId, drained.has(agentId));
  };

  /** The backstop of lost events: cancels that are not answered yet. */
  const sendCancels = async (held: readonly Socket[]): Promise<void> => {
    const agentIds = held.map((one) => one.agentId);
    for (const one of await findCancelRequests(domain, agentIds))
      deps.cancel(one.agentId, one.commandId, one.reason);
  };

  /** The backstop of lost events: sockets whose connection was taken over, or whose credential is gone. */
  const dropStale = async (sockets: readonly AgentSocket[], held: readonly Socket[]): Promise<void> => {
    const stale = await findStaleSockets(domain, held);
    // Only the sockets that were asked about: a newer one may have come meanwhile.
    const closeSame = (agentId: string, code: number, reason: string): void => {
      const socket = registry.find(agentId);
      if (socket !== undefined && sockets.includes(socket)) socket.close(code, reason);
    };
    for (const agentId of stale.expelled) closeSame(agentId, closeCodes.revoked, closeReasons.expelled);
    for (const agentId of stale.superseded)
      closeSame(agentId, closeCodes.superseded, closeReasons.superseded);
  };

  const timer = setInterval(() => wake('*'), SCAN_INTERVAL_MS);
  return {
    wake,
    close() {
      isClosed = true;
      clearInterval(timer);
      return scanning ?? Promise.resolve();
    },
  };
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
