/** Groups of agents: named tag expressions. */
import { type Queryable, query, queryOne } from './database.ts';

export interface AgentGroupRow {
  id: string;
  name: string;
  description: string | null;
  expression: string;
  createdBy: string;
  createdAt: Date;
  updatedAt: Date;
}

const columns = `id, name, description, expression, created_by as "createdBy", created_at as "createdAt",
  updated_at as "updatedAt"`;

/** Undefined when another group has the name. */
export function insertGroup(
  db: Queryable,
  group: Omit<AgentGroupRow, 'createdAt' | 'updatedAt'>,
): Promise<AgentGroupRow | undefined> {
  return queryOne<AgentGroupRow>(
    db,
    `insert into agent_groups (id, name, description, expression, created_by)
     values (:id, :name, :description, :expression, :createdBy)
     on conflict (name) do nothing
     returning ${columns}`,
    { ...group },
  );
}

export function findGroup(db: Queryable, id: string): Promise<AgentGroupRow | undefined> {
  return queryOne<AgentGroupRow>(db, `select ${columns} from agent_groups where id = :id`, { id });
}

/** Newest first, after the position. */
export function listGroups(
  db: Queryable,
  page: { after: { at: Date; id: string } | undefined; limit: number },
): Promise<AgentGroupRow[]> {
  return query<AgentGroupRow>(
    db,
    `select ${columns} from agent_groups
     ${page.after ? 'where (created_at, id) < (:at, cast(:id as uuid))' : ''}
     order by created_at desc, id desc limit :limit`,
    { limit: page.limit, ...page.after },
  );
}

/** Lock a group to change it. */
export function lockGroup(db: Queryable, id: string): Promise<AgentGroupRow | undefined> {
  return queryOne<AgentGroupRow>(db, `select ${columns} from agent_groups where id = :id for update`, { id });
}

/** Undefined when another group has the name. The row is locked by the caller. */
export function updateGroup(
  db: Queryable,
  group: Pick<AgentGroupRow, 'id' | 'name' | 'description' | 'expression'>,
): Promise<AgentGroupRow | undefined> {
  return queryOne<AgentGroupRow>(
    db,
    `update agent_groups g set name = :name, description = :description, expression = :expression, updated_at = now()
     where g.id = :id and not exists (select 1 from agent_groups o where o.name = :name and o.id <> :id)
     returning ${columns}`,
    { id: group.id, name: group.name, description: group.description, expression: group.expression },
  );
}

/** The group that was there. */
export function deleteGroup(db: Queryable, id: string): Promise<AgentGroupRow | undefined> {
  return queryOne<AgentGroupRow>(db, `delete from agent_groups where id = :id returning ${columns}`, { id });
}
