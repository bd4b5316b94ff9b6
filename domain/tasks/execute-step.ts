/**
 * Execute a step whose outcome is judged: attempts after a failed one, quality gates, and the end of a task that has no
 * other way to end. The decision is that of a direct execution (`execute.ts`); the attempts are part of it.
 */
import type { ActRequest } from '../../contracts/commands.ts';
import { problem } from '../../contracts/errors.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { findOpenBatch } from '../../db/batches.ts';
import { writeExecutionPlan } from '../../db/step-plans.ts';
import { findStep } from '../../db/steps.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
import { transact } from '../transact.ts';
import { sendStep } from './decide.ts';
import { approveNewest, proposeOwn } from './execute.ts';
import { isHeld } from './held.ts';
import { assertNotBlocked, assertOpen, lockTaskRow } from './load.ts';
import { restart } from './report-status.ts';
import { type StepAddress, stepAddressOf, textOfAddress } from './step-address.ts';
import { assertJudged } from './unjudged.ts';

export interface StepExecution {
  /** Absent: the newest proposal. */
  act?: ActRequest | undefined;
  /** Attempts after one that failed for certain. */
  retries: number;
  /** From the end of a failed attempt to the next, milliseconds. */
  retryDelayMs: number;
}

/**
 * Run the newest proposal (approving it when it is undecided), or the caller's own act as a new step. A task in manual
 * mode ends with the outcome; one that has ended begins its next run for an act of the caller's own.
 * @returns the step to wait for, and how long each attempt may run; null of a request that is repeated
 * @throws forbidden, task_not_found, task_blocked, task_not_open, no_proposal, no_agent, already_decided,
 *   approval_expired, command_running, validation_failed, idempotency_conflict
 */
export async function executeStep(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  execution: StepExecution,
  requestKey: RequestKey | null,
): Promise<StepAddress & { timeoutMs: number | null }> {
  const { act, retries, retryDelayMs } = execution;
  return transact(deps, async (unit) => {
    const found = await lockTaskRow(unit, actor, publicId, 'execute');
    const isManual = found.mode === 'manual';
    const isNextRun = isManual && found.endedAt !== null;
    const address: StepAddress = {
      taskId: found.id,
      runNo: isNextRun ? found.runNo + 1 : found.runNo,
      stepNo: isNextRun ? 1 : act === undefined ? found.stepNo : found.stepNo + 1,
    };
    const made = await claimRequest(
      unit.trx,
      actor.principal,
      requestKey,
      'step.execute',
      textOfAddress(address),
    );
    if (made !== undefined) return { ...stepAddressOf(found.id, made), timeoutMs: null };
    // Its proposals belong to the run that has ended.
    if (isNextRun && act === undefined) throw problem('no_proposal', { taskId: publicId });
    const task = isNextRun ? await restart(unit, actor, found) : found;
    assertOpen(task);
    assertNotBlocked(task);
    const batch = await findOpenBatch(unit.trx, task.id, task.runNo);
    if (batch !== undefined) {
      throw problem('command_running', { commandId: `of step ${batch.stepNo ?? '?'}`, state: 'running' });
    }
    const newest = task.stepNo > 0 ? await findStep(unit.trx, task.id, task.runNo, task.stepNo) : undefined;
    if (act === undefined && newest !== undefined && newest.decision !== null && !isHeld(newest)) {
      throw problem('no_proposal', { taskId: publicId });
    }
    await assertJudged(unit, task);
    const step =
      act === undefined
        ? await approveNewest(unit, actor, task, newest, {})
        : await proposeOwn(unit, deps, actor, task, newest, { act });
    const plan = { retries, retryDelayMs, endsTask: isManual };
    await writeExecutionPlan(unit.trx, { ...address, stepNo: step.stepNo }, plan);
    const batchId = await sendStep(unit, deps, actor, task, step);
    unit.audit(actor, {
      action: 'step.execute',
      targetKind: 'step',
      targetId: `${publicId}/${task.runNo}/${step.stepNo}`,
      details: { digest: step.batchDigest, retries, retryDelayMs },
    });
    unit.signal(taskWorkflowId(task.id, task.runNo), {
      name: 'decided',
      arg: { step: step.stepNo, then: 'run', batchId, judge: true },
    });
    return { ...address, stepNo: step.stepNo, timeoutMs: step.act.timeoutMs };
  });
}
