/** How a rollout is cut into batches, and what stands between them. */
import { createHash } from 'node:crypto';
import { batchDigest } from '../../contracts/act.ts';
import type { RolloutGate, RolloutPlan } from '../../contracts/rollouts.ts';
import type { NewRolloutTarget } from '../../db/rollout-targets.ts';
import type { RolloutRow, RolloutTally } from '../../db/rollouts.ts';

/** What a target has to say about its batch. */
export interface BatchTarget {
  agentId: string;
  /** Of its act; null when nothing fits it. */
  digest: string | null;
}

/** Canaries among so many targets; 0 without. */
export function canarySize({ canary }: Pick<RolloutPlan, 'canary'>, targetCount: number): number {
  if (canary === null) return 0;
  const wanted = canary.count ?? Math.ceil((targetCount * (canary.percent ?? 0)) / 100);
  return Math.min(wanted, targetCount);
}

/** In the order of their turn: the canaries, then batches of `batchSize`. */
export function cutIntoBatches(
  plan: Pick<RolloutPlan, 'canary' | 'batchSize'>,
  targets: readonly BatchTarget[],
): { targets: NewRolloutTarget[]; batches: { batchNo: number; size: number; digest: string }[] } {
  const canaries = canarySize(plan, targets.length);
  const cuts = canaries > 0 ? [targets.slice(0, canaries)] : [];
  for (let at = canaries; at < targets.length; at += plan.batchSize) {
    cuts.push(targets.slice(at, at + plan.batchSize));
  }
  return {
    targets: cuts.flatMap((cut, index) => cut.map((target) => ({ ...target, batchNo: index + 1 }))),
    batches: cuts.map((cut, index) => ({
      batchNo: index + 1,
      size: cut.length,
      digest: digestOfBatch(cut),
    })),
  };
}

/** Binds an approval to the acts of a batch and the agents of each; hex sha256. */
export function digestOfBatch(targets: readonly BatchTarget[]): string {
  const agentsByAct = new Map<string, string[]>();
  for (const { agentId, digest } of targets) {
    const act = digest ?? '';
    const agentIds = agentsByAct.get(act) ?? [];
    agentsByAct.set(act, agentIds);
    agentIds.push(agentId);
  }
  const hash = createHash('sha256').update('steelthread/rollout-batch\0');
  // Each part has a fixed length, so no two lists of parts read the same.
  for (const part of [...agentsByAct].map(([act, agentIds]) => batchDigest(act, agentIds)).sort()) {
    hash.update(part);
  }
  return hash.digest('hex');
}

/** What stands before this batch. */
export function gateBefore(
  { plan, hasCanary }: Pick<RolloutRow, 'plan' | 'hasCanary'>,
  batchNo: number,
): RolloutGate {
  if (batchNo <= 1) return { kind: 'none' };
  return (hasCanary && batchNo === 2 ? plan.canary?.then : undefined) ?? plan.between;
}

/** Why no further batch may begin, by the failures so far; undefined while one may. */
export function stopReason(
  rollout: Pick<RolloutRow, 'plan' | 'hasCanary' | 'batchNo' | 'targetCount'>,
  { failed }: Pick<RolloutTally, 'failed'>,
): 'canary_failed' | 'failure_limit' | undefined {
  const { plan, hasCanary, batchNo, targetCount } = rollout;
  if (hasCanary && batchNo === 1 && failed > 0 && plan.canary?.stopOnFailure) return 'canary_failed';
  const { failures, percent } = plan.stopAfter ?? {};
  const isReached =
    (failures !== undefined && failed >= failures) ||
    (percent !== undefined && failed > 0 && failed * 100 >= percent * targetCount);
  return isReached ? 'failure_limit' : undefined;
}

/** Outcomes of commands as a rollout counts them. */
export function tallyOf(outcomes: readonly { outcome: string; count: number }[]): RolloutTally {
  const tally: RolloutTally = { succeeded: 0, failed: 0, canceled: 0, skipped: 0 };
  for (const { outcome, count } of outcomes) tally[tallyWord(outcome)] += count;
  return tally;
}

const tallyWord = (outcome: string): keyof RolloutTally =>
  outcome === 'succeeded' || outcome === 'canceled' || outcome === 'skipped' ? outcome : 'failed';
