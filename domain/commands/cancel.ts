/** Cancel: what is queued ends now; what is out is asked to stop, and its agent says how it ended. */
import {
  lockOpenCommands,
  markCancelRequested,
  type OpenCommandSelection,
} from '../../db/command-changes.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { isRepeatedRequest, type RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { getBatchRow, getCommandRow } from './read.ts';
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
      data: { reason },
    });
  }
  unit.wakeAgents(out.map((row) => row.agentId));
  return out.length;
}

/** Cancel one command. Canceling an ended one changes nothing. @throws command_not_found, forbidden, idempotency_conflict */
export async function cancelCommand(
  deps: DomainDeps,
  actor: Actor,
  commandId: string,
  reason: string | undefined,
  requestKey: RequestKey | null,
): Promise<void> {
  assertCan(actor.principal, 'cancel', 'command');
  const row = await getCommandRow(deps, actor, commandId);
  if (row.taskId !== null) assertCan(actor.principal, 'cancel', 'task', row.ownerId);
  await transact(deps, async (unit) => {
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, 'command.cancel', commandId)) return;
    await cancelSelection(unit, { kind: 'command', commandId }, reasonOf(actor, reason));
    unit.audit(actor, {
      action: 'command.cancel',
      targetKind: 'command',
      targetId: commandId,
      details: { reason: reason ?? null, agentId: row.agentId },
    });
  });
}

/** Cancel every open command of a batch. @throws not_found, forbidden, idempotency_conflict */
export async function cancelBatch(
  deps: DomainDeps,
  actor: Actor,
  batchId: string,
  reason: string | undefined,
  requestKey: RequestKey | null,
): Promise<void> {
  assertCan(actor.principal, 'cancel', 'command');
  const { batch, ownerId } = await getBatchRow(deps, actor, batchId);
  if (batch.taskId !== null) assertCan(actor.principal, 'cancel', 'task', ownerId);
  await transact(deps, async (unit) => {
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, 'batch.cancel', batchId)) return;
    const out = await cancelSelection(unit, { kind: 'batch', batchId }, reasonOf(actor, reason));
    unit.audit(actor, {
      action: 'command.cancel',
      targetKind: 'batch',
      targetId: batchId,
      details: { reason: reason ?? null, out },
    });
  });
}

const reasonOf = (actor: Actor, reason: string | undefined): string =>
  reason ?? `canceled by ${actor.principal.name}`;
