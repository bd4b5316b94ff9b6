/** Jobs and collaboration tasks: lists of one kind, and the version by which a reader knows that nothing has changed. */
import type { TaskKind, TaskState } from '../contracts/tasks.ts';
import { type Queryable, query, queryOne } from './database.ts';
import type { TaskRow } from './tasks.ts';

/** The kinds that are counted (`task_versions`). */
export type CountedKind = Exclude<TaskKind, 'task'>;

export type BriefTaskRow = Pick<
  TaskRow,
  'publicId' | 'title' | 'goal' | 'state' | 'rev' | 'createdAt' | 'updatedAt'
>;

export interface KindFilter {
  kind: CountedKind;
  /** Only what this principal created; undefined: everything. */
  creatorId: string | undefined;
  /** Absent: every state. */
  states?: readonly TaskState[] | undefined;
  skip: number;
  limit: number;
}

/** As text in the statement: the indexes hold these kinds alone, which the planner must see. */
const conditionOfKind: Record<CountedKind, string> = { job: `t.kind = 'job'`, collab: `t.kind = 'collab'` };

/** Neither deleted nor archived, newest first. By `offset`, because the families that list so count rows to skip. */
export function listBriefTasks(db: Queryable, filter: KindFilter): Promise<BriefTaskRow[]> {
  const conditions = [conditionOfKind[filter.kind], 't.deleted_at is null', 't.archived_at is null'];
  if (filter.creatorId !== undefined) conditions.push('t.creator_id = :creator_id');
  if (filter.states !== undefined) conditions.push('t.state = any(cast(:states as text[]))');
  return query<BriefTaskRow>(
    db,
    `select t.public_id as "publicId", t.title, t.goal, t.state, t.rev, t.created_at as "createdAt",
            t.updated_at as "updatedAt"
     from tasks t where ${conditions.join(' and ')}
     order by t.created_at desc, t.id desc limit :limit offset :skip`,
    {
      creator_id: filter.creatorId ?? null,
      states: filter.states === undefined ? null : [...filter.states],
      limit: filter.limit,
      skip: filter.skip,
    },
  );
}

/**
 * Grows with every committed change of a task of this kind. Reads no task.
 * @param creatorId only what this principal created; undefined: everything
 */
export async function readTaskVersion(
  db: Queryable,
  kind: CountedKind,
  creatorId: string | undefined,
): Promise<number> {
  const row = await queryOne<{ version: number }>(
    db,
    `select cast(coalesce(sum(changes), 0) as bigint) as version from task_versions
     where kind = :kind and visible_to = :visible_to`,
    { kind, visible_to: creatorId ?? EVERYTHING },
  );
  return row?.version ?? 0;
}

/** `visible_to` of whoever sees all tasks. */
const EVERYTHING = '*';
