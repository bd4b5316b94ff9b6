/** Commands for the server's own machine: they go to the local agent like any other, all of a request or none. */
import { v5 as uuidv5, v7 as uuidv7 } from 'uuid';
import { adHocBinding } from '../../contracts/act.ts';
import type { ActRequest } from '../../contracts/commands.ts';
import { isProblem, problem } from '../../contracts/errors.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, requestKeyOf } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { buildAct } from './act-request.ts';
import { resolveShell } from './agents.ts';
import { type InsertedBatch, insertBatch } from './insert.ts';
import { fitTargets, type TargetWish } from './target-wish.ts';

export interface LocalAgentDeps extends DomainDeps {
  /** The agent of the server's own machine. */
  localAgentId: string;
}

/** The batch of one act of a series: known before it is made, so that a repeat finds all of them by one id. */
const batchIdOf = (seriesId: string, index: number): string => uuidv5(String(index), seriesId);

/**
 * Run acts side by side on the local agent, a batch for each, in the order given. The same Idempotency-Key with the same
 * acts is the same batches.
 * @throws forbidden, local_agent_unavailable, validation_failed (paths begin with the index), idempotency_conflict
 */
export async function runOnServer(
  deps: LocalAgentDeps,
  actor: Actor,
  acts: readonly ActRequest[],
  idempotencyKey: string | null,
  preferredShells: TargetWish['preferredShells'] = [],
): Promise<InsertedBatch[]> {
  assertCan(actor.principal, 'execute', 'command');
  return transact(deps, async (unit) => {
    const seriesId = uuidv7();
    const made = await claimRequest(
      unit.trx,
      actor.principal,
      requestKeyOf({ idempotencyKey }, { local: acts }),
      'batch_series',
      seriesId,
    );
    if (made !== undefined) {
      return acts.map((_, index) => ({ batchId: batchIdOf(made, index), created: false }));
    }
    const { agents, withShell } = await fitLocal(unit.trx, deps.localAgentId, preferredShells);
    const built = acts.map((act, index) =>
      atIndex(index, () => buildAct(withShell(act), deps.limits, { shell: () => resolveShell(agents) })),
    );
    const batches: InsertedBatch[] = [];
    for (const [index, act] of built.entries()) {
      const batchId = batchIdOf(seriesId, index);
      const ownerId = actor.principal.id;
      batches.push(
        await insertBatch(unit, deps, actor, {
          batchId,
          act,
          binding: adHocBinding,
          agents,
          step: null,
          ownerId,
        }),
      );
    }
    return batches;
  });
}

/** To whoever asks for the server's own machine its agent is no agent: it is there or it is not. */
async function fitLocal(
  db: Parameters<typeof fitTargets>[0],
  agentId: string,
  preferredShells: TargetWish['preferredShells'] = [],
): ReturnType<typeof fitTargets> {
  try {
    return await fitTargets(db, [agentId], { preferredShells, onlyConnected: true });
  } catch (error) {
    const isAway = (['agent_not_found', 'agent_revoked', 'agent_not_connected'] as const).some((code) =>
      isProblem(error, code),
    );
    throw isAway ? problem('local_agent_unavailable', {}, { cause: error }) : error;
  }
}

function atIndex<T>(index: number, build: () => T): T {
  try {
    return build();
  } catch (error) {
    if (!isProblem(error, 'validation_failed')) throw error;
    const issues = error.issues.map((issue) => ({ ...issue, path: [index, ...issue.path] }));
    throw problem('validation_failed', {}, { issues, cause: error });
  }
}
