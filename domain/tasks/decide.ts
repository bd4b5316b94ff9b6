/**
 * Decisions: approve, reject, edit. They compete for the task's row lock; the first one to commit wins, and what it
 * approved is bound by digest to the exact bytes that run (promise P5).
 */
import { type Act, actDigest, batchDigest } from '../../contracts/act.ts';
import { isProblem, problem } from '../../contracts/errors.ts';
import type { DecideBody, StepView } from '../../contracts/tasks.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { findAct, insertAct } from '../../db/acts.ts';
import type { Trx } from '../../db/database.ts';
import { type DecisionPatch, decideStep, findStep, type StepRow, setStepBatch } from '../../db/steps.ts';
import { type TaskRow, updateTask } from '../../db/tasks.ts';
import { buildAct } from '../commands/act-request.ts';
import { type BatchAgent, getBatchAgents, resolveShell } from '../commands/agents.ts';
import { insertBatch } from '../commands/insert.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { isRepeatedRequest, type RequestKey } from '../idempotency.ts';
import { type AuditFacts, recordDenial, transact, type Unit } from '../transact.ts';
import { endTaskRow } from './end.ts';
import { assertOpen, lockTaskRow } from './load.ts';
import { getStepView } from './read.ts';
import { riskOf } from './risk.ts';

/**
 * Decide a step. The same decision by the same principal again is the same answer.
 * @throws forbidden, task_not_found, step_not_found, task_not_open, stale_digest, already_decided, approval_expired,
 *   validation_failed, idempotency_conflict
 */
export async function decide(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  body: DecideBody,
  requestKey: RequestKey | null,
): Promise<StepView> {
  const refused: { denial?: Omit<AuditFacts, 'outcome'> } = {};
  try {
    await transact(deps, async (unit) => {
      const task = await lockTaskRow(unit, actor, publicId, 'decide');
      const step = await getStep(unit.trx, task, body.step);
      const stepId = `${task.id}/${task.runNo}/${body.step}`;
      if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, 'task.decide', stepId)) return;
      if (await isRepeat(unit, deps, actor, task, step, body)) return;
      refused.denial = {
        action: `step.${body.decision}`,
        targetKind: 'step',
        targetId: `${publicId}/${task.runNo}/${body.step}`,
        details: { digest: body.digest },
      };
      assertDecidable(task, step, body.digest);
      if (body.decision === 'reject') await reject(unit, actor, task, step, body.reason, body.final);
      else if (body.decision === 'edit')
        await approve(unit, deps, actor, task, await edit(unit, deps, actor, task, step, body));
      else await approve(unit, deps, actor, task, await accept(unit, actor, task, step, body.reason ?? null));
    });
  } catch (error) {
    // A fault of the database is no denial, and failing to record one must not hide why the decision was refused.
    if (refused.denial !== undefined && isProblem(error)) {
      await recordDenial(deps, actor, refused.denial).catch((err: unknown) =>
        deps.log.error({ event: 'denial_not_recorded', err }),
      );
    }
    throw error;
  }
  return getStepView(deps, actor, publicId, body.step);
}

async function getStep(trx: Trx, task: TaskRow, stepNo: number): Promise<StepRow> {
  const step = await findStep(trx, task.id, task.runNo, stepNo);
  if (step === undefined) throw problem('step_not_found', { taskId: task.publicId, step: stepNo });
  return step;
}

/** The same principal said the same before: a double click, or a lost answer. */
async function isRepeat(
  unit: Unit,
  deps: DomainDeps,
  actor: Actor,
  task: TaskRow,
  step: StepRow,
  body: DecideBody,
): Promise<boolean> {
  if (step.decision !== body.decision || step.decidedId !== actor.principal.id) return false;
  switch (body.decision) {
    case 'approve':
      return step.batchDigest === body.digest;
    case 'reject':
      return step.batchDigest === body.digest && body.final === wasFinal(task, step);
    case 'edit':
      return isSameEdit(unit, deps, step, body);
  }
}

/** The rejection of this step ended the task. */
const wasFinal = (task: TaskRow, step: StepRow): boolean =>
  task.stepNo === step.stepNo && task.result?.reason === 'rejected';

/** The digest names the proposal that was edited, and the act leads to what is in the row now. */
async function isSameEdit(unit: Unit, deps: DomainDeps, step: StepRow, body: EditBody): Promise<boolean> {
  const original = step.originalDigest === null ? undefined : await findAct(unit.trx, step.originalDigest);
  if (original === undefined || batchDigest(original.digest, step.agentIds) !== body.digest) return false;
  const act = await editedAct(unit, deps, { ...step, act: original.act }, body);
  return actDigest(act, step.binding) === step.digest;
}

/** @throws stale_digest, already_decided, task_not_open, approval_expired */
export function assertDecidable(task: TaskRow, step: StepRow, digest: string | null): void {
  if (step.decision !== null) {
    if (step.decision === 'expire') throw problem('approval_expired', { step: step.stepNo });
    throw problem('already_decided', { step: step.stepNo, decision: step.decision });
  }
  assertOpen(task);
  if (step.stepNo !== task.stepNo || (digest !== null && step.batchDigest !== digest))
    throw problem('stale_digest');
  if (step.expiresAt.getTime() <= Date.now()) throw problem('approval_expired', { step: step.stepNo });
}

/** Write the decision on a step whose task is locked, with its audit row and event. */
export async function writeDecision(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  step: StepRow,
  patch: Omit<DecisionPatch, 'decidedBy'>,
): Promise<void> {
  const { kind, id, name } = actor.principal;
  const written = await decideStep(
    unit.trx,
    { taskId: task.id, runNo: step.runNo, stepNo: step.stepNo },
    { ...patch, decidedBy: { kind, id, name } },
  );
  // The task row is locked, so this cannot happen; if it does, nothing may run.
  if (!written) throw problem('already_decided', { step: step.stepNo, decision: 'by somebody else' });
  announceDecision(unit, actor, task, step, patch);
}

