/**
 * What people do to a rollout that goes on: hold it, let it go on, approve the next batch, cancel it. Each locks the row,
 * raises its `rev` and tells the workflow so; the workflow then reads what is true.
 */
import { problem } from '../../contracts/errors.ts';
import type { ApproveBatchBody } from '../../contracts/rollouts.ts';
import { rolloutWorkflowId } from '../../contracts/workflow-io.ts';
import { approveRolloutBatch, findRolloutBatch } from '../../db/rollout-batches.ts';
import { type LockedRollout, lockRollout, type RolloutPatch, updateRollout } from '../../db/rollouts.ts';
import { type Actor, type DomainDeps, engineActor } from '../deps.ts';
import { isRepeatedRequest, type RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { gateBefore } from './batches.ts';
import { emitRollout, endRollout, isEnded, listBatchesOut, settleLastBatch, stopBatches } from './end.ts';

/** Hold it: a batch that is out goes on to its end. @throws forbidden, rollout_not_found, rollout_not_open, idempotency_conflict */
export async function pauseRollout(
  deps: DomainDeps,
  actor: Actor,
  rolloutId: string,
  requestKey: RequestKey | null,
): Promise<void> {
  assertCan(actor.principal, 'update', 'rollout');
  await change(deps, actor, rolloutId, 'rollout.pause', requestKey, async (unit, rollout) => {
    if (rollout.pausedAt !== null) return;
    const isOut = (await listBatchesOut(unit, rollout)).length > 0;
    await tell(unit, rollout, {
      pausedAt: rollout.now,
      nextBatchAt: null,
      approvalExpiresAt: null,
      ...(isOut ? {} : { state: 'paused' }),
    });
    audit(unit, actor, rollout, { action: 'rollout.pause' });
    emitRollout(unit, 'rollout.paused', rollout, { batchNo: rollout.batchNo });
  });
}

/** Let it go on. @throws as pauseRollout */
export async function resumeRollout(
  deps: DomainDeps,
  actor: Actor,
  rolloutId: string,
  requestKey: RequestKey | null,
): Promise<void> {
  assertCan(actor.principal, 'update', 'rollout');
  await change(deps, actor, rolloutId, 'rollout.resume', requestKey, async (unit, rollout) => {
    if (rollout.pausedAt === null) return;
    await tell(unit, rollout, { pausedAt: null, ...goesOn(rollout) });
    audit(unit, actor, rollout, { action: 'rollout.resume' });
    emitRollout(unit, 'rollout.resumed', rollout, { batchNo: rollout.batchNo });
  });
}

/**
 * Approve the next batch: the very acts and agents that its digest stands for.
 * @throws forbidden, rollout_not_found, rollout_not_open, stale_digest, conflict (not the next batch, none is to be
 *   approved, the batch before is still out, or somebody else approved it), idempotency_conflict
 */
export async function approveRollout(
  deps: DomainDeps,
  actor: Actor,
  rolloutId: string,
  { batchNo, digest }: ApproveBatchBody,
  requestKey: RequestKey | null,
): Promise<void> {
  assertCan(actor.principal, 'decide', 'rollout');
  await change(deps, actor, rolloutId, 'rollout.approve', requestKey, async (unit, rollout) => {
    const refuse = (reason: string) => problem('conflict', { reason });
    const batch = await findRolloutBatch(unit.trx, rolloutId, batchNo);
    if (batch === undefined || gateBefore(rollout, batchNo).kind !== 'approval') {
      throw refuse(`batch ${batchNo} is not to be approved`);
    }
    if (batch.digest !== digest) throw problem('stale_digest');
    if (batch.approvedAt !== null) {
      const isSame = batch.approverId === actor.principal.id && batch.approverKind === actor.principal.kind;
      if (!isSame) throw refuse(`batch ${batchNo} was approved by ${batch.approverName}`);
      return;
    }
    if (batchNo !== rollout.batchNo + 1) throw refuse(`batch ${batchNo} is not the next one`);
    if ((await listBatchesOut(unit, rollout)).length > 0) {
      throw refuse(`batch ${rollout.batchNo} is still out`);
    }
    const { kind, id, name } = actor.principal;
    await approveRolloutBatch(unit.trx, { rolloutId, batchNo, approver: { kind, id, name } });
    await tell(unit, rollout, rollout.state === 'awaiting_approval' ? goesOn(rollout) : {});
    audit(unit, actor, rollout, { action: 'rollout.approve', details: { batchNo, digest } });
    emitRollout(unit, 'rollout.approved', rollout, { batchNo });
  });
}

/**
 * Queued commands end now, running ones are told to stop; it ends when nothing is out any more. Canceling again changes
 * nothing.
 * @throws forbidden, rollout_not_found, rollout_not_open (ended otherwise), idempotency_conflict
 */
export async function cancelRollout(
  deps: DomainDeps,
  actor: Actor,
  rolloutId: string,
  reason: string | undefined,
  requestKey: RequestKey | null,
): Promise<void> {
  assertCan(actor.principal, 'cancel', 'rollout');
  const act = 'rollout.cancel';
  await transact(deps, async (unit) => {
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, act, rolloutId)) return;
    const rollout = await lock(unit, rolloutId);
    if (rollout.state === 'canceled' || rollout.cancelRequestedAt !== null) return;
    assertOpen(rollout);
    await stop(unit, actor, rollout, reason ?? `canceled by ${actor.principal.name}`);
  });
}

