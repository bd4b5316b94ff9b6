/** Give a task to another agent, or to none. An open proposal was for another machine: it is void. */
import { problem } from '../../contracts/errors.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { findOpenBatch } from '../../db/batches.ts';
import { findStep } from '../../db/steps.ts';
import { type TaskPatch, type TaskRow, updateTask } from '../../db/tasks.ts';
import { getBatchAgents } from '../commands/agents.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { isRepeatedRequest, type RequestKey } from '../idempotency.ts';
import { transact, type Unit } from '../transact.ts';
import { writeDecision } from './decide.ts';
import { isHeld } from './held.ts';
import { assertOpen, lockTaskRow } from './load.ts';
import { type SealingDeps, sealTaskSecret, taskAgentTokenName } from './task-secrets.ts';
import { toTaskView } from './view.ts';

/**
 * @param options.agentToken what the agent wants to be asked with for this task; kept sealed
 * @throws forbidden, task_not_found, task_not_open, agent_not_found, agent_revoked, command_running, conflict
 */
export async function assignTask(
  deps: DomainDeps & SealingDeps,
  actor: Actor,
  publicId: string,
  agentId: string,
  requestKey: RequestKey | null,
  options: { agentToken?: string | undefined } = {},
): Promise<TaskView> {
  return transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'assign');
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, 'task.assign', task.id))
      return toTaskView(task);
    assertOpen(task);
    await getBatchAgents(unit.trx, [agentId]);
    const { agentToken } = options;
    const token =
      agentToken === undefined ? null : sealTaskSecret(deps, taskAgentTokenName(task.id), agentToken);
    if (task.agentId === agentId && token === null && task.state !== 'created') return toTaskView(task);
    const isMoved = task.agentId !== agentId;
    const isOpen = isMoved && (await voidProposal(unit, actor, task, `reassigned to ${agentId}`));
    const updated = await updateTask(unit.trx, task.id, {
      agentId,
      target: { agentId },
      sealedAgentToken: token ?? (isMoved ? null : task.sealedAgentToken),
      ...(isOpen || task.state === 'created' ? { state: 'assigned' as const } : {}),
      ...(task.waitingReason === 'no_agent' && { waitingReason: null }),
    });
    unit.audit(actor, {
      action: 'task.assign',
      targetKind: 'task',
      targetId: publicId,
      details: { agentId, previous: task.agentId },
    });
    unit.emit('task.assigned', {
      taskId: task.id,
      agentId,
      ownerId: task.creatorId,
      data: { previous: task.agentId },
    });
    if (isOpen) tellReassigned(unit, task);
    else if (task.waitingReason === 'no_agent') tellAssigned(unit, task, agentId);
    return toTaskView(updated);
  });
}

/**
 * Take a task from its agent: in manual mode nobody has it then, in the others the next step finds an agent.
 * @param label a family's word for what it is then
 * @throws forbidden, task_not_found, task_not_open, command_running, conflict
 */
export async function unassignTask(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  requestKey: RequestKey | null,
  label: string | null = null,
): Promise<TaskView> {
  return transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'assign');
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, 'task.unassign', task.id))
      return toTaskView(task);
    assertOpen(task);
    const isOpen = await voidProposal(unit, actor, task, 'unassigned');
    const patch: TaskPatch = { agentId: null, target: { any: true }, sealedAgentToken: null };
    if (task.state !== 'blocked') Object.assign(patch, { state: 'created', statusLabel: label });
    const updated = await updateTask(unit.trx, task.id, patch);
    unit.audit(actor, {
      action: 'task.unassign',
      targetKind: 'task',
      targetId: publicId,
      details: { previous: task.agentId },
    });
    unit.emit('task.unassigned', {
      taskId: task.id,
      agentId: task.agentId,
      ownerId: task.creatorId,
      data: { previous: task.agentId },
    });
    if (isOpen) tellReassigned(unit, task);
    return toTaskView(updated);
  });
}

/** @returns was there one? @throws command_running, conflict (approved, and not executed yet) */
async function voidProposal(unit: Unit, actor: Actor, task: TaskRow, why: string): Promise<boolean> {
  const batch = await findOpenBatch(unit.trx, task.id, task.runNo);
  if (batch !== undefined) {
    throw problem('command_running', { commandId: `of step ${batch.stepNo ?? '?'}`, state: 'running' });
  }
  const newest = task.stepNo > 0 ? await findStep(unit.trx, task.id, task.runNo, task.stepNo) : undefined;
  if (newest === undefined) return false;
  if (isHeld(newest)) {
    throw problem('conflict', {
      reason: `step ${newest.stepNo} is approved for ${newest.agentIds.join(', ')}; execute or cancel it`,
    });
  }
  if (newest.decision !== null) return false;
  await writeDecision(unit, actor, task, newest, { decision: 'void', reason: why });
  return true;
}

const tellReassigned = (unit: Unit, task: TaskRow): void =>
  unit.signal(taskWorkflowId(task.id, task.runNo), {
    name: 'decided',
    arg: { step: task.stepNo, then: 'again', batchId: null },
  });

/** It waits for an agent: it need not wait until it looks again by itself. */
const tellAssigned = (unit: Unit, task: TaskRow, agentId: string): void =>
  unit.signal(taskWorkflowId(task.id, task.runNo), { name: 'assigned', arg: { agentId } });
