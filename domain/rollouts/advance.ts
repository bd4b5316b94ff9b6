/**
 * The engine of a rollout: what has come in, and what comes next. The workflow calls it whenever something may have
 * changed.
 *
 *  A. Everything is read from rows under the lock of the rollout's row, so it may be called at any time, twice, late.
 *  B. A batch begins in one transaction with the note of which command each target got: no target gets a second one.
 *  C. The next batch begins only when every command of the one before is final.
 *  D. What begins is what was fixed at creation: the digests of the batch and of its acts are computed again and compared
 *     (promise P5).
 *  E. A batch begins only while the maker of the rollout may run commands.
 */
import type { RolloutOutcome } from '../../contracts/rollout-workflow.ts';
import { rolloutWorkflowId } from '../../contracts/workflow-io.ts';
import { listReachedAgents } from '../../db/agent-connections.ts';
import { listCommandTargets } from '../../db/agents.ts';
import { findRolloutBatch, type RolloutBatchRow, startRolloutBatch } from '../../db/rollout-batches.ts';
import { assignRolloutTargets, listBatchTargets, listOpenBatches } from '../../db/rollout-targets.ts';
import {
  type LockedRollout,
  lockRollout,
  type RolloutPatch,
  type RolloutRow,
  updateRollout,
} from '../../db/rollouts.ts';
import type { BatchAgent } from '../commands/agents.ts';
import { insertBatch, stepCommandId } from '../commands/insert.ts';
import type { DomainDeps } from '../deps.ts';
import { transact, type Unit } from '../transact.ts';
import { findActs, rolloutBinding } from './acts.ts';
import { type BatchTarget, digestOfBatch, gateBefore, stopReason } from './batches.ts';
import { emitRollout, endOf, endRollout, isEnded, settleBatch } from './end.ts';
import { type MakerDeps, makerOf, mayMakerRun } from './maker.ts';

/** Batches whose targets were all skipped follow each other at once; so many in one call. */
const MAX_TURNS = 20;

type Turn = RolloutOutcome | 'next';
type AdvanceDeps = DomainDeps & MakerDeps;

/** Take note of what has come in, and begin the next batch where nothing stands before it. */
export async function advanceRollout(deps: AdvanceDeps, rolloutId: string): Promise<RolloutOutcome> {
  for (let turn = 1; ; turn++) {
    const outcome = await transact<Turn>(deps, async (unit) => {
      const rollout = await lockRollout(unit.trx, rolloutId);
      // Its row is gone: there is nothing left to do.
      if (rollout === undefined) return { kind: 'ended', end: 'canceled', batchNo: 0 };
      const next = await takeTurn(unit, deps, rollout);
      return next === 'next' && turn === MAX_TURNS ? { kind: 'again', ...progressOf(rollout) } : next;
    });
    if (outcome !== 'next') return outcome;
  }
}

const progressOf = ({ rev, batchNo, batchCount }: RolloutRow) => ({ rev, batchNo, batchCount });

async function takeTurn(unit: Unit, deps: AdvanceDeps, rollout: LockedRollout): Promise<Turn> {
  if (isEnded(rollout)) return endedTurn(rollout);
  const last =
    rollout.batchNo === 0 ? undefined : await findRolloutBatch(unit.trx, rollout.id, rollout.batchNo);
  let { tally } = rollout;
  let lastFinishedAt = last?.finishedAt ?? null;
  if (last !== undefined && lastFinishedAt === null) {
    const out = await listOpenBatches(unit.trx, last.batchIds);
    if (out.length > 0) return { kind: 'running', batchIds: out, ...progressOf(rollout) }; // C
    const settled = await settleBatch(unit, rollout, last);
    lastFinishedAt = settled.finishedAt;
    tally = addTallies(tally, settled.tally);
  }
  const now = { ...rollout, tally };
  if (now.cancelRequestedAt !== null) {
    return endedTurn(await endRollout(unit, now, 'canceled', now.cancelReason));
  }
  const stopped = stopReason(now, tally);
  if (stopped !== undefined) return endedTurn(await endRollout(unit, now, 'failed', stopped));
  if (now.batchNo === now.batchCount) return endedTurn(await endRollout(unit, now, 'completed', null));
  const next = await findRolloutBatch(unit.trx, now.id, now.batchNo + 1);
  if (next === undefined) throw new Error(`rollout ${now.id} has no batch ${now.batchNo + 1}`);
  return (await holdBefore(unit, now, next, lastFinishedAt)) ?? beginBatch(unit, deps, now, next);
}

const endedTurn = (rollout: RolloutRow): RolloutOutcome => ({
  kind: 'ended',
  end: endOf(rollout),
  batchNo: rollout.batchNo,
});

const addTallies = (a: RolloutRow['tally'], b: RolloutRow['tally']): RolloutRow['tally'] => ({
  succeeded: a.succeeded + b.succeeded,
  failed: a.failed + b.failed,
  canceled: a.canceled + b.canceled,
  skipped: a.skipped + b.skipped,
});