/** Cancel from Temporal's side: its workflow was canceled there. An ended rollout stays as it is. */
export async function cancelRolloutInEngine(
  deps: DomainDeps,
  { rolloutId, reason }: { rolloutId: string; reason: string },
): Promise<void> {
  await transact(deps, async (unit) => {
    const rollout = await lockRollout(unit.trx, rolloutId);
    if (rollout === undefined || isEnded(rollout) || rollout.cancelRequestedAt !== null) return;
    await stop(unit, engineActor, rollout, reason);
  });
}

async function stop(unit: Unit, actor: Actor, rollout: LockedRollout, reason: string): Promise<void> {
  const batchIds = await listBatchesOut(unit, rollout);
  const out = await stopBatches(unit, batchIds, reason);
  audit(unit, actor, rollout, { action: 'rollout.cancel', details: { reason, out } });
  await tell(unit, rollout, { cancelRequestedAt: rollout.now, cancelReason: reason });
  if (batchIds.length > 0) {
    // The workflow counts what has ended, and ends it when all is in.
    emitRollout(unit, 'rollout.cancel_requested', rollout, { reason, out });
    return;
  }
  await settleLastBatch(unit, rollout);
  await endRollout(unit, rollout, 'canceled', reason);
}

/** The state of a rollout that is held no longer, until the workflow has looked at it. */
const goesOn = ({ state, batchNo }: LockedRollout): RolloutPatch => {
  const isHeld = state === 'paused' || state === 'awaiting_approval';
  return isHeld ? { state: batchNo === 0 ? 'created' : 'running', approvalExpiresAt: null } : {};
};

/** Lock, answer a repeat, refuse what has ended, act. */
async function change(
  deps: DomainDeps,
  actor: Actor,
  rolloutId: string,
  act: string,
  requestKey: RequestKey | null,
  work: (unit: Unit, rollout: LockedRollout) => Promise<void>,
): Promise<void> {
  await transact(deps, async (unit) => {
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, act, rolloutId)) return;
    const rollout = await lock(unit, rolloutId);
    assertOpen(rollout);
    await work(unit, rollout);
  });
}

/** @throws rollout_not_found */
async function lock(unit: Unit, rolloutId: string): Promise<LockedRollout> {
  const rollout = await lockRollout(unit.trx, rolloutId);
  if (rollout === undefined) throw problem('rollout_not_found', { rolloutId });
  return rollout;
}

/** @throws rollout_not_open */
function assertOpen(rollout: LockedRollout): void {
  if (!isEnded(rollout)) return;
  throw problem('rollout_not_open', { rolloutId: rollout.id, state: rollout.state });
}

/** Change the row and ring the bell. */
async function tell(unit: Unit, { id }: LockedRollout, patch: RolloutPatch): Promise<void> {
  const { rev } = await updateRollout(unit.trx, id, { ...patch, raisesRev: true });
  unit.signal(rolloutWorkflowId(id), { name: 'rolloutChanged', arg: { rev } });
}

const audit = (
  unit: Unit,
  actor: Actor,
  { id }: LockedRollout,
  facts: { action: string; details?: Record<string, unknown> },
): void => unit.audit(actor, { ...facts, targetKind: 'rollout', targetId: id });
