/** The status of a task as a person or program reports it, where they do the work themselves or know better. */
import { problem } from '../../contracts/errors.ts';
import {
  DEFAULT_DEADLINE_MS,
  MAX_DEADLINE_MS,
  type TaskEnd,
  type TaskState,
  type TaskView,
} from '../../contracts/tasks.ts';
import { findOpenBatch } from '../../db/batches.ts';
import { listUndone, needTasks } from '../../db/task-dependencies.ts';
import { findTaskByPublicId, startNextRun, type TaskRow, updateTask } from '../../db/tasks.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { transact, type Unit } from '../transact.ts';
import { announceBlocked, blockTask, ON_HOLD, unblockTask, WAITS_FOR_TASKS } from './dependencies.ts';
import { stopTask, tellWorkflow } from './end.ts';
import { reportedFailure } from './end-reasons.ts';
import { assertMayLetRun } from './let-run.ts';
import { assertExpected, assertNotBlocked, assertUntouched, type Expected, lockTaskRow } from './load.ts';
import { startWorkflow } from './start.ts';
import { assertJudged } from './unjudged.ts';
import { toTaskView } from './view.ts';

/**
 * `waiting`: nobody is at it yet; an ended task begins anew, one on hold goes on. `blocked`: on hold until it is waiting
 * again. `running`: somebody is at it. The others end it.
 */
export type ReportedStatus = 'waiting' | 'blocked' | 'running' | 'completed' | 'failed' | 'canceled';

export interface StatusReport extends Expected {
  status: ReportedStatus;
  /** Why, in the words of whoever reports an end. */
  reason?: string | undefined;
  /** End it although a command is out: the command is told to stop, and the task ends when it has. */
  force?: boolean;
}

/**
 * What the task is already is the same answer again.
 * @throws forbidden, task_not_found, precondition_failed, task_not_open, task_blocked, conflict (a proposal is at hand),
 *   command_running
 */
export async function reportStatus(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  report: StatusReport,
): Promise<TaskView> {
  return transact(deps, async (unit) => {
    const held = report.status === 'waiting' ? await holdDependencies(unit, publicId) : [];
    const verb = report.status === 'canceled' ? 'cancel' : 'update';
    const task = await lockTaskRow(unit, actor, publicId, verb);
    return toTaskView(await reportStatusIn(unit, actor, task, report, held));
  });
}

/**
 * As reportStatus, of a locked task in a unit of work that does more.
 * @param held what `holdDependencies` said before the task was locked, where it may begin anew or go on
 */
export async function reportStatusIn(
  unit: Unit,
  actor: Actor,
  task: TaskRow,
  report: StatusReport,
  held: readonly string[],
): Promise<TaskRow> {
  const { status } = report;
  assertExpected(task, report);
  if (status === 'waiting' && (task.endedAt !== null || task.state === 'blocked')) {
    if (held.join() !== task.dependsOn.join()) {
      throw problem('conflict', { reason: 'what it depends on was changed meanwhile' });
    }
    return task.endedAt === null ? goOn(unit, actor, task) : restart(unit, actor, task);
  }
  if (meansAlready(task, status)) return task;
  if (task.endedAt !== null || task.cancelRequestedAt !== null) {
    const state = task.endedAt === null ? 'cancel requested' : task.state;
    throw problem('task_not_open', { taskId: task.publicId, state });
  }
  switch (status) {
    case 'waiting':
      return putBack(unit, actor, task);
    case 'blocked':
      return hold(unit, actor, task);
    case 'running':
      assertNotBlocked(task);
      return setState(unit, actor, task, 'running');
    default:
      return reportEnd(unit, actor, task, status, report);
  }
}

/**
 * Before a task is locked that may begin anew or go on: what it depends on stays as it is until the unit commits.
 * @returns what it depends on
 */
export async function holdDependencies(unit: Unit, publicId: string): Promise<string[]> {
  const dependsOn = (await findTaskByPublicId(unit.trx, publicId))?.dependsOn ?? [];
  if (dependsOn.length > 0) await needTasks(unit.trx, dependsOn);
  return dependsOn;
}

const statesOfReport: Record<ReportedStatus, readonly TaskState[]> = {
  waiting: ['created', 'assigned'],
  blocked: ['blocked'],
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
  await assertJudged(unit, task);
  return setState(unit, actor, task, task.agentId === null ? 'created' : 'assigned');
}

/** On hold: only where nobody is at it, and nothing goes on by itself. */
async function hold(unit: Unit, actor: Actor, task: TaskRow): Promise<TaskRow> {
  assertUntouched(task);
  const held = await blockTask(unit, task, ON_HOLD, []);
  announceUpdate(unit, actor, task, { state: held.state });
  return held;
}

/** A blocked task that is reported as waiting: what it depends on still counts. */
async function goOn(unit: Unit, actor: Actor, task: TaskRow): Promise<TaskRow> {
  const undone = await listUndone(unit.trx, task.dependsOn);
  if (undone.length > 0) {
    if (task.waitingReason === WAITS_FOR_TASKS) return task;
    return blockTask(unit, task, WAITS_FOR_TASKS, undone);
  }
  const released = await unblockTask(unit, task);
  announceUpdate(unit, actor, task, { state: released.state });
  return released;
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

/** The time for another run, milliseconds: what there was from its creation on, within the bounds of tasks. */
const timeOf = ({ createdAt, deadlineAt }: TaskRow): number =>
  Math.min(Math.max(deadlineAt.getTime() - createdAt.getTime(), DEFAULT_DEADLINE_MS), MAX_DEADLINE_MS);

/** The next run of an ended task, with a workflow of its own. It waits again for what has not completed (anew). */
export async function restart(unit: Unit, actor: Actor, task: TaskRow): Promise<TaskRow> {
  // As when it was created: what runs undecided is a decision.
  assertMayLetRun(actor.principal, task);
  const agentId = 'agentId' in task.target ? task.target.agentId : null;
  const undone = await listUndone(unit.trx, task.dependsOn);
  const isBlocked = undone.length > 0;
  const next = await startNextRun(unit.trx, task.id, {
    state: isBlocked ? 'blocked' : agentId === null ? 'created' : 'assigned',
    waitingReason: isBlocked ? WAITS_FOR_TASKS : null,
    agentId,
    deadlineAt: new Date(Date.now() + timeOf(task)),
  });
  const ended = { end: task.state, seal: task.seal };
  unit.audit(actor, {
    action: 'task.restart',
    targetKind: 'task',
    targetId: task.publicId,
    details: { run: next.runNo, previous: ended },
  });
  unit.emit('task.restarted', { taskId: task.id, ownerId: task.creatorId, data: { run: next.runNo } });
  if (isBlocked) announceBlocked(unit, task, WAITS_FOR_TASKS, undone);
  else if (task.kind !== 'collab') startWorkflow(unit, next);
  return next;
}