/** What stands before the next batch; undefined when nothing does. */
async function holdBefore(
  unit: Unit,
  rollout: LockedRollout,
  next: RolloutBatchRow,
  lastFinishedAt: Date | null,
): Promise<RolloutOutcome | undefined> {
  const hold = async (patch: RolloutPatch, isNews: boolean): Promise<void> => {
    if (isNews) await updateRollout(unit.trx, rollout.id, patch);
  };
  if (rollout.pausedAt !== null) {
    await hold({ state: 'paused', nextBatchAt: null, approvalExpiresAt: null }, rollout.state !== 'paused');
    return { kind: 'paused', ...progressOf(rollout) };
  }
  const gate = gateBefore(rollout, next.batchNo);
  const news = { batchNo: next.batchNo, size: next.size };
  if (gate.kind === 'pause') {
    const dueAt = new Date((lastFinishedAt ?? rollout.now).getTime() + gate.pauseMs);
    const waitMs = dueAt.getTime() - rollout.now.getTime();
    if (waitMs <= 0) return undefined;
    const isNews = rollout.state !== 'waiting';
    await hold({ state: 'waiting', nextBatchAt: dueAt }, isNews);
    if (isNews) emitRollout(unit, 'rollout.waiting', rollout, { ...news, nextBatchAt: dueAt.toISOString() });
    return { kind: 'waiting', for: 'pause', waitMs, ...progressOf(rollout) };
  }
  if (gate.kind === 'approval' && next.approvedAt === null) {
    const isNews = rollout.state !== 'awaiting_approval' || rollout.approvalExpiresAt === null;
    const expiresAt = isNews
      ? new Date(rollout.now.getTime() + rollout.plan.approvalTimeoutMs)
      : (rollout.approvalExpiresAt ?? rollout.now);
    const waitMs = expiresAt.getTime() - rollout.now.getTime();
    if (waitMs <= 0) return endedTurn(await endRollout(unit, rollout, 'expired', 'approval_timeout'));
    await hold({ state: 'awaiting_approval', approvalExpiresAt: expiresAt }, isNews);
    if (isNews) {
      const facts = { ...news, digest: next.digest, expiresAt: expiresAt.toISOString() };
      emitRollout(unit, 'rollout.awaiting_approval', rollout, facts);
    }
    return { kind: 'waiting', for: 'approval', waitMs, ...progressOf(rollout) };
  }
  return undefined;
}

/** B. */
async function beginBatch(
  unit: Unit,
  deps: AdvanceDeps,
  rollout: LockedRollout,
  { batchNo, size, digest }: RolloutBatchRow,
): Promise<Turn> {
  const targets = await listBatchTargets(unit.trx, rollout.id, batchNo);
  const { byAct, skipped } = await sortTargets(unit, rollout, targets);
  const acts = await findActs(unit.trx, [...byAct.keys()]);
  if (digestOfBatch(targets) !== digest || acts === undefined) {
    return endedTurn(await endRollout(unit, rollout, 'failed', 'digest_mismatch')); // D
  }
  if (!(await mayMakerRun(unit, deps, rollout))) {
    return endedTurn(await endRollout(unit, rollout, 'failed', 'maker_not_allowed')); // E
  }
  const { taskRun } = rolloutBinding(rollout.id);
  const batchIds: string[] = [];
  const assigned: Parameters<typeof assignRolloutTargets>[2][number][] = [...skipped];
  for (const { digest: actDigest, act, binding } of acts) {
    const agents = byAct.get(actDigest) ?? [];
    const { batchId } = await insertBatch(unit, deps, makerOf(rollout), {
      act,
      binding,
      agents,
      step: null,
      work: { workflowId: rolloutWorkflowId(rollout.id), step: batchNo },
      ownerId: rollout.creatorId,
    });
    batchIds.push(batchId);
    for (const { id } of agents) {
      assigned.push({ agentId: id, commandId: stepCommandId(taskRun, batchNo, 1, id) });
    }
  }
  await assignRolloutTargets(unit.trx, rollout.id, assigned);
  await startRolloutBatch(unit.trx, { rolloutId: rollout.id, batchNo, batchIds });
  await updateRollout(unit.trx, rollout.id, {
    state: 'running',
    batchNo,
    nextBatchAt: null,
    approvalExpiresAt: null,
    ...(rollout.startedAt === null ? { startedAt: rollout.now } : {}),
  });
  emitRollout(unit, 'rollout.batch_started', rollout, { batchNo, size, batchIds, skipped: skipped.length });
  if (batchIds.length === 0) return 'next';
  return { kind: 'running', batchIds, ...progressOf(rollout), batchNo };
}

/** Which of the targets get which act, and which are left out and why. */
async function sortTargets(
  unit: Unit,
  { plan }: RolloutRow,
  targets: readonly BatchTarget[],
): Promise<{ byAct: Map<string, BatchAgent[]>; skipped: { agentId: string; skipped: string }[] }> {
  const ids = targets.map(({ agentId }) => agentId);
  const agents = new Map((await listCommandTargets(unit.trx, ids)).map((agent) => [agent.id, agent]));
  const reached = plan.offline.kind === 'skip' ? await listReachedAgents(unit.trx, ids) : undefined;
  const byAct = new Map<string, BatchAgent[]>();
  const take = (digest: string, agent: BatchAgent): void => {
    const agents = byAct.get(digest) ?? [];
    byAct.set(digest, agents);
    agents.push(agent);
  };
  const skipped: { agentId: string; skipped: string }[] = [];
  for (const { agentId, digest } of targets) {
    const agent = agents.get(agentId);
    if (digest === null) skipped.push({ agentId, skipped: 'no_script' });
    else if (agent === undefined || agent.isRevoked) skipped.push({ agentId, skipped: 'agent_revoked' });
    else if (reached?.has(agentId) === false) skipped.push({ agentId, skipped: 'agent_offline' });
    else take(digest, agent);
  }
  return { byAct, skipped };
}
