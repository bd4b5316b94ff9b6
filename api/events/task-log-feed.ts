/**
 * One client's log of one task: each attempt once, when it has run, until the task has ended.
 *
 *  A. The task is read before its history: when it has ended, all that ran for it was sent before the stream ends.
 *  B. The hub only says when to look; a lost word costs time (the hub polls) and never an item.
 */

import { isProblem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import type { EventStream, StreamViewer } from '../../contracts/route.ts';
import type { Actor, DomainDeps } from '../../domain/deps.ts';
import { getTaskWithHistory } from '../../domain/tasks/list-by-offset.ts';
import type { HistoryItem } from '../../domain/tasks/step-history.ts';
import type { Hub } from './hub.ts';
import { waitFor } from './wait.ts';

/** Longest wait between two looks, milliseconds. Nothing depends on it. */
const MAX_WAIT_MS = 60_000;

/** Feeds the stream until the task has ended or the stream is closed. */
export async function feedTaskLog(
  deps: DomainDeps & { hub: Pick<Hub, 'subscribe'> },
  input: { actor: Actor; viewer: StreamViewer<Principal>; taskId: string },
  stream: EventStream,
): Promise<void> {
  const sent = new Set<string>();
  let rowId: string | undefined;
  const read = async (): Promise<{ items: HistoryItem[]; isOver: boolean } | undefined> => {
    const actor = { ...input.actor, principal: input.viewer.principal };
    const found = await findTask(deps, actor, input.taskId); // A
    if (found === undefined) return { items: [], isOver: true };
    const { task, history } = found;
    rowId = task.id;
    const items = history.filter((item) => item.status !== 'in_progress' && !sent.has(keyOf(item)));
    const isOver = task.endedAt !== null;
    return items.length > 0 || isOver ? { items, isOver } : undefined;
  };
  while (!stream.closed.aborted) {
    const found = await waitFor(deps.hub, {
      concerns: ({ row }) => rowId === undefined || row.taskId === rowId,
      read,
      timeoutMs: MAX_WAIT_MS,
      signal: stream.closed,
    });
    if (found === undefined) continue;
    for (const item of found.items) {
      sent.add(keyOf(item));
      stream.send({ data: item });
      // Each of them: all of a long history may be more than a stream may buffer.
      await stream.drained();
    }
    if (found.isOver) return;
  }
}

/** Undefined once it was deleted, or is no longer the viewer's to see. */
async function findTask(deps: DomainDeps, actor: Actor, taskId: string) {
  try {
    return await getTaskWithHistory(deps, actor, taskId);
  } catch (error) {
    if (isProblem(error, 'task_not_found') || isProblem(error, 'forbidden')) return undefined;
    throw error;
  }
}

/** What an item is known by: a command, a run of tools, or what was reported of a part at that moment. */
const keyOf = (item: HistoryItem): string =>
  item.command_id ?? item.tool_run_id ?? `${item.subtask_id} ${item.timestamp}`;
