/** The status of a task as a person or program reports it, where they do the work themselves or know better. */
import { problem } from '../../contracts/errors.ts';
import { DEFAULT_DEADLINE_MS, type TaskEnd, type TaskState, type TaskView } from '../../contracts/tasks.ts';
import { findOpenBatch } from '../../db/batches.ts';
import { startNextRun, type TaskRow, updateTask } from '../../db/tasks.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { startWorkflow } from './create.ts';
import { stopTask, tellWorkflow } from './end.ts';
import { reportedFailure } from './end-reasons.ts';
import { assertExpected, type Expected, lockTaskRow } from './load.ts';
import { toTaskView } from './view.ts';

/** `waiting`: nobody is at it yet; an ended task begins anew. `running`: somebody is. The others end it. */
export type ReportedStatus = 'waiting' | 'running' | 'completed' | 'failed' | 'canceled';

export interface StatusReport extends Expected {
  status: ReportedStatus;
  /** Why, in the words of whoever reports an end. */
  reason?: string | undefined;
  /** End it although a command is out: the command is told to stop, and the task ends when it has. */
  force?: boolean;
}

/**
 * What the task is already is the same answer again.
 * @throws forbidden, task_not_found, precondition_failed, task_not_open, conflict (a proposal is at hand),
 *   command_running
 */
export async function reportStatus(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  report: StatusReport,
): Promise<TaskView> {
  const { status } = report;
  return transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, status === 'canceled' ? 'cancel' : 'update');
    assertExpected(task, report);
    if (task.endedAt !== null && status === 'waiting') return toTaskView(await restart(unit, actor, task));
    if (meansAlready(task, status)) return toTaskView(task);
    if (task.endedAt !== null || task.cancelRequestedAt !== null) {
      const state = task.endedAt === null ? 'cancel requested' : task.state;
      throw problem('task_not_open', { taskId: publicId, state });
    }
    switch (status) {
      case 'waiting':
        return toTaskView(await putBack(unit, actor, task));
      case 'running':
        return toTaskView(await setState(unit, actor, task, 'running'));
      default:
        return toTaskView(await reportEnd(unit, actor, task, status, report));
    }
  });
}

const statesOfReport: Record<ReportedStatus, readonly TaskState[]> = {
  waiting: ['created', 'assigned', 'blocked'],
  running: ['proposing', 'awaiting_decision', 'running'],
  completed: ['completed'],
  failed: ['failed', 'expired'],
  canceled: ['canceled'],
};

function meansAlready(task: TaskRow, status: ReportedStatus): boolean {
  const isOnItsWay = task.cancelRequestedAt !== null && task.endedAt === null;
  const state = isOnItsWay ? (task.endAs ?? 'canceled') : task.state;
  return statesOfReport[status].includes(state);
}

/** Nobody is at it any more; only where the engine is not. */
async function putBack(unit: Unit, actor: Actor, task: TaskRow): Promise<TaskRow> {
  const batch = await findOpenBatch(unit.trx, task.id, task.runNo);
  if (batch !== undefined) {
    throw problem('command_running', { commandId: `of step ${batch.stepNo ?? '?'}`, state: 'running' });
  }
  if (task.state !== 'running')
    throw problem('conflict', { reason: `step ${task.stepNo || 1} is being proposed or decided` });
  return setState(unit, actor, task, task.agentId === null ? 'created' : 'assigned');
}

/** A word for people: the engine goes by steps and batches. */
async function setState(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  state: 'created' | 'assigned' | 'running',
): Promise<TaskRow> {
  const updated = await updateTask(unit.trx, task.id, { state });
  announceUpdate(unit, actor, task, { state });
  return updated;
}

/** The audit row and the event of a change of what a task says. */
export function announceUpdate(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  changed: Record<string, unknown>,
): void {
  unit.audit(actor, {
    action: 'task.update',
    targetKind: 'task',
    targetId: task.publicId,
    details: changed,
  });
  unit.emit('task.updated', { taskId: task.id, ownerId: task.creatorId, data: changed });
}

async function reportEnd(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  end: TaskEnd,
  { reason, force = false }: StatusReport,
): Promise<TaskRow> {
  const words = reason ?? `${end} by ${actor.principal.name}`;
  unit.audit(actor, {
    action: 'task.report',
    targetKind: 'task',
    targetId: task.publicId,
    details: { end, reason: reason ?? null, force },
  });
  const stopped = await stopTask(unit, actor, task, end, end === 'failed' ? reportedFailure(words) : words);
  // Nothing of it is committed then.
  if (stopped.kind === 'draining' && !force) {
    throw problem('command_running', { commandId: `of step ${task.stepNo}`, state: 'running' });
  }
  tellWorkflow(unit, stopped);
  return stopped.task;
}

/** The next run of an ended task, with a workflow of its own. */
async function restart(unit: Unit, actor: Actor, task: TaskRow): Promise<TaskRow> {
  // As when it was created: what runs undecided is a decision.
  if (task.preApproved.length > 0) assertCan(actor.principal, 'decide', 'task', task.creatorId);
  const next = await startNextRun(unit.trx, task.id, {
    agentId: 'agentId' in task.target ? task.target.agentId : null,
    deadlineAt: new Date(Date.now() + DEFAULT_DEADLINE_MS),
  });
  const ended = { end: task.state, seal: task.seal };
  unit.audit(actor, {
    action: 'task.restart',
    targetKind: 'task',
    targetId: task.publicId,
    details: { run: next.runNo, previous: ended },
  });
  unit.emit('task.restarted', { taskId: task.id, ownerId: task.creatorId, data: { run: next.runNo } });
  if (task.kind !== 'collab') startWorkflow(unit, next);
  return next;
}
