/** The bridge's side of the ledger: claim what waits for its sockets, find cancels and replaced sockets. */
import { listStaleSockets } from '../../db/agent-connections.ts';
import { findAgentsToDisconnect } from '../../db/agents.ts';
import {
  type CommandWithAct,
  claimQueuedCommands,
  listCancelRequests,
  type Socket,
} from '../../db/commands.ts';
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
    const claimed = await claimQueuedCommands(unit.trx, sockets, only);
    for (const row of claimed) {
      unit.emit('command.sent', {
        commandId: row.commandId,
        batchId: row.batchId,
        agentId: row.agentId,
        taskId: row.taskId,
        ownerId: row.ownerId,
        data: { step: row.stepNo },
      });
    }
    return claimed;
  });
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
