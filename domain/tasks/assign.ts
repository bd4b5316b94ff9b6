/** Reassign a task to another agent. An open proposal was for another machine: it is void. */
import { problem } from '../../contracts/errors.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { findOpenBatch } from '../../db/batches.ts';
import { findStep } from '../../db/steps.ts';
import { updateTask } from '../../db/tasks.ts';
import { getBatchAgents } from '../commands/agents.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { isRepeatedRequest, type RequestKey } from '../idempotency.ts';
import { transact } from '../transact.ts';
import { writeDecision } from './decide.ts';
import { isHeld } from './held.ts';
import { assertOpen, lockTaskRow } from './load.ts';
import { toTaskView } from './view.ts';

/** @throws forbidden, task_not_found, task_not_open, agent_not_found, agent_revoked, command_running */
export async function assignTask(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  agentId: string,
  requestKey: RequestKey | null,
): Promise<TaskView> {
  return transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'assign');
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, 'task.assign', task.id))
      return toTaskView(task);
    assertOpen(task);
    await getBatchAgents(unit.trx, [agentId]);
    if (task.agentId === agentId) return toTaskView(task);
    const batch = await findOpenBatch(unit.trx, task.id, task.runNo);
    if (batch !== undefined) {
      throw problem('command_running', { commandId: `of step ${batch.stepNo ?? '?'}`, state: 'running' });
    }
    const newest = task.stepNo > 0 ? await findStep(unit.trx, task.id, task.runNo, task.stepNo) : undefined;
    const isOpen = newest !== undefined && (newest.decision === null || isHeld(newest));
    if (newest !== undefined && newest.decision === null) {
      await writeDecision(unit, actor, task, newest, {
        decision: 'void',
        reason: `reassigned to ${agentId}`,
      });
    } else if (newest !== undefined && isHeld(newest)) {
      throw problem('conflict', {
        reason: `step ${newest.stepNo} is approved for ${newest.agentIds.join(', ')}; execute or cancel it`,
      });
    }
    const updated = await updateTask(unit.trx, task.id, {
      agentId,
      target: { agentId },
      ...(isOpen ? { state: 'assigned' as const } : {}),
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
    if (isOpen) {
      unit.signal(taskWorkflowId(task.id, task.runNo), {
        name: 'decided',
        arg: { step: task.stepNo, then: 'again', batchId: null },
      });
    }
    return toTaskView(updated);
  });
}
