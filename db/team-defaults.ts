/** The team types that the system comes with: put back what is missing of them. */
import { defaultTeamTypes } from '../migrations/default-teams.ts';
import { execute, type Queryable } from './database.ts';

/** Names of the types that can be put back. */
export const defaultTeamTypeNames: readonly string[] = defaultTeamTypes.map(({ name }) => name);

/**
 * The type, its roles, their templates and links exist afterwards. What is there (by name) stays as it is; a link without
 * a template gets the one it came with.
 */
export async function restoreTeamType(db: Queryable, name: string): Promise<void> {
  const type = defaultTeamTypes.find((one) => one.name === name);
  if (type === undefined) return;
  await execute(
    db,
    `insert into team_types (id, name, description) values (:id, :name, :description)
     on conflict do nothing`,
    { id: type.id, name: type.name, description: type.description },
  );
  for (const role of type.roles) {
    await execute(
      db,
      `insert into templates (id, name, description, prompt_template)
       values (:id, :name, :description, :prompt) on conflict do nothing`,
      { id: role.templateId, name: role.templateName, description: role.description, prompt: role.prompt },
    );
    await execute(
      db,
      `insert into team_roles (id, name, description, default_template_id)
       values (:id, :name, :description, (select id from templates where lower(name) = lower(:template)))
       on conflict do nothing`,
      { id: role.id, name: role.name, description: role.description, template: role.templateName },
    );
    await execute(
      db,
      `insert into team_type_roles as l (team_type_id, role_id, template_id)
       select t.id, r.id, p.id from team_types t, team_roles r, templates p
       where lower(t.name) = lower(:type) and lower(r.name) = lower(:role) and lower(p.name) = lower(:template)
       on conflict (team_type_id, role_id) do update set template_id = excluded.template_id
         where l.template_id is null`,
      { type: type.name, role: role.name, template: role.templateName },
    );
  }
}