/** The audit row and the event of a decision that is written in this unit. */
export function announceDecision(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  step: StepRow,
  patch: Pick<DecisionPatch, 'decision' | 'edit'>,
): void {
  unit.audit(actor, {
    action: `step.${patch.decision}`,
    targetKind: 'step',
    targetId: `${task.publicId}/${step.runNo}/${step.stepNo}`,
    details: {
      digest: patch.edit?.batchDigest ?? step.batchDigest,
      previous: patch.edit ? step.batchDigest : null,
    },
  });
  unit.emit('task.decided', {
    taskId: task.id,
    ownerId: task.creatorId,
    data: { step: step.stepNo, decision: patch.decision },
  });
}

async function reject(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  step: StepRow,
  reason: string,
  final: boolean,
): Promise<void> {
  await writeDecision(unit, actor, task, step, { decision: 'reject', reason });
  const workflowId = taskWorkflowId(task.id, task.runNo);
  if (final) {
    await endTaskRow(unit, actor, task, 'canceled', { success: false, summary: reason, reason: 'rejected' });
    unit.signal(workflowId, { name: 'ended', arg: { end: 'canceled' } });
    return;
  }
  await updateTask(unit.trx, task.id, { state: 'assigned' });
  unit.signal(workflowId, { name: 'decided', arg: { step: step.stepNo, then: 'again', batchId: null } });
}

async function accept(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  step: StepRow,
  reason: string | null,
): Promise<StepRow> {
  await writeDecision(unit, actor, task, step, { decision: 'approve', reason });
  return step;
}

type EditBody = Extract<DecideBody, { decision: 'edit' }>;

/** The client's act; what it leaves out is as proposed. @throws validation_failed */
async function editedAct(unit: Unit, deps: DomainDeps, proposed: StepRow, body: EditBody): Promise<Act> {
  const agents = await getBatchAgents(unit.trx, proposed.agentIds);
  return buildAct(body.act, deps.limits, {
    shell: () => (proposed.act.mode === 'shell' ? proposed.act.shell : resolveShell(agents)),
    timeoutMs: proposed.act.timeoutMs,
    expiryMs: proposed.act.expiryMs,
  });
}

/** Replace the act by the client's, re-label it, and record the editor as its author. */
async function edit(
  unit: Unit,
  deps: DomainDeps,
  actor: Actor,
  task: TaskRow,
  step: StepRow,
  body: EditBody,
): Promise<StepRow> {
  const act = await editedAct(unit, deps, step, body);
  const digest = actDigest(act, step.binding);
  const risk = riskOf(act);
  const edited = {
    digest,
    batchDigest: batchDigest(digest, step.agentIds),
    riskLabel: risk.label,
    riskReasons: risk.reasons,
  };
  await insertAct(unit.trx, { digest, act, binding: step.binding });
  await writeDecision(unit, actor, task, step, {
    decision: 'edit',
    reason: body.reason ?? null,
    edit: edited,
  });
  return { ...step, ...edited, act };
}

/** What follows an approval: the batch goes out, or (manual mode) waits until somebody executes it. */
async function approve(
  unit: Unit,
  deps: DomainDeps,
  actor: Actor,
  task: TaskRow,
  step: StepRow,
): Promise<void> {
  if (task.mode === 'manual') {
    await updateTask(unit.trx, task.id, { state: 'assigned' });
    unit.signal(taskWorkflowId(task.id, task.runNo), {
      name: 'decided',
      arg: { step: step.stepNo, then: 'hold', batchId: null },
    });
    return;
  }
  const batchId = await sendStep(unit, deps, actor, task, step);
  unit.signal(taskWorkflowId(task.id, task.runNo), {
    name: 'decided',
    arg: { step: step.stepNo, then: 'run', batchId },
  });
}

/**
 * Put an approved step's batch on the ledger. Returns its id; the caller tells the workflow.
 * @param known what the caller has read already; with a batch id, the decision names it too. `isAttended`: the caller
 *   waits for the batch itself, and hangs its bell when it stops
 */
export async function sendStep(
  unit: Unit,
  deps: DomainDeps,
  actor: Actor,
  task: TaskRow,
  step: StepRow,
  known?: { batchId: string; agents: readonly BatchAgent[]; isAttended: boolean },
): Promise<string> {
  const agents = known?.agents ?? (await getBatchAgents(unit.trx, step.agentIds));
  const inserting = insertBatch(unit, deps, actor, {
    ...(known === undefined ? {} : { batchId: known.batchId }),
    act: step.act,
    binding: step.binding,
    agents,
    ownerId: task.creatorId,
    step: {
      taskId: task.id,
      runNo: step.runNo,
      step: step.stepNo,
      workflowId: known?.isAttended ? null : taskWorkflowId(task.id, task.runNo),
    },
  });
  // On its way with the batch: neither statement waits for what the other answers.
  const updating = updateTask(unit.trx, task.id, { state: 'running', stepNo: step.stepNo });
  const [{ batchId }] = await Promise.all([inserting, updating]);
  if (known === undefined) {
    await setStepBatch(unit.trx, { taskId: task.id, runNo: step.runNo, stepNo: step.stepNo }, batchId);
  }
  unit.emit('task.step_started', {
    taskId: task.id,
    batchId,
    ownerId: task.creatorId,
    data: { step: step.stepNo },
  });
  return batchId;
}
