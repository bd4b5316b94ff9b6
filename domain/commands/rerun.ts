/** Run a batch again on those of its agents where it failed. */
import { v7 as uuidv7 } from 'uuid';
import { adHocBinding } from '../../contracts/act.ts';
import type { RerunBody } from '../../contracts/commands.ts';
import { problem } from '../../contracts/errors.ts';
import { listCommandTargets } from '../../db/agents.ts';
import { listBatchCommands } from '../../db/commands.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, requestKeyOf } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { type InsertedBatch, insertBatch } from './insert.ts';
import { getBatchRow } from './read.ts';

/**
 * A new batch of the same act, with its attempt raised by one. Agents that were revoked meanwhile are left out. What is
 * part of a task goes on in the task: it decides about its next step.
 * @throws forbidden, not_found, idempotency_conflict, conflict (nothing to run again, or part of a task)
 */
export async function rerunFailed(
  deps: DomainDeps,
  actor: Actor,
  batchId: string,
  { outcomes }: RerunBody,
  idempotencyKey: string | null,
): Promise<InsertedBatch> {
  assertCan(actor.principal, 'execute', 'command');
  const { batch } = await getBatchRow(deps, actor, batchId);
  return transact(deps, async (unit) => {
    const newId = uuidv7();
    const made = await claimRequest(
      unit.trx,
      actor.principal,
      requestKeyOf({ idempotencyKey }, { rerun: batchId, outcomes }),
      'batch',
      newId,
    );
    if (made !== undefined) return { batchId: made, created: false };
    if (batch.taskId !== null || batch.workflowId !== null) {
      throw problem('conflict', { reason: 'the batch is part of a workflow, which decides what runs next' });
    }
    const wanted = new Set<string>(outcomes);
    const failed = (await listBatchCommands(unit.trx, batchId)).filter(({ state }) => wanted.has(state));
    const targets = await listCommandTargets(
      unit.trx,
      failed.map(({ agentId }) => agentId),
    );
    const agents = targets.filter(({ isRevoked }) => !isRevoked).sort((a, b) => (a.id < b.id ? -1 : 1));
    const [first] = failed;
    if (first === undefined || agents.length === 0) {
      throw problem('conflict', { reason: 'no command of the batch is to be run again' });
    }
    unit.audit(actor, {
      action: 'command.rerun',
      targetKind: 'batch',
      targetId: newId,
      details: { of: batchId, outcomes, size: agents.length },
    });
    return insertBatch(unit, deps, actor, {
      batchId: newId,
      act: first.act,
      binding: adHocBinding,
      agents,
      step: null,
      ownerId: actor.principal.id,
      attempt: Math.max(...failed.map(({ attempt }) => attempt)) + 1,
    });
  });
}
