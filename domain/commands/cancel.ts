/** Cancel: what is queued ends now; what is out is asked to stop, and its agent says how it ended. */
import { lockOpenCommands, markCancelRequested, type OpenCommandSelection } from '../../db/commands.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { getCommandRow } from './read.ts';
import { serverEnd, settleCommands } from './settle.ts';

/** Cancel the open commands of a selection inside a unit. Returns how many still run or may start. */
export async function cancelSelection(
  unit: Unit,
  selection: OpenCommandSelection,
  reason: string,
): Promise<number> {
  const rows = await lockOpenCommands(unit.trx, selection);
  const queued = rows.filter((row) => row.state === 'queued');
  const out = rows.filter((row) => row.state !== 'queued');
  await settleCommands(
    unit,
    queued.map((row) => serverEnd(row, 'canceled', reason)),
  );
  await markCancelRequested(
    unit.trx,
    out.map((row) => row.commandId),
    reason,
  );
  for (const row of out) {
    if (row.cancelRequestedAt !== null) continue;
    unit.emit('command.cancel_requested', {
      commandId: row.commandId,
      batchId: row.batchId,
      agentId: row.agentId,
      taskId: row.taskId,
      ownerId: row.ownerId,
    });
  }
  unit.wakeAgents(out.map((row) => row.agentId));
  return out.length;
}

/** Cancel one command. Canceling an ended one changes nothing. @throws command_not_found, forbidden */
export async function cancelCommand(
  deps: DomainDeps,
  actor: Actor,
  commandId: string,
  reason?: string,
): Promise<void> {
  assertCan(actor.principal, 'cancel', 'command');
  const row = await getCommandRow(deps, actor, commandId);
  if (row.taskId !== null) assertCan(actor.principal, 'cancel', 'task', row.ownerId);
  await transact(deps, async (unit) => {
    unit.audit(actor, {
      action: 'command.cancel',
      targetKind: 'command',
      targetId: commandId,
      details: { reason: reason ?? null, agentId: row.agentId },
    });
    await cancelSelection(
      unit,
      { kind: 'command', commandId },
      reason ?? `canceled by ${actor.principal.name}`,
    );
  });
}

/** Cancel every open command of an ad-hoc batch. @throws not_found */
export async function cancelBatch(
  deps: DomainDeps,
  actor: Actor,
  batchId: string,
  reason?: string,
): Promise<void> {
  assertCan(actor.principal, 'cancel', 'command');
  await transact(deps, async (unit) => {
    const out = await cancelSelection(
      unit,
      { kind: 'batch', batchId },
      reason ?? `canceled by ${actor.principal.name}`,
    );
    unit.audit(actor, { action: 'command.cancel', targetKind: 'batch', targetId: batchId, details: { out } });
  });
}
