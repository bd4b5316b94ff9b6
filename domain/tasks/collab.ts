/**
 * Collaboration tasks: notes that people share, of the one task entity. Nothing runs for them: no workflow, no model, no
 * agent. Their text is `goal`, empty where there is none.
 */
import { problem } from '../../contracts/errors.ts';
import { createTaskBodySchema, MAX_DEADLINE_MS, type TaskView } from '../../contracts/tasks.ts';
import { markTaskDeleted, updateTask } from '../../db/tasks.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { transact } from '../transact.ts';
import { createTask } from './create.ts';
import { assertExpected, assertOpen, type Expected, lockTaskRow } from './load.ts';
import { announceUpdate } from './report-status.ts';
import { toTaskView } from './view.ts';

export interface Note {
  title: string;
  /** Empty: none. */
  text: string;
}

/** @throws forbidden, idempotency_conflict */
export async function createCollabTask(
  deps: DomainDeps,
  actor: Actor,
  { title, text }: Note,
  options: { idempotencyKey: string | null },
): Promise<TaskView> {
  const limits = createTaskBodySchema.omit({ goal: true }).parse({
    title,
    mode: 'manual',
    // Nothing waits for it; the row has to hold one.
    deadlineMs: MAX_DEADLINE_MS,
  });
  const { idempotencyKey } = options;
  const { task } = await createTask(
    deps,
    actor,
    { ...limits, goal: text },
    { kind: 'collab', idempotencyKey },
  );
  return task;
}

/**
 * @param expected with `version`, the change is made to that version only
 * @throws forbidden, task_not_found, precondition_failed, conflict (another version), task_not_open
 */
export async function editCollabTask(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  change: Partial<Note>,
  expected: Pick<Expected, 'isCurrent'> & { version?: number | undefined },
): Promise<TaskView> {
  return transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'update');
    assertExpected(task, { ...expected, kind: 'collab' });
    assertOpen(task);
    const { version } = toTaskView(task);
    if (expected.version !== undefined && expected.version !== version) {
      throw problem('conflict', { reason: `the version is ${version}, not ${expected.version}` });
    }
    const updated = await updateTask(unit.trx, task.id, {
      ...(change.title !== undefined && { title: change.title }),
      ...(change.text !== undefined && { goal: change.text }),
    });
    announceUpdate(unit, actor, task, { version: version + 1, changed: Object.keys(change) });
    return toTaskView(updated);
  });
}

/** Whoever may change a note may take it away. @throws forbidden, task_not_found, precondition_failed */
export async function deleteCollabTask(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
  expected: Pick<Expected, 'isCurrent'>,
): Promise<void> {
  await transact(deps, async (unit) => {
    const task = await lockTaskRow(unit, actor, publicId, 'update');
    assertExpected(task, { ...expected, kind: 'collab' });
    await markTaskDeleted(unit.trx, task.id);
    unit.audit(actor, { action: 'task.delete', targetKind: 'task', targetId: publicId });
    unit.emit('task.deleted', { taskId: task.id, ownerId: task.creatorId, data: {} });
  });
}
