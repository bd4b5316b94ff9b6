/** Ad-hoc commands: from a request straight to the ledger and the sockets, without a workflow. */
import { adHocBinding } from '../../contracts/act.ts';
import type { BatchView, RunCommandsBody } from '../../contracts/commands.ts';
import { problem } from '../../contracts/errors.ts';
import { findBatch } from '../../db/batches.ts';
import { listBatchCommands } from '../../db/commands.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { bodySha256, claimIdempotencyKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { buildAct } from './act-request.ts';
import { getBatchAgents, resolveShell } from './agents.ts';
import { insertBatch } from './insert.ts';
import { toCommandView } from './view.ts';

/**
 * Run one act on one or many agents. A direct run by a principal who holds the right is its own decision.
 * The same Idempotency-Key (or the same `commandId`) with the same act is the same batch.
 * @throws forbidden, agent_not_found, agent_revoked, validation_failed, command_conflict, idempotency_conflict
 */
export async function runCommands(
  deps: DomainDeps,
  actor: Actor,
  body: Omit<RunCommandsBody, 'waitMs'>,
  idempotencyKey: string | null,
): Promise<{ batchId: string; created: boolean }> {
  assertCan(actor.principal, 'execute', 'command');
  if (body.commandId !== undefined && new Set(body.agentIds).size !== 1) {
    throw problem(
      'validation_failed',
      {},
      {
        issues: [
          {
            in: 'body',
            path: ['commandId'],
            message: 'only goes with exactly one agent',
            type: 'value_error',
          },
        ],
      },
    );
  }
  return transact(deps, async (unit) => {
    const agents = await getBatchAgents(unit.trx, body.agentIds);
    const act = buildAct(body.act, deps.limits, { shell: () => resolveShell(agents) });
    const inserted = await insertBatch(unit, deps, actor, {
      act,
      binding: adHocBinding,
      agents,
      step: null,
      ownerId: actor.principal.id,
      commandId: body.commandId,
    });
    if (idempotencyKey === null) return inserted;
    const claim = await claimIdempotencyKey(unit.trx, {
      principalId: actor.principal.id,
      key: idempotencyKey,
      bodySha256: bodySha256({ run: body }),
      resourceKind: 'batch',
      resourceId: inserted.batchId,
    });
    // Used before: undo what this unit inserted by leaving the transaction, and answer with the first batch.
    if (!claim.claimed) throw new ReplayedBatch(claim.resourceId);
    return inserted;
  }).catch((error: unknown) => {
    if (error instanceof ReplayedBatch) return { batchId: error.batchId, created: false };
    throw error;
  });
}

class ReplayedBatch extends Error {
  readonly batchId: string;
  constructor(batchId: string) {
    super('replayed');
    this.batchId = batchId;
  }
}

/** @throws not_found, forbidden */
export async function getBatch(deps: DomainDeps, actor: Actor, batchId: string): Promise<BatchView> {
  const batch = await findBatch(deps.db, batchId);
  if (batch === undefined) throw problem('not_found');
  const commands = await listBatchCommands(deps.db, batchId);
  assertCan(actor.principal, 'read', 'command', commands[0]?.ownerId);
  return {
    batchId: batch.id,
    size: batch.size,
    pending: batch.pending,
    finishedAt: batch.finishedAt?.toISOString() ?? null,
    commands: commands.map(toCommandView),
  };
}
