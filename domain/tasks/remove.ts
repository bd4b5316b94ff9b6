/** Take a task away in whatever state it is: an open one is canceled first. */
import { problem } from '../../contracts/errors.ts';
import { markTaskDeleted } from '../../db/tasks.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { stopTask, tellWorkflow } from './end.ts';
import { assertExpected, type Expected, lockTaskRow } from './load.ts';

/**
 * The task is no longer found; its ledger and audit rows stay.
 * @param options.force although a command is out: it is told to stop, and its outcome still goes into the ledger
 * @throws forbidden, task_not_found, precondition_failed, command_running
 */
export async function removeTask(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  options: Expected & { force?: boolean },
): Promise<void> {
  await transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'delete');
    assertExpected(task, options);
    if (task.endedAt === null) {
      assertCan(actor.principal, 'cancel', 'task', task.creatorId);
      const stopped = await stopTask(unit, actor, task, 'canceled', `deleted by ${actor.principal.name}`);
      if (stopped.kind === 'draining' && options.force !== true) {
        throw problem('command_running', { commandId: `of step ${task.stepNo}`, state: 'running' });
      }
      tellWorkflow(unit, stopped);
    }
    await markTaskDeleted(unit.trx, task.id);
    unit.audit(actor, { action: 'task.delete', targetKind: 'task', targetId: publicId });
    unit.emit('task.deleted', { taskId: task.id, ownerId: task.creatorId, data: {} });
  });
}
