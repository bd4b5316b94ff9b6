/** The parts of a task. */
import { type Queryable, query } from './database.ts';

/** What they are to do, newest first. @param parentId public id of the task they are part of */
export async function listChildGoals(db: Queryable, parentId: string, limit: number): Promise<string[]> {
  const rows = await query<{ goal: string }>(
    db,
    `select t.goal from tasks t where t.parent_task_id = :parent_id and t.deleted_at is null
     order by t.created_at desc, t.id desc limit :limit`,
    { parent_id: parentId, limit },
  );
  return rows.map(({ goal }) => goal);
}
