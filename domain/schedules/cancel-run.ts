/** Stop what a run has begun. */
import type { ScheduleRunRow } from '../../db/schedule-runs.ts';
import { lockTaskByPublicId } from '../../db/tasks.ts';
import { cancelSelection } from '../commands/cancel.ts';
import type { Actor } from '../deps.ts';
import { stopTask, tellWorkflow } from '../tasks/end.ts';
import type { Unit } from '../transact.ts';

/** Tasks end when what they run has stopped, queued commands at once; the run ends with them. */
export async function cancelRun(
  unit: Unit,
  actor: Actor,
  { taskIds, batchIds }: Pick<ScheduleRunRow, 'taskIds' | 'batchIds'>,
  reason: string,
): Promise<void> {
  for (const taskId of taskIds) {
    const task = await lockTaskByPublicId(unit.trx, taskId);
    if (task === undefined || task.endedAt !== null || task.cancelRequestedAt !== null) continue;
    unit.audit(actor, {
      action: 'task.cancel',
      targetKind: 'task',
      targetId: taskId,
      details: { reason },
    });
    tellWorkflow(unit, await stopTask(unit, actor, task, 'canceled', reason));
  }
  for (const batchId of batchIds) await cancelSelection(unit, { kind: 'batch', batchId }, reason);
}
