import { problem } from '../../contracts/errors.ts';
import { findStepPlan } from '../../db/step-plans.ts';
import type { TaskRow } from '../../db/tasks.ts';
import type { Unit } from '../transact.ts';

/**
 * The newest step of a locked task is not between two attempts: with nothing of it running, the next one may be due.
 * @throws command_running
 */
export async function assertJudged(unit: Unit, task: TaskRow): Promise<void> {
  if (task.stepNo === 0) return;
  const plan = await findStepPlan(unit.trx, { taskId: task.id, runNo: task.runNo, stepNo: task.stepNo });
  if (plan === undefined || plan.retries === null || plan.verdict !== null) return;
  throw problem('command_running', { commandId: `of step ${task.stepNo}`, state: 'being retried or judged' });
}
