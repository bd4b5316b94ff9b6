/** The bridge's side of the ledger: claim what waits for its sockets, find cancels and replaced sockets. */
import { listStaleSockets } from '../../db/agent-connections.ts';
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

/** Of these sockets, the agents whose connection was taken over or whose credential is revoked. */
export const findStaleSockets = (deps: DomainDeps, sockets: readonly Socket[]) =>
  listStaleSockets(deps.db, sockets);
