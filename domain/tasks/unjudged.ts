import { problem } from '../../contracts/errors.ts';
import { findStepPlan } from '../../db/step-plans.ts';
import type { TaskRow } from '../../db/tasks.ts';
import type { Unit } from '../transact.ts';

/** Is the newest step of a locked task between two attempts? With nothing of it running, the next one may be due. */
export async function isUnjudged(unit: Unit, task: TaskRow): Promise<boolean> {
  if (task.stepNo === 0) return false;
  const plan = await findStepPlan(unit.trx, { taskId: task.id, runNo: task.runNo, stepNo: task.stepNo });
  return plan !== undefined && plan.retries !== null && plan.verdict === null;
}

/** @throws command_running where the newest step is between two attempts */
export async function assertJudged(unit: Unit, task: TaskRow): Promise<void> {
  if (!(await isUnjudged(unit, task))) return;
  throw problem('command_running', { commandId: `of step ${task.stepNo}`, state: 'being retried or judged' });
}
