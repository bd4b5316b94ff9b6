import { type TaskWorkflowInput, taskWorkflowId } from '../../contracts/workflow-io.ts';
import type { TaskRow } from '../../db/tasks.ts';
import type { Unit } from '../transact.ts';
import { titleOf } from './view.ts';

/** The bell that starts a run's workflow. Rung twice, there is still one: its id is the run's. */
export function startWorkflow(unit: Unit, task: TaskRow): void {
  const input: TaskWorkflowInput = {
    taskId: task.id,
    runNo: task.runNo,
    mode: task.mode,
    maxSteps: task.maxSteps,
    deadlineAtMs: task.deadlineAt.getTime(),
    approvalTimeoutMs: task.approvalTimeoutMs,
  };
  unit.outbox({
    workflowId: taskWorkflowId(task.id, task.runNo),
    kind: 'start_task',
    payload: { input, title: task.title || titleOf(task.goal) },
  });
}
