/** Rollouts whose workflow is gone: the reconciler's side of the domain. */
import { rolloutWorkflowId } from '../../contracts/workflow-io.ts';
import { lockRollout, setRolloutNamespace, takeIdleRollouts } from '../../db/rollouts.ts';
import type { DomainDeps } from '../deps.ts';
import { transact } from '../transact.ts';
import { endRollout, isEnded, listBatchesOut, settleLastBatch, stopBatches } from './end.ts';

export interface IdleRollout {
  rolloutId: string;
  workflowId: string;
  namespaceId: string | null;
}

/** Open rollouts without progress for `idleMs`, oldest first; taking them moves them to the end of the line. */
export async function listIdleRollouts(
  deps: DomainDeps,
  input: { idleMs: number; limit: number },
): Promise<IdleRollout[]> {
  const rows = await takeIdleRollouts(deps.db, input.idleMs, input.limit);
  return rows.map(({ id, namespaceId }) => ({
    rolloutId: id,
    workflowId: rolloutWorkflowId(id),
    namespaceId,
  }));
}

/** The workflow of an open rollout is closed or unknown: it failed. Queued commands end, running ones are told to stop. */
export async function failLostRollout(deps: DomainDeps, rolloutId: string): Promise<void> {
  await transact(deps, async (unit) => {
    const rollout = await lockRollout(unit.trx, rolloutId);
    if (rollout === undefined || isEnded(rollout)) return;
    await stopBatches(unit, await listBatchesOut(unit, rollout), 'workflow_lost');
    await settleLastBatch(unit, rollout);
    await endRollout(unit, rollout, 'failed', 'workflow_lost');
  });
}

/** Remember in which namespace the workflow lives: another one's "not found" proves nothing. */
export const noteRolloutNamespace = (
  deps: DomainDeps,
  { rolloutId, namespaceId }: { rolloutId: string; namespaceId: string },
): Promise<void> => setRolloutNamespace(deps.db, rolloutId, namespaceId);
