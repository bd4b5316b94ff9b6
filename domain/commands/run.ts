/** Ad-hoc commands: from a request straight to the ledger and the sockets, without a workflow. */
import { v7 as uuidv7 } from 'uuid';
import { adHocBinding } from '../../contracts/act.ts';
import type { RunCommandsBody } from '../../contracts/commands.ts';
import { isProblem, problem } from '../../contracts/errors.ts';
import { findCommand } from '../../db/commands.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, requestKeyOf } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { buildAct } from './act-request.ts';
import { resolveShell } from './agents.ts';
import { type InsertedBatch, insertBatch } from './insert.ts';
import { runUsual } from './run-usual.ts';
import { fitHere, fitTargets, type TargetWish } from './target-wish.ts';

type Run = Omit<RunCommandsBody, 'waitMs'>;

/**
 * Run one act on one or many agents. A direct run by a principal who holds the right is its own decision.
 * The same Idempotency-Key (or the same `commandId`) with the same act is the same batch.
 * @throws forbidden, agent_not_found, agent_revoked, validation_failed, conflict (default shells differ),
 *   command_conflict, idempotency_conflict; agent_not_connected where the wish is for connected ones
 */
export async function runCommands(
  deps: DomainDeps,
  actor: Actor,
  body: Run,
  idempotencyKey: string | null,
  wish?: TargetWish,
): Promise<InsertedBatch> {
  assertCan(actor.principal, 'execute', 'command');
  assertOneAgentForId(body);
  // A key or an id of the client's may stand for a batch that is there already.
  if (idempotencyKey === null && body.commandId === undefined) {
    const fitted =
      wish &&
      (fitHere(deps.sockets, body, wish) ??
        (await fitTargets(deps.db, body.agentIds, wish)).withShell(body.act));
    const batch = await runUsual(deps, actor, fitted === undefined ? body : { ...body, act: fitted });
    if (batch !== undefined) return batch;
  }
  try {
    return await runOnce(deps, actor, body, idempotencyKey, wish);
  } catch (error) {
    // Two requests brought the same id at once and the other one won: now there is a row to compare with.
    if (body.commandId === undefined || !isProblem(error, 'command_conflict')) throw error;
    return runOnce(deps, actor, body, idempotencyKey, wish);
  }
}

async function runOnce(
  deps: DomainDeps,
  actor: Actor,
  body: Run,
  idempotencyKey: string | null,
  wish: TargetWish = {},
): Promise<InsertedBatch> {
  return transact(deps, async (unit) => {
    const existing = body.commandId === undefined ? undefined : await findCommand(unit.trx, body.commandId);
    const batchId = existing?.batchId ?? uuidv7();
    // Before anything is checked: a repeat has its answer, whatever has become of the agents since.
    const made = await claimRequest(
      unit.trx,
      actor.principal,
      requestKeyOf({ idempotencyKey }, { run: body }),
      'batch',
      batchId,
    );
    if (made !== undefined) return { batchId: made, created: false };
    const { agents, withShell } = await fitTargets(unit.trx, body.agentIds, wish);
    const act = buildAct(withShell(body.act), deps.limits, { shell: () => resolveShell(agents) });
    return insertBatch(unit, deps, actor, {
      batchId,
      act,
      binding: adHocBinding,
      agents,
      step: null,
      ownerId: actor.principal.id,
      commandId: body.commandId,
    });
  });
}

/** @throws validation_failed */
function assertOneAgentForId({ commandId, agentIds }: Run): void {
  if (commandId === undefined || new Set(agentIds).size === 1) return;
  const message = 'only goes with exactly one agent';
  const issue = { in: 'body', path: ['commandId'], message, type: 'value_error' } as const;
  throw problem('validation_failed', {}, { issues: [issue] });
}
