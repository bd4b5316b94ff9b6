/** Lists of tasks of every kind as families ask for them: by offset, and by several states or agents at once. */
import type { TaskState } from '../contracts/tasks.ts';
import { type Queryable, query } from './database.ts';
import { type TaskRow, taskColumns } from './tasks.ts';

export interface TaskListFilter {
  /** Absent: every state. */
  states?: readonly TaskState[] | undefined;
  /** With a state that has two words: those with this word, or (`not`) those without it. */
  label?: { is: string } | { not: string } | undefined;
  /** Absent: whatever agent, or none. */
  agentIds?: readonly string[] | undefined;
  teamId?: string | undefined;
  /** Only what this principal created. */
  creatorId?: string | undefined;
  /** Created then or later, or earlier. */
  since?: Date | undefined;
  until?: Date | undefined;
  archived: boolean;
  limit: number;
  offset: number;
}

/**
 * Newest first, without deleted ones. One branch for each state and agent: each is read in order from its index, as far
 * as the answer reaches, instead of sorting all that match.
 */
export async function listTasksByOffset(db: Queryable, filter: TaskListFilter): Promise<TaskRow[]> {
  const { states = [undefined], agentIds = [undefined], label } = filter;
  const common = ['t.deleted_at is null', `t.archived_at is ${filter.archived ? 'not null' : 'null'}`];
  if (filter.creatorId !== undefined) common.push('t.creator_id = :creator_id');
  if (filter.teamId !== undefined) common.push('t.team_id = :team_id');
  if (filter.since !== undefined) common.push('t.created_at >= :since');
  if (filter.until !== undefined) common.push('t.created_at <= :until');
  if (label !== undefined)
    common.push(`t.status_label is ${'is' in label ? 'not ' : ''}distinct from :label`);
  const bindings: Record<string, unknown> = {
    creator_id: filter.creatorId ?? null,
    team_id: filter.teamId ?? null,
    since: filter.since ?? null,
    until: filter.until ?? null,
    label: label === undefined ? null : 'is' in label ? label.is : label.not,
    reach: filter.limit + filter.offset,
    limit: filter.limit,
    offset: filter.offset,
  };
  const branches = states.flatMap((state, s) =>
    agentIds.map((agentId, a) => {
      const own = [...common];
      if (state !== undefined) own.push(`t.state = :state_${s}`);
      if (agentId !== undefined) own.push(`t.agent_id = :agent_${a}`);
      if (state !== undefined) bindings[`state_${s}`] = state;
      if (agentId !== undefined) bindings[`agent_${a}`] = agentId;
      return `(select t.* from tasks t where ${own.join(' and ')}
               order by t.created_at desc, t.id desc limit :reach)`;
    }),
  );
  if (branches.length === 0) return [];
  return query<TaskRow>(
    db,
    `select ${taskColumns} from (${branches.join(' union all ')}) t
     order by t.created_at desc, t.id desc limit :limit offset :offset`,
    bindings,
  );
}
