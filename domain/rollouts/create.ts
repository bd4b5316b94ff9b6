/** Create a rollout: one transaction fixes its targets, acts and batches, and rings the bell that starts its workflow. */
import { v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import {
  type CreateRolloutBody,
  endedRolloutStates,
  MAX_ROLLOUT_NAME_LENGTH,
  type RerunRolloutBody,
  type RolloutPlan,
  rolloutPlanSchema,
} from '../../contracts/rollouts.ts';
import { rolloutWorkflowId } from '../../contracts/workflow-io.ts';
import { type ActRow, insertAct } from '../../db/acts.ts';
import { insertRolloutBatches } from '../../db/rollout-batches.ts';
import { insertRolloutTargets, listRerunTargets } from '../../db/rollout-targets.ts';
import { insertRollout, lockRollout, type NewRollout, type RolloutRow } from '../../db/rollouts.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, requestKeyOf } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { findActs, makeRolloutActs, rebindActs } from './acts.ts';
import { type BatchTarget, canarySize, cutIntoBatches } from './batches.ts';
import { emitRollout } from './end.ts';
import { selectAgents } from './select.ts';

/** Longest name that is made from what runs, characters. */
const MAX_MADE_NAME_LENGTH = 80;

/** A rollout that this call made, or the id of the one that an earlier call with the key made. */
type Made = { created: boolean; id: string };

/**
 * A direct run by a principal who holds the right is its own decision, as with commands: it is recorded with the digests.
 * @returns the id, and whether this call made it (false: the same Idempotency-Key made it before)
 * @throws forbidden, agent_not_found, agent_revoked, saved_command_not_found, validation_failed, conflict (nobody is
 *   selected, or it runs on none of them), idempotency_conflict
 */
export async function createRollout(
  deps: DomainDeps,
  actor: Actor,
  body: CreateRolloutBody,
  idempotencyKey: string | null,
): Promise<Made> {
  assertMayRun(actor);
  if ('savedCommandId' in body.run) assertCan(actor.principal, 'execute', 'saved_command');
  return transact(deps, async (unit) => {
    const id = uuidv7();
    const earlier = await claimRequest(
      unit.trx,
      actor.principal,
      requestKeyOf({ idempotencyKey }, { rollout: body }),
      'rollout',
      id,
    );
    if (earlier !== undefined) return { created: false, id: earlier };
    const { name, agents: wanted, run: wantedRun, ...rest } = body;
    const plan = rolloutPlanSchema.parse(rest);
    const { agents, selection } = await selectAgents(unit.trx, wanted);
    const wish = { rolloutId: id, run: wantedRun, plan, agents };
    const { acts, digestOf, run } = await makeRolloutActs(deps, unit.trx, wish);
    const targets = agents.map((agent) => ({ agentId: agent.id, digest: digestOf.get(agent.id) ?? null }));
    const facts = { id, name: name ?? nameOf(run.text), selection, run, rerunOf: null };
    await putRollout(unit, actor, { ...facts, plan, targets, acts });
    return { created: true, id };
  });
}

/**
 * A new rollout of the same acts by the same plan over those targets of an ended one that ended so.
 * @throws forbidden, rollout_not_found, idempotency_conflict, conflict (it is still open, or nobody ended so)
 */
export async function rerunRollout(
  deps: DomainDeps,
  actor: Actor,
  rolloutId: string,
  { outcomes }: RerunRolloutBody,
  idempotencyKey: string | null,
): Promise<Made> {
  assertMayRun(actor);
  return transact(deps, async (unit) => {
    const id = uuidv7();
    const facts = { rerun: rolloutId, outcomes };
    const earlier = await claimRequest(
      unit.trx,
      actor.principal,
      requestKeyOf({ idempotencyKey }, facts),
      'rollout',
      id,
    );
    if (earlier !== undefined) return { created: false, id: earlier };
    const before = await lockRollout(unit.trx, rolloutId);
    if (before === undefined) throw problem('rollout_not_found', { rolloutId });
    if (before.endedAt === null) {
      throw problem('conflict', {
        reason: `the rollout goes on; ${endedRolloutStates.join(', ')} can be rerun`,
      });
    }
    const found = await listRerunTargets(unit.trx, rolloutId, outcomes);
    const digests = new Set(found.flatMap(({ digest }) => (digest === null ? [] : [digest])));
    const kept = await findActs(unit.trx, [...digests]);
    if (kept === undefined) throw problem('conflict', { reason: 'an act is not what its digest says' });
    const acts = rebindActs(id, kept);
    const targets = found.flatMap(({ agentId, digest }): BatchTarget[] => {
      const act = digest === null ? undefined : acts.get(digest);
      return act === undefined ? [] : [{ agentId, digest: act.digest }];
    });
    if (targets.length === 0) throw problem('conflict', { reason: 'no target is to be run again' });
    const { name, plan, run } = before;
    const selection = { by: 'rerun', tags: null } as const;
    const wish = { id, name, selection, run, rerunOf: rolloutId };
    await putRollout(unit, actor, { ...wish, plan, targets, acts: [...acts.values()] });
    return { created: true, id };
  });
}

/** @throws forbidden */
function assertMayRun({ principal }: Actor): void {
  assertCan(principal, 'create', 'rollout');
  assertCan(principal, 'execute', 'command');
}

type Wish = Pick<NewRollout, 'id' | 'name' | 'selection' | 'run' | 'rerunOf'> & {
  plan: RolloutPlan;
  targets: readonly BatchTarget[];
  acts: readonly ActRow[];
};

async function putRollout(unit: Unit, actor: Actor, wish: Wish): Promise<RolloutRow> {
  const { acts, targets, ...facts } = wish;
  const cut = cutIntoBatches(wish.plan, targets);
  for (const act of acts) await insertAct(unit.trx, act);
  const { kind, id, name } = actor.principal;
  const rollout = await insertRollout(unit.trx, {
    ...facts,
    ...{ creatorKind: kind, creatorId: id, creatorName: name },
    targetCount: targets.length,
    batchCount: cut.batches.length,
    hasCanary: canarySize(wish.plan, targets.length) > 0,
  });
  await insertRolloutBatches(unit.trx, rollout.id, cut.batches);
  await insertRolloutTargets(unit.trx, rollout.id, cut.targets);
  const { targetCount, batchCount } = rollout;
  unit.audit(actor, {
    action: 'rollout.create',
    targetKind: 'rollout',
    targetId: rollout.id,
    details: {
      name: rollout.name,
      selection: rollout.selection,
      savedCommandId: rollout.run.savedCommandId,
      digests: acts.map(({ digest }) => digest),
      targets: targetCount,
      batches: batchCount,
      plan: rollout.plan,
      rerunOf: rollout.rerunOf,
    },
  });
  emitRollout(unit, 'rollout.created', rollout, {
    name: rollout.name,
    targets: targetCount,
    batches: batchCount,
  });
  unit.outbox({
    workflowId: rolloutWorkflowId(rollout.id),
    kind: 'start_rollout',
    payload: { input: { rolloutId: rollout.id }, title: rollout.name },
  });
  return rollout;
}

/** The start of what runs, on one line. */
function nameOf(text: string): string {
  const line = [...text.replace(/[\s\p{Cc}]+/gu, ' ').trim()];
  const cut = line.length <= MAX_MADE_NAME_LENGTH ? line : [...line.slice(0, MAX_MADE_NAME_LENGTH - 1), '…'];
  return cut.join('').slice(0, MAX_ROLLOUT_NAME_LENGTH);
}
