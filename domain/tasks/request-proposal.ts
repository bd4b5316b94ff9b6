/** Manual mode: a person or program asks for the next proposal. In the other modes the workflow asks by itself. */
import { problem } from '../../contracts/errors.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { findOpenBatch } from '../../db/batches.ts';
import { findStep } from '../../db/steps.ts';
import { updateTask } from '../../db/tasks.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
import { transact } from '../transact.ts';
import { isHeld } from './held.ts';
import { assertOpen, lockTaskRow } from './load.ts';
import { toTaskView } from './view.ts';

/**
 * Ask for the next proposal. An open proposal, or a request that is under way, is the same answer.
 * @returns the task and the number of the step to wait for
 * @throws forbidden, task_not_found, task_not_open, conflict (an approved step is not executed), command_running,
 *   idempotency_conflict
 */
export async function requestProposal(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  requestKey: RequestKey | null,
): Promise<{ task: TaskView; step: number }> {
  return transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'propose');
    const newest = task.stepNo > 0 ? await findStep(unit.trx, task.id, task.runNo, task.stepNo) : undefined;
    const isOpen = newest !== undefined && newest.decision === null;
    const step = isOpen ? task.stepNo : task.stepNo + 1;
    const made = await claimRequest(unit.trx, actor.principal, requestKey, 'task.propose', String(step));
    if (made !== undefined) return { task: toTaskView(task), step: Number(made) };
    assertOpen(task);
    if (isOpen) return { task: toTaskView(task), step };
    if (newest !== undefined && isHeld(newest)) {
      throw problem('conflict', { reason: `step ${newest.stepNo} is approved and not executed yet` });
    }
    const batch = await findOpenBatch(unit.trx, task.id, task.runNo);
    if (batch !== undefined) {
      throw problem('command_running', { commandId: `of step ${batch.stepNo ?? '?'}`, state: 'running' });
    }
    if (task.mode !== 'manual' || task.requestedStep >= step) return { task: toTaskView(task), step };
    const updated = await updateTask(unit.trx, task.id, { requestedStep: step });
    unit.audit(actor, { action: 'task.propose', targetKind: 'task', targetId: publicId, details: { step } });
    unit.emit('task.proposal_requested', { taskId: task.id, ownerId: task.creatorId, data: { step } });
    unit.signal(taskWorkflowId(task.id, task.runNo), { name: 'proposeRequested', arg: { step } });
    return { task: toTaskView(updated), step };
  });
}
