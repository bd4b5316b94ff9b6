/** Ends rollouts whose workflow is gone; by the same rules as tasks (reconciler.ts). */
import { lockKeys } from '../../db/lock-keys.ts';
import { hasOutboxRows } from '../../db/outbox.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import {
  failLostRollout,
  type IdleRollout,
  listIdleRollouts,
  noteRolloutNamespace,
} from '../../domain/rollouts/lost.ts';
import { findWorkflow } from '../../temporal/workflows.ts';
import { defineDuty } from './duty.ts';
import { IDLE_BEFORE_RECONCILE_MS, type ReconcilerDeps } from './reconciler.ts';

/** Rollouts of one round: there are few. */
const ROLLOUTS_PER_ROUND = 4;

export const rolloutReconciler = defineDuty<ReconcilerDeps>({
  name: 'rollout_reconciler',
  lockKey: lockKeys.duties.rolloutReconciler,
  everyMs: 5_000,
  run: (deps) => reconcileRollouts(deps),
});

/** One round. @returns how many rollouts were ended as lost */
export async function reconcileRollouts(deps: ReconcilerDeps): Promise<number> {
  const { domain, temporal, idleMs = IDLE_BEFORE_RECONCILE_MS } = deps;
  if (!temporal.ready()) return 0;
  const namespaceId = await temporal.namespaceId();
  const rollouts = await listIdleRollouts(domain, { idleMs, limit: ROLLOUTS_PER_ROUND });
  let lost = 0;
  for (const rollout of rollouts)
    if (await isLost(deps, rollout, namespaceId)) lost += await end(domain, rollout);
  return lost;
}

async function isLost(
  { domain, temporal }: ReconcilerDeps,
  rollout: IdleRollout,
  namespaceId: string,
): Promise<boolean> {
  const { rolloutId, workflowId } = rollout;
  if (rollout.namespaceId !== null && rollout.namespaceId !== namespaceId) {
    const facts = { rolloutId, workflowId, stored: rollout.namespaceId, namespaceId };
    domain.log.warn({ event: 'rollout_of_other_namespace', ...facts });
    return false;
  }
  if (await hasOutboxRows(domain.db, workflowId)) return false;
  const presence = await findWorkflow(temporal, workflowId);
  if (presence !== 'running') {
    domain.log.warn({ event: 'rollout_workflow_lost', rolloutId, workflowId, presence });
    return true;
  }
  if (rollout.namespaceId === null) await noteRolloutNamespace(domain, { rolloutId, namespaceId });
  return false;
}

async function end(domain: DomainDeps, { rolloutId }: IdleRollout): Promise<number> {
  await failLostRollout(domain, rolloutId);
  return 1;
}
