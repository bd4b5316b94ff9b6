/** The live agent sockets of this process, at most one an agent. */
import { actDigest, type RunFrame } from '../../contracts/agent-protocol.ts';
import type { CommandWithAct } from '../../db/commands.ts';
import type { DispatchOrder, LocalSockets } from '../../domain/deps.ts';
import type { AgentSocket } from './agent-socket.ts';

export interface Registry extends LocalSockets {
  /** Register a live socket; returns the one it replaces. */
  add(socket: AgentSocket): AgentSocket | undefined;
  /** Forget a socket unless a newer one replaced it. */
  remove(socket: AgentSocket): void;
  find(agentId: string): AgentSocket | undefined;
  all(): AgentSocket[];
  /** Mark an agent as draining: it gets no new commands. */
  drain(agentId: string): void;
  isDraining(agentId: string): boolean;
  /** As it says of itself; what an operator wants is known where it was said. */
  saysDraining(agentId: string): boolean;
  /** An operator wants the agent to take nothing new, or lets it work again; what it says of itself stays. */
  hold(agentId: string, isHeld: boolean): void;
  size(): number;
}

export function createRegistry(): Registry {
  const sockets = new Map<string, AgentSocket>();
  const draining = new Set<string>();
  const held = new Set<string>();
  const isDraining = (agentId: string): boolean => draining.has(agentId) || held.has(agentId);
  return {
    add(socket) {
      const older = sockets.get(socket.agentId);
      sockets.set(socket.agentId, socket);
      draining.delete(socket.agentId);
      return older === socket ? undefined : older;
    },
    remove(socket) {
      if (sockets.get(socket.agentId) !== socket) return;
      sockets.delete(socket.agentId);
      draining.delete(socket.agentId);
      held.delete(socket.agentId);
    },
    find: (agentId) => sockets.get(agentId),
    all: () => [...sockets.values()],
    drain: (agentId) => void draining.add(agentId),
    isDraining,
    saysDraining: (agentId) => draining.has(agentId),
    hold(agentId, isHeld) {
      if (isHeld && sockets.has(agentId)) held.add(agentId);
      else held.delete(agentId);
    },
    size: () => sockets.size,
    epochsOf(agentIds) {
      const epochs = new Map<string, number>();
      for (const agentId of agentIds) {
        const live = sockets.get(agentId)?.live();
        if (live?.hello.delivery === 'websocket' && !isDraining(agentId)) epochs.set(agentId, live.epoch);
      }
      return epochs;
    },
    defaultShellOf: (agentId) => sockets.get(agentId)?.live()?.hello.defaultShell,
    shellsOf: (agentId) => sockets.get(agentId)?.live()?.hello,
    dispatch(orders) {
      for (const order of orders) {
        const socket = sockets.get(order.agentId);
        // Another epoch: the newer hello has found the row as `sent` and offers it again.
        if (socket?.live()?.epoch === order.epoch) socket.send(runFrame(order));
      }
    },
  };
}

function runFrame(order: DispatchOrder): RunFrame {
  return {
    type: 'run',
    commandId: order.commandId,
    digest: order.digest,
    act: order.act,
    binding: order.binding,
    startWithinMs: order.act.expiryMs,
    resume: false,
    offsets: { stdout: 0, stderr: 0 },
  };
}

/**
 * The frame of a command read from the ledger, or undefined when its act does not have its digest any more
 * (promise P5: what was approved is what runs, or nothing does).
 */
export function runFrameOf(command: CommandWithAct): RunFrame | undefined {
  if (actDigest(command.act, command.binding) !== command.digest) return undefined;
  return {
    type: 'run',
    commandId: command.commandId,
    digest: command.digest,
    act: command.act,
    binding: command.binding,
    startWithinMs: Math.max(0, command.expiresAt.getTime() - Date.now()),
    resume: command.state === 'running',
    offsets: { stdout: command.stdout.bytes, stderr: command.stderr.bytes },
  };
}
