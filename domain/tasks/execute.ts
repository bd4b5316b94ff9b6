/** Direct execution: a principal who holds the right is its own decision, recorded as proposal and approval by them. */
import { v7 as uuidv7 } from 'uuid';
import { type Act, actDigest, batchDigest } from '../../contracts/act.ts';
import { problem } from '../../contracts/errors.ts';
import type { ExecuteBody, StepView } from '../../contracts/tasks.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { findOpenBatch } from '../../db/batches.ts';
import { type DecidedWithStep, findStep, insertStep, type StepRow } from '../../db/steps.ts';
import { pickAgent, type TaskRow, updateTask } from '../../db/tasks.ts';
import { buildAct } from '../commands/act-request.ts';
import { getBatchAgents, resolveShell } from '../commands/agents.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
import { transact, type Unit } from '../transact.ts';
import { announceDecision, assertDecidable, sendStep, writeDecision } from './decide.ts';
import { isHeld } from './held.ts';
import { assertOpen, lockTaskRow } from './load.ts';
import { getStepView } from './read.ts';
import { riskOf } from './risk.ts';

/**
 * Run the newest proposal (approving it when it is undecided), or the caller's own act as a new step.
 * @throws forbidden, task_not_found, task_not_open, no_proposal, no_agent, stale_digest, already_decided, command_running
 */
export async function executeTask(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  body: ExecuteBody,
  requestKey: RequestKey | null,
): Promise<StepView> {
  const stepNo = await transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'execute');
    const made = await claimRequest(
      unit.trx,
      actor.principal,
      requestKey,
      'task.execute',
      String(body.act === undefined ? task.stepNo : task.stepNo + 1),
    );
    if (made !== undefined) return Number(made);
    assertOpen(task);
    const batch = await findOpenBatch(unit.trx, task.id, task.runNo);
    if (batch !== undefined)
      throw problem('command_running', { commandId: `of step ${batch.stepNo ?? '?'}`, state: 'running' });
    const newest = task.stepNo > 0 ? await findStep(unit.trx, task.id, task.runNo, task.stepNo) : undefined;
    const step =
      body.act === undefined
        ? await approveNewest(unit, actor, task, newest, body)
        : await proposeOwn(unit, deps, actor, task, newest, { ...body, act: body.act });
    const batchId = await sendStep(unit, deps, actor, task, step);
    unit.signal(taskWorkflowId(task.id, task.runNo), {
      name: 'decided',
      arg: { step: step.stepNo, then: 'run', batchId },
    });
    return step.stepNo;
  });
  return getStepView(deps, actor, publicId, stepNo);
}

export async function approveNewest(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  newest: StepRow | undefined,
  body: ExecuteBody,
): Promise<StepRow> {
  if (newest === undefined) throw problem('no_proposal', { taskId: task.publicId });
  if (isHeld(newest)) {
    if (body.digest !== undefined && body.digest !== newest.batchDigest) throw problem('stale_digest');
    return newest;
  }
  if (newest.decision !== null) throw problem('no_proposal', { taskId: task.publicId });
  assertDecidable(task, newest, body.digest ?? null);
  await writeDecision(unit, actor, task, newest, { decision: 'approve', reason: body.reason ?? null });
  return newest;
}

export async function proposeOwn(
  unit: Unit,
  deps: DomainDeps,
  actor: Actor,
  task: TaskRow,
  newest: StepRow | undefined,
  body: ExecuteBody & { act: NonNullable<ExecuteBody['act']> },
): Promise<StepRow> {
  if (newest !== undefined && newest.decision === null) {
    await writeDecision(unit, actor, task, newest, {
      decision: 'void',
      reason: 'replaced by a direct execution',
    });
  }
  const agentId = task.agentId ?? (await pickAgent(unit.trx, task.target));
  if (agentId === undefined) throw problem('no_agent', { taskId: task.publicId });
  const agents = await getBatchAgents(unit.trx, [agentId]);
  const act = buildAct(body.act, deps.limits, {
    shell: () => resolveShell(agents),
    timeoutMs: task.commandTimeoutMs,
    expiryMs: task.expiryMs,
  });
  const step = await writeProposal(unit, task, {
    stepNo: task.stepNo + 1,
    origin: 'person',
    author: actor.principal,
    act,
    agentIds: [agentId],
    reason: body.reason ?? 'direct execution',
    expectedEffect: '',
    usage: null,
  });
  await updateTask(unit.trx, task.id, { agentId, stepNo: step.stepNo, waitingReason: null });
  await writeDecision(unit, actor, task, step, { decision: 'approve', reason: body.reason ?? null });
  return step;
}

