/** Tasks whose workflow is gone: the reconciler's side of the domain. */
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { lockTask, setNamespaceId, takeIdleTasks } from '../../db/tasks.ts';
import { cancelSelection } from '../commands/cancel.ts';
import { type DomainDeps, engineActor } from '../deps.ts';
import { transact } from '../transact.ts';
import { closeProposal, endTaskRow } from './end.ts';
import { explainEnd } from './end-reasons.ts';

export interface IdleTask {
  taskId: string;
  runNo: number;
  workflowId: string;
  namespaceId: string | null;
}

/** Open tasks without progress for `idleMs`, oldest first; taking them moves them to the end of the line. */
export async function listIdleTasks(
  deps: DomainDeps,
  input: { idleMs: number; limit: number },
): Promise<IdleTask[]> {
  const rows = await takeIdleTasks(deps.db, input.idleMs, input.limit);
  return rows.map((row) => ({
    taskId: row.id,
    runNo: row.runNo,
    workflowId: taskWorkflowId(row.id, row.runNo),
    namespaceId: row.namespaceId,
  }));
}

/** The workflow of an open task is closed or unknown: the task failed. Queued commands end, running ones are told to stop. */
export async function failLostTask(
  deps: DomainDeps,
  input: { taskId: string; runNo: number },
): Promise<void> {
  await transact(deps, async (unit) => {
    const task = await lockTask(unit.trx, input.taskId);
    if (task === undefined || task.runNo !== input.runNo || task.endedAt !== null) return;
    await cancelSelection(unit, { kind: 'task', taskId: task.id }, 'workflow_lost');
    await closeProposal(unit, engineActor, task, 'failed', 'workflow_lost');
    await endTaskRow(unit, engineActor, task, 'failed', explainEnd('failed', 'workflow_lost'));
  });
}

/** Remember in which namespace the workflow lives: another one's "not found" proves nothing. */
export async function setTaskNamespace(
  deps: DomainDeps,
  input: { taskId: string; namespaceId: string },
): Promise<void> {
  await setNamespaceId(deps.db, input.taskId, input.namespaceId);
}
