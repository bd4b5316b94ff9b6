/** How a rollout ends: its row, its event, and what is still out. */
import type { EventType } from '../../contracts/events.ts';
import type { RolloutEnd } from '../../contracts/rollouts.ts';
import { findRolloutBatch, finishRolloutBatch, type RolloutBatchRow } from '../../db/rollout-batches.ts';
import { listOpenBatches, settleRolloutTargets } from '../../db/rollout-targets.ts';
import { type LockedRollout, type RolloutRow, updateRollout } from '../../db/rollouts.ts';
import { cancelSelection } from '../commands/cancel.ts';
import type { Unit } from '../transact.ts';
import { tallyOf } from './batches.ts';

const endEvents = {
  completed: 'rollout.completed',
  failed: 'rollout.failed',
  canceled: 'rollout.canceled',
  expired: 'rollout.expired',
} as const satisfies Record<RolloutEnd, EventType>;

export const isEnded = (rollout: Pick<RolloutRow, 'endedAt'>): boolean => rollout.endedAt !== null;

/** The state of an ended rollout. */
export function endOf({ id, state }: Pick<RolloutRow, 'id' | 'state'>): RolloutEnd {
  if (state in endEvents) return state as RolloutEnd;
  throw new Error(`rollout ${id} has ended as ${state}`);
}

/** End a locked rollout of which nothing is out. */
export async function endRollout(
  unit: Unit,
  rollout: LockedRollout,
  end: RolloutEnd,
  reason: string | null,
): Promise<RolloutRow> {
  const ended = await updateRollout(unit.trx, rollout.id, {
    state: end,
    ...(reason === null ? {} : { reason }),
    endedAt: rollout.now,
    nextBatchAt: null,
    approvalExpiresAt: null,
  });
  emitRollout(unit, endEvents[end], ended, { reason, batchNo: ended.batchNo, ...ended.tally });
  return ended;
}

/** All of the batch is in: take over how its targets ended. */
export async function settleBatch(
  unit: Unit,
  rollout: RolloutRow,
  batch: RolloutBatchRow,
): Promise<{ tally: RolloutRow['tally']; finishedAt: Date }> {
  const { batchNo } = batch;
  const tally = tallyOf(await settleRolloutTargets(unit.trx, rollout.id, batchNo));
  const finishedAt = await finishRolloutBatch(unit.trx, { rolloutId: rollout.id, batchNo, tally });
  emitRollout(unit, 'rollout.batch_finished', rollout, { batchNo, size: batch.size, ...tally });
  return { tally, finishedAt };
}

/** Before the end of a rollout that the engine will not look at again: its last batch is settled, where all of it is in. */
export async function settleLastBatch(unit: Unit, rollout: RolloutRow): Promise<void> {
  const last = await findRolloutBatch(unit.trx, rollout.id, rollout.batchNo);
  if (last === undefined || last.finishedAt !== null) return;
  if ((await listOpenBatches(unit.trx, last.batchIds)).length === 0) await settleBatch(unit, rollout, last);
}

/** Every event of a rollout names it and its creator. */
export function emitRollout(
  unit: Unit,
  type: EventType,
  rollout: Pick<RolloutRow, 'id' | 'creatorId'>,
  data: Record<string, unknown> = {},
): void {
  unit.emit(type, { ownerId: rollout.creatorId, data: { rolloutId: rollout.id, ...data } });
}

/** Batches of the ledger that the rollout has out. */
export async function listBatchesOut(
  unit: Unit,
  { id, batchNo }: Pick<RolloutRow, 'id' | 'batchNo'>,
): Promise<string[]> {
  const batch = batchNo === 0 ? undefined : await findRolloutBatch(unit.trx, id, batchNo);
  return batch === undefined || batch.finishedAt !== null ? [] : listOpenBatches(unit.trx, batch.batchIds);
}

/**
 * Cancel what is out: queued commands end now, running ones are told to stop. All at once: batch after batch, commands
 * would be locked after batches, and so against those who record outcomes.
 * @returns how many may still run
 */
export const stopBatches = (unit: Unit, batchIds: readonly string[], reason: string): Promise<number> =>
  batchIds.length === 0 ? Promise.resolve(0) : cancelSelection(unit, { kind: 'batches', batchIds }, reason);
