/** Ask for a proposal with wishes: other words than the goal, another model, several to compare. */
import { problem } from '../../contracts/errors.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { findOpenBatch } from '../../db/batches.ts';
import { insertProposalPlan, type StepPlanRow } from '../../db/step-plans.ts';
import { findStep } from '../../db/steps.ts';
import { type TaskRow, updateTask } from '../../db/tasks.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
import { transact, type Unit } from '../transact.ts';
import { writeDecision } from './decide.ts';
import { isHeld } from './held.ts';
import { assertNotBlocked, assertOpen, lockTaskRow } from './load.ts';
import { restart } from './report-status.ts';
import { type StepAddress, stepAddressOf, textOfAddress } from './step-address.ts';
import { assertJudged } from './unjudged.ts';

/** What is wanted of the proposal. All empty: what the goal says, of the configured model. */
export type StepWish = Pick<StepPlanRow, 'prompt' | 'modelName' | 'compared'>;

/**
 * Of a task in manual mode a new proposal: one that is undecided is replaced, an ended task begins its next run. A task
 * in another mode proposes by itself; there this is only the address of what it comes up with, and wishes are not heard.
 * @returns the step to wait for
 * @throws forbidden, task_not_found, task_blocked, task_not_open, conflict (an approved step is not executed),
 *   command_running, idempotency_conflict
 */
export async function askForStep(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  wish: StepWish,
  requestKey: RequestKey | null,
): Promise<StepAddress> {
  return transact(deps, async (unit) => {
    const found = await lockTaskRow(unit, actor, publicId, 'propose');
    const isManual = found.mode === 'manual';
    const isNextRun = isManual && found.endedAt !== null;
    const newest =
      found.stepNo > 0 && !isNextRun
        ? await findStep(unit.trx, found.id, found.runNo, found.stepNo)
        : undefined;
    const isOpen = newest !== undefined && newest.decision === null;
    const address: StepAddress = {
      taskId: found.id,
      runNo: isNextRun ? found.runNo + 1 : found.runNo,
      stepNo: isNextRun ? 1 : isOpen && !isManual ? found.stepNo : found.stepNo + 1,
    };
    const made = await claimRequest(
      unit.trx,
      actor.principal,
      requestKey,
      'step.propose',
      textOfAddress(address),
    );
    if (made !== undefined) return stepAddressOf(found.id, made);
    const task = isNextRun ? await restart(unit, actor, found) : found;
    assertOpen(task);
    assertNotBlocked(task);
    if (!isManual || task.requestedStep >= address.stepNo) return address;
    if (newest !== undefined && isHeld(newest)) {
      throw problem('conflict', { reason: `step ${newest.stepNo} is approved and not executed yet` });
    }
    const batch = await findOpenBatch(unit.trx, task.id, task.runNo);
    if (batch !== undefined) {
      throw problem('command_running', { commandId: `of step ${batch.stepNo ?? '?'}`, state: 'running' });
    }
    await assertJudged(unit, task);
    if (isOpen) {
      await writeDecision(unit, actor, task, newest, {
        decision: 'void',
        reason: 'another one was asked for',
      });
      unit.signal(taskWorkflowId(task.id, task.runNo), {
        name: 'decided',
        arg: { step: newest.stepNo, then: 'again', batchId: null },
      });
    }
    await insertProposalPlan(unit.trx, address, wish);
    await request(unit, actor, task, address.stepNo);
    return address;
  });
}

async function request(unit: Unit, actor: Actor, task: TaskRow, step: number): Promise<void> {
  // Until the proposal is there it is being made, also where the worker is away.
  await updateTask(unit.trx, task.id, { requestedStep: step, state: 'proposing' });
  unit.audit(actor, {
    action: 'task.propose',
    targetKind: 'task',
    targetId: task.publicId,
    details: { step },
  });
  unit.emit('task.proposal_requested', { taskId: task.id, ownerId: task.creatorId, data: { step } });
  unit.signal(taskWorkflowId(task.id, task.runNo), { name: 'proposeRequested', arg: { step } });
}
