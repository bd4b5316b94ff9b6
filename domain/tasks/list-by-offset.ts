/** Lists of tasks of every kind, as families ask for them. */
import { findAgentIds } from '../../db/agent-refs.ts';
import { listTasksByOffset, type TaskListFilter } from '../../db/task-list.ts';
import type { TaskRow } from '../../db/tasks.ts';
import { listAgentUrls } from '../../db/url-agents.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan, visibleOwner } from '../policy.ts';
import { getTaskRow } from './load.ts';
import {
  MAX_HISTORY_OUTPUT_BYTES,
  MAX_LISTED_HISTORY_ITEMS,
  readStepHistories,
  type StepHistory,
} from './step-history.ts';

/** A host name that more agents have than this finds those of the first. */
const MAX_AGENTS_OF_REF = 8;

export type OffsetQuery = Omit<TaskListFilter, 'creatorId' | 'agentIds'> & {
  /** As `resolveAgentRef` takes it; of an agent that is not there nothing is found. */
  agentRef?: string | undefined;
};

/** A task with what was tried for it. */
export interface TaskWithHistory extends StepHistory {
  task: TaskRow;
  /** Address of its agent, null where that has none. */
  agentUrl: string | null;
}

/** Newest first; whoever may not see all is shown their own. @throws forbidden */
export async function listTasksWithHistory(
  deps: DomainDeps,
  actor: Actor,
  query: OffsetQuery,
): Promise<TaskWithHistory[]> {
  const rows = await listVisibleTasks(deps, actor, query);
  const options = { limit: MAX_LISTED_HISTORY_ITEMS, maxOutputBytes: MAX_HISTORY_OUTPUT_BYTES };
  return withHistories(deps, rows, options);
}

/** @throws forbidden */
export async function listVisibleTasks(
  deps: DomainDeps,
  actor: Actor,
  { agentRef, ...query }: OffsetQuery,
): Promise<TaskRow[]> {
  assertCan(actor.principal, 'list', 'task');
  const agentIds = agentRef ? await findAgentIds(deps.db, agentRef, MAX_AGENTS_OF_REF) : undefined;
  const creatorId = visibleOwner(actor.principal, 'task');
  return listTasksByOffset(deps.db, { ...query, agentIds, creatorId });
}

/** @throws forbidden, task_not_found */
export async function getTaskWithHistory(
  deps: DomainDeps,
  actor: Actor,
  publicId: string,
): Promise<TaskWithHistory> {
  const row = await getTaskRow(deps, actor, publicId, 'read');
  const [task] = await withHistories(deps, [row]);
  if (task === undefined) throw new Error('a task without its history');
  return task;
}

async function withHistories(
  deps: DomainDeps,
  rows: readonly TaskRow[],
  options?: Parameters<typeof readStepHistories>[2],
): Promise<TaskWithHistory[]> {
  const histories = await readStepHistories(
    deps,
    rows.map(({ id }) => id),
    options,
  );
  const agentIds = new Set(rows.flatMap(({ agentId }) => agentId ?? []));
  const urls = await listAgentUrls(deps.db, [...agentIds]);
  return rows.flatMap((task) => {
    const history = histories.get(task.id);
    const agentUrl = task.agentId === null ? null : (urls.get(task.agentId) ?? null);
    return history === undefined ? [] : [{ task, agentUrl, ...history }];
  });
}