export interface Proposal {
  stepNo: number;
  origin: 'model' | 'person';
  author: { kind: string; id: string; name: string };
  act: Act;
  agentIds: string[];
  reason: string;
  expectedEffect: string;
  usage: null | { model: string; mock: boolean; inputTokens: number; outputTokens: number; costUsd: number };
}

/** An approval that comes with the proposal: policy lets the step run undecided, in the name of this actor. */
export interface Approval {
  by: Actor;
  reason: string;
  /** The batch that the step becomes in the same transaction. */
  batchId: string;
}

/** Write a proposal of a locked task, with its digest and label. Without an approval it has no effect by itself. */
export async function writeProposal(
  unit: Unit,
  task: TaskRow,
  proposal: Proposal,
  approval?: Approval,
): Promise<StepRow> {
  const proposalId = uuidv7();
  const binding = { taskRun: `${task.id}/${task.runNo}`, step: proposal.stepNo, proposalId };
  const digest = actDigest(proposal.act, binding);
  const risk = riskOf(proposal.act);
  const row = {
    taskId: task.id,
    runNo: task.runNo,
    stepNo: proposal.stepNo,
    proposalId,
    origin: proposal.origin,
    authorKind: proposal.author.kind,
    authorId: proposal.author.id,
    authorName: proposal.author.name,
    digest,
    agentIds: proposal.agentIds,
    batchDigest: batchDigest(digest, proposal.agentIds),
    reason: proposal.reason,
    expectedEffect: proposal.expectedEffect,
    riskLabel: risk.label,
    riskReasons: risk.reasons,
    // Nobody can decide after the task's own deadline.
    expiresAt: new Date(Math.min(Date.now() + task.approvalTimeoutMs, task.deadlineAt.getTime())),
    model: proposal.usage?.model ?? null,
    mock: proposal.usage?.mock ?? false,
    inputTokens: proposal.usage?.inputTokens ?? 0,
    outputTokens: proposal.usage?.outputTokens ?? 0,
    costUsd: proposal.usage?.costUsd ?? 0,
  };
  const decided = approval === undefined ? undefined : decidedBy(approval);
  await insertStep(unit.trx, { ...row, ...decided }, { digest, act: proposal.act, binding });
  unit.emit('task.proposed', {
    taskId: task.id,
    ownerId: task.creatorId,
    data: { step: row.stepNo, risk: row.riskLabel, origin: row.origin, mock: row.mock },
  });
  const step: StepRow = {
    ...row,
    act: proposal.act,
    binding,
    proposedAt: new Date(),
    ...(decided ?? undecided),
    originalDigest: null,
  };
  if (approval !== undefined) announceDecision(unit, approval.by, task, step, { decision: 'approve' });
  return step;
}

const undecided: DecidedWithStep = {
  decision: null,
  decidedKind: null,
  decidedId: null,
  decidedName: null,
  decidedAt: null,
  decisionReason: null,
  batchId: null,
};

const decidedBy = ({ by, reason, batchId }: Approval): DecidedWithStep => ({
  decision: 'approve',
  decidedKind: by.principal.kind,
  decidedId: by.principal.id,
  decidedName: by.principal.name,
  decidedAt: new Date(),
  decisionReason: reason,
  batchId,
});
