/** How a task ends: one update writes state, result and seal; nothing changes the record afterwards. */
import { createHash } from 'node:crypto';
import { problem } from '../../contracts/errors.ts';
import { isEnded } from '../../contracts/states.ts';
import type { TaskEnd, TaskResult, TaskView } from '../../contracts/tasks.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { hangBatchBell } from '../../db/batch-bells.ts';
import { type BatchRow, findOpenBatch } from '../../db/batches.ts';
import { readRunRecord } from '../../db/run-record.ts';
import { decideStep, findStep } from '../../db/steps.ts';
import { type TaskRow, updateTask } from '../../db/tasks.ts';
import { cancelSelection } from '../commands/cancel.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { isRepeatedRequest, type RequestKey } from '../idempotency.ts';
import { transact, type Unit } from '../transact.ts';
import { tellWaiting } from './dependencies.ts';
import { explainEnd } from './end-reasons.ts';
import { lockTaskRow } from './load.ts';
import { toTaskView } from './view.ts';

/** Write the end of a locked, open task. */
export async function endTaskRow(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  end: TaskEnd,
  result: TaskResult,
): Promise<TaskRow> {
  const seal = await sealOf(unit, task, end, result);
  const ended = await updateTask(unit.trx, task.id, {
    state: end,
    endedAt: new Date(),
    result,
    seal,
    waitingReason: null,
    endAs: null,
    blockedAt: null,
  });
  unit.audit(actor, {
    action: `task.${end}`,
    targetKind: 'task',
    targetId: task.publicId,
    details: { reason: result.reason, seal },
  });
  unit.emit(`task.${end}`, {
    taskId: task.id,
    ownerId: task.creatorId,
    data: { success: result.success, reason: result.reason },
  });
  await tellWaiting(unit, ended, end);
  return ended;
}

/**
 * sha256 over the record of the run: what was asked, each step's digest and decision, each command's outcome with the
 * hashes of its output, and the result. Canonical: JSON with the keys in the order written here.
 */
async function sealOf(unit: Unit, task: TaskRow, end: TaskEnd, result: TaskResult): Promise<string> {
  const steps = await readRunRecord(unit.trx, task.id, task.runNo);
  const record = {
    task: { id: task.id, runNo: task.runNo, goal: task.goal, creator: task.creatorId },
    steps: steps.map((step) => ({
      step: step.step,
      digest: step.batchDigest,
      decision: step.decision,
      decidedBy: step.decidedBy,
      commands: step.commands.map((command) => ({
        id: command.commandId,
        agent: command.agentId,
        state: command.state,
        exitCode: command.exitCode,
        stdout: command.stdoutSha256,
        stderr: command.stderrSha256,
      })),
    })),
    end,
    result: { success: result.success, summary: result.summary, reason: result.reason },
  };
  return createHash('sha256').update(JSON.stringify(record)).digest('hex');
}

export type Stopped = { kind: 'ended'; task: TaskRow } | { kind: 'draining'; task: TaskRow; batchId: string };

/**
 * Stop a locked, open task: the open proposal is closed, queued commands end, running ones are asked to stop.
 * With nothing left out the task ends now; otherwise its workflow ends it when the batch is in.
 * @param why as `explainEnd` takes it
 */
export async function stopTask(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  end: TaskEnd,
  why: string,
): Promise<Stopped> {
  await closeProposal(unit, actor, task, end, why);
  const out = await cancelSelection(unit, { kind: 'task', taskId: task.id }, why);
  const batch = out > 0 ? await findOpenBatch(unit.trx, task.id, task.runNo) : undefined;
  if (batch === undefined) {
    // The end that was decided first, while a batch was still out, stands.
    const final = task.endAs ?? end;
    const result = explainEnd(final, task.cancelReason ?? why);
    return { kind: 'ended', task: await endTaskRow(unit, actor, task, final, result) };
  }
  await ensureBell(unit, task, batch);
  if (task.cancelRequestedAt !== null) return { kind: 'draining', task, batchId: batch.id };
  const draining = await updateTask(unit.trx, task.id, {
    cancelRequestedAt: new Date(),
    cancelReason: why,
    endAs: end,
  });
  unit.emit('task.cancel_requested', { taskId: task.id, ownerId: task.creatorId, data: { reason: why } });
  return { kind: 'draining', task: draining, batchId: batch.id };
}

/** Whoever attends the batch may be gone: its workflow waits for it from now on. @returns false when it is in already */
export async function ensureBell(unit: Unit, task: TaskRow, batch: BatchRow): Promise<boolean> {
  return batch.workflowId !== null || hangBatchBell(unit.trx, batch.id, taskWorkflowId(task.id, task.runNo));
}

/** An ended task has no open proposal: what was undecided is closed by the end. */
export async function closeProposal(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  end: TaskEnd,
  why: string,
): Promise<void> {
  const step = task.stepNo > 0 ? await findStep(unit.trx, task.id, task.runNo, task.stepNo) : undefined;
  if (step === undefined || step.decision !== null) return;
  await decideStep(
    unit.trx,
    { taskId: task.id, runNo: task.runNo, stepNo: task.stepNo },
    {
      decision: end === 'expired' ? 'expire' : 'cancel',
      decidedBy: actor.principal,
      reason: explainEnd(end, why).summary,
    },
  );
}

/** Cancel a task for a principal. Canceling a canceled task again is the same answer. @throws task_not_found, task_not_open */
export async function cancelTask(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  reason: string | undefined,
  requestKey: RequestKey | null,
): Promise<TaskView> {
  return transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'cancel');
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, 'task.cancel', task.id))
      return toTaskView(task);
    if (task.state === 'canceled' || task.cancelRequestedAt !== null) return toTaskView(task);
    if (task.endedAt !== null) throw problem('task_not_open', { taskId: publicId, state: task.state });
    const why = reason ?? `canceled by ${actor.principal.name}`;
    unit.audit(actor, {
      action: 'task.cancel',
      targetKind: 'task',
      targetId: publicId,
      details: { reason: reason ?? null },
    });
    const stopped = await stopTask(unit, actor, task, 'canceled', why);
    tellWorkflow(unit, stopped);
    return toTaskView(stopped.task);
  });
}

/** Tell the workflow of a task that somebody else stopped it. */
export function tellWorkflow(unit: Unit, { kind, task }: Stopped): void {
  if (task.kind === 'collab') return; // has none
  const end = kind === 'ended' ? endOf(task) : null;
  unit.signal(taskWorkflowId(task.id, task.runNo), { name: 'ended', arg: { end } });
}

/** How an ended task ended. */
export const endOf = (task: TaskRow): TaskEnd => (isEnded(task.state) ? task.state : 'canceled');
