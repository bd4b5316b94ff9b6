/** The bridge's side of the ledger: claim what waits for its sockets, find cancels and replaced sockets. */
import { listStaleSockets } from '../../db/agent-connections.ts';
import { findAgentsToDisconnect } from '../../db/agents.ts';
import { claimQueuedCommands, listCancelRequests, type Socket } from '../../db/command-claims.ts';
import type { CommandWithAct, ReadableCommands } from '../../db/commands.ts';
import type { DomainDeps } from '../deps.ts';
import { transact } from '../transact.ts';

/** Claim queued commands for these sockets; `sent` is committed when this returns. */
export async function claimQueued(
  deps: DomainDeps,
  sockets: readonly Socket[],
  only?: string,
): Promise<CommandWithAct[]> {
  if (sockets.length === 0) return [];
  return transact(deps, async (unit) => {
    const { commands, unreadable } = await claimQueuedCommands(unit.trx, sockets, only);
    logUnreadable(deps, unreadable);
    for (const row of commands) {
      unit.emit('command.sent', {
        commandId: row.commandId,
        batchId: row.batchId,
        agentId: row.agentId,
        taskId: row.taskId,
        ownerId: row.ownerId,
        data: { step: row.stepNo },
      });
    }
    return commands;
  });
}

/** They stay `sent` and end as `unknown`: what cannot be checked against its digest is not sent (promise P5). */
export function logUnreadable(deps: DomainDeps, unreadable: ReadableCommands['unreadable']): void {
  for (const command of unreadable) deps.log.error({ event: 'act_unreadable', ...command });
}

/** Commands out on these agents for which a cancel was asked. */
export const findCancelRequests = (deps: DomainDeps, agentIds: readonly string[]) =>
  listCancelRequests(deps.db, agentIds);

/** Of these sockets, the agents whose connection was taken over, and those whose credential is gone. */
export async function findStaleSockets(
  deps: DomainDeps,
  sockets: readonly Socket[],
): Promise<{ superseded: string[]; expelled: string[] }> {
  const superseded = await listStaleSockets(deps.db, sockets);
  const expelled = await findAgentsToDisconnect(
    deps.db,
    sockets.map((socket) => socket.agentId),
  );
  return { superseded, expelled };
}
