/** What the callback of a task says: its status as the ananta family words it, and the last command's outcome. */
import { problem } from '../../contracts/errors.ts';
import type { TaskCallbackBody } from '../../contracts/webhooks.ts';
import type { Queryable } from '../../db/database.ts';
import type { TaskRow } from '../../db/tasks.ts';
import { findLastEnded } from '../../db/webhook-callbacks.ts';
import type { DeliveryRow } from '../../db/webhook-deliveries.ts';
import type { Outbound } from '../../outbound/port.ts';
import { exitCodeOf, readOutputTexts } from '../tasks/outcome-text.ts';

/** Most of the last output that is sent, bytes a stream. */
const MAX_OUTPUT_BYTES = 64 * 1024;

/** Whoever takes callback URLs from people says no to what could never be called. */
export interface CallbackUrlDeps {
  /** Guarded by WEBHOOK_URL_ALLOW. Absent: the guard speaks when it is called. */
  webhookUrls?: Pick<Outbound, 'inspect'>;
}

/** As far as it can be said without asking a resolver. @throws webhook_url_refused */
export function assertCallbackUrl({ webhookUrls }: CallbackUrlDeps, url: string): void {
  const refused = webhookUrls?.inspect(url);
  if (refused !== undefined) throw problem('webhook_url_refused', { reason: refused.message });
}

/** As it was when the status changed, however late it is sent. */
export async function callbackBody(
  db: Queryable,
  task: Pick<TaskRow, 'id' | 'publicId' | 'parentTaskId'>,
  { facts, createdAt }: Pick<DeliveryRow, 'facts' | 'createdAt'>,
): Promise<TaskCallbackBody> {
  const runNo = typeof facts?.runNo === 'number' ? facts.runNo : 1;
  const last = await findLastEnded(db, { taskId: task.id, runNo, before: createdAt });
  const exitCode = last === undefined ? null : exitCodeOf(last);
  const texts = last === undefined ? undefined : await readOutputTexts(db, [last], MAX_OUTPUT_BYTES);
  return {
    id: task.publicId,
    status: String(facts?.status),
    parent_task_id: task.parentTaskId,
    ...(last !== undefined && { last_output: texts?.get(last.commandId)?.text ?? '' }),
    ...(exitCode !== null && { last_exit_code: exitCode }),
  };
}
