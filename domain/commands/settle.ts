/**
 * What follows when commands change state inside a unit: rows, batch counters, events, the workflow's bell.
 * Every path that ends a command (agent frames, cancel, expiry, overdue, foreign journal) goes through here, but for the
 * usual reports of agents: db/command-reports.ts writes the same for those, and a test compares the two.
 *
 *  A. Lock order: connection → commands (by id) → batches (by id). Task rows are locked before, never after.
 *  B. A batch counter falls only by rows that became final here; resolving `unknown` touches neither counter nor outbox.
 */
import {
  type CommandState,
  commandEdges,
  type EdgeWriter,
  isFinalCommandState,
} from '../../contracts/command-states.ts';
import { type CommandChange, writeChanges } from '../../db/command-changes.ts';
import type { CommandRow } from '../../db/commands.ts';
import { engineActor } from '../deps.ts';
import type { Unit } from '../transact.ts';

export interface Settlement {
  row: CommandRow;
  change: CommandChange;
}

/** May `by` move a command from one state to the other? */
export const edgeAllowed = (from: CommandState, to: CommandState, by: EdgeWriter): boolean =>
  commandEdges.some((edge) => edge.from === from && edge.to === to && edge.by === by);

/** A change that keeps everything as it is; the starting point of every other. */
export const unchanged = (row: CommandRow): CommandChange => ({
  commandId: row.commandId,
  state: row.state,
  startedNow: false,
  final: null,
  stdout: row.stdout,
  stderr: row.stderr,
});

/** A change to a final state by the server: nothing is known of a process. */
export const serverEnd = (row: CommandRow, state: CommandState, reason: string): Settlement => ({
  row,
  change: {
    ...unchanged(row),
    state,
    final: { exitCode: null, signal: null, reason, durationMs: null, resolved: false },
  },
});

/** Write the changes of locked rows and everything that follows from them. */
export async function settleCommands(unit: Unit, settlements: readonly Settlement[]): Promise<void> {
  if (settlements.length === 0) return;
  const fallen = new Map<string, number>();
  const owners = new Map(settlements.map(({ row }) => [row.batchId, row.ownerId]));
  for (const { row, change } of settlements) {
    if (change.state === row.state && !change.startedNow) continue;
    const refs = {
      commandId: row.commandId,
      batchId: row.batchId,
      agentId: row.agentId,
      taskId: row.taskId,
      ownerId: row.ownerId,
    };
    if (change.startedNow) unit.emit('command.started', { ...refs, data: { step: row.stepNo } });
    if (!isFinalCommandState(change.state)) continue;
    if (change.final?.resolved) {
      unit.emit('command.resolved', {
        ...refs,
        data: { state: change.state, exitCode: change.final.exitCode },
      });
      unit.audit(engineActor, {
        action: 'command.resolved',
        targetKind: 'command',
        targetId: row.commandId,
        details: { state: change.state, agentId: row.agentId },
      });
      continue;
    }
    fallen.set(row.batchId, (fallen.get(row.batchId) ?? 0) + 1);
    unit.emit('command.finished', {
      ...refs,
      data: {
        step: row.stepNo,
        state: change.state,
        exitCode: change.final?.exitCode ?? null,
        reason: change.final?.reason ?? null,
      },
    });
  }
  const changes = settlements.map((settlement) => settlement.change);
  for (const batch of await writeChanges(unit.trx, changes, fallen)) {
    if (batch.pending > 0) continue;
    if (batch.taskId === null) {
      unit.emit('batch.finished', { batchId: batch.id, ownerId: owners.get(batch.id) ?? null });
    } else {
      unit.emit('task.step_finished', {
        taskId: batch.taskId,
        batchId: batch.id,
        ownerId: owners.get(batch.id) ?? null,
        data: { step: batch.stepNo },
      });
    }
    if (batch.workflowId !== null) {
      unit.signal(batch.workflowId, { name: 'batchFinished', arg: { batchId: batch.id } });
    }
  }
}
