/** Templates: words with `{{variables}}` in them, and all that points at one. */
import { execute, type Queryable, query, queryOne } from './database.ts';

export interface TemplateRow {
  id: string;
  name: string;
  description: string | null;
  promptTemplate: string;
}

const columns = 'id, name, description, prompt_template as "promptTemplate"';

/** All of them, in the order they were made: they are few (see MAX_TEMPLATES). */
export const listTemplates = (db: Queryable): Promise<TemplateRow[]> =>
  query<TemplateRow>(db, `select ${columns} from templates order by created_at, id`);

export const findTemplate = (db: Queryable, id: string): Promise<TemplateRow | undefined> =>
  queryOne<TemplateRow>(db, `select ${columns} from templates where id = :id`, { id });

export const lockTemplate = (db: Queryable, id: string): Promise<TemplateRow | undefined> =>
  queryOne<TemplateRow>(db, `select ${columns} from templates where id = :id for update`, { id });

/** Undefined: another template has the name, in whatever case. */
export function insertTemplate(db: Queryable, template: TemplateRow): Promise<TemplateRow | undefined> {
  return queryOne<TemplateRow>(
    db,
    `insert into templates (id, name, description, prompt_template)
     values (:id, :name, :description, :prompt_template)
     on conflict (lower(name)) do nothing returning ${columns}`,
    {
      id: template.id,
      name: template.name,
      description: template.description,
      prompt_template: template.promptTemplate,
    },
  );
}

/** Another template of this name, in whatever case. */
export async function isTemplateNameTaken(db: Queryable, name: string, exceptId: string): Promise<boolean> {
  const row = await queryOne(
    db,
    'select 1 as one from templates where lower(name) = lower(:name) and id <> :id',
    {
      name,
      id: exceptId,
    },
  );
  return row !== undefined;
}

export async function updateTemplate(db: Queryable, template: TemplateRow): Promise<void> {
  await execute(
    db,
    `update templates set name = :name, description = :description, prompt_template = :prompt_template,
                          updated_at = now()
     where id = :id`,
    {
      id: template.id,
      name: template.name,
      description: template.description,
      prompt_template: template.promptTemplate,
    },
  );
}

/** What pointed at a template and no longer does. */
export interface ClearedReferences {
  roles: string[];
  /** Ids of the roles of the links. */
  teamTypeLinks: string[];
  teamMembers: string[];
  teams: string[];
}

/** Delete a locked template; what points at it is cleared. */
export async function deleteTemplate(db: Queryable, id: string): Promise<ClearedReferences> {
  const row = await queryOne<ClearedReferences>(
    db,
    `select array(select cast(id as text) from team_roles where default_template_id = :id order by id) as roles,
            array(select cast(role_id as text) from team_type_roles where template_id = :id
                  order by position) as "teamTypeLinks",
            array(select cast(id as text) from team_members where custom_template_id = :id
                  order by id) as "teamMembers",
            array(select distinct cast(team_id as text) from team_role_templates where template_id = :id
                  order by 1) as teams`,
    { id },
  );
  await execute(db, 'delete from templates where id = :id', { id });
  return row ?? { roles: [], teamTypeLinks: [], teamMembers: [], teams: [] };
}

export async function countTemplates(db: Queryable): Promise<number> {
  const row = await queryOne<{ count: number }>(db, 'select count(*) as count from templates');
  return Number(row?.count ?? 0);
}
