/** Roles, team types, and which roles a type has. */
import { execute, type Queryable, query, queryOne } from './database.ts';

export interface TeamRoleRow {
  id: string;
  name: string;
  description: string | null;
  defaultTemplateId: string | null;
}

export interface TeamTypeRow {
  id: string;
  name: string;
  description: string | null;
}

/** A role of a type, with the template that speaks for it there. */
export interface TypeRoleRow extends TeamRoleRow {
  teamTypeId: string;
  templateId: string | null;
}

const roleColumns = 'r.id, r.name, r.description, r.default_template_id as "defaultTemplateId"';
const typeColumns = 't.id, t.name, t.description';

/** All of them: they are few (see MAX_TEAM_ROLES). */
export const listTeamRoles = (db: Queryable): Promise<TeamRoleRow[]> =>
  query<TeamRoleRow>(db, `select ${roleColumns} from team_roles r order by r.created_at, r.id`);

export const findTeamRoles = (db: Queryable, ids: readonly string[]): Promise<TeamRoleRow[]> =>
  query<TeamRoleRow>(
    db,
    `select ${roleColumns} from team_roles r where r.id = any(cast(:ids as uuid[])) for share`,
    { ids: [...ids] },
  );

/** Undefined: another role has the name, in whatever case. */
export function insertTeamRole(db: Queryable, role: TeamRoleRow): Promise<TeamRoleRow | undefined> {
  return queryOne<TeamRoleRow>(
    db,
    `insert into team_roles as r (id, name, description, default_template_id)
     values (:id, :name, :description, cast(:template_id as uuid))
     on conflict (lower(name)) do nothing returning ${roleColumns}`,
    { id: role.id, name: role.name, description: role.description, template_id: role.defaultTemplateId },
  );
}

/** The members that have the role, with the role locked so that none is added meanwhile; undefined: no such role. */
export async function lockRoleInUse(
  db: Queryable,
  id: string,
): Promise<{ name: string; members: number } | undefined> {
  const role = await queryOne<{ name: string }>(db, 'select name from team_roles where id = :id for update', {
    id,
  });
  if (role === undefined) return undefined;
  const row = await queryOne<{ count: number }>(
    db,
    'select count(*) as count from team_members where role_id = :id',
    { id },
  );
  return { name: role.name, members: Number(row?.count ?? 0) };
}

export async function deleteTeamRole(db: Queryable, id: string): Promise<void> {
  await execute(db, 'delete from team_roles where id = :id', { id });
}

export const listTeamTypes = (db: Queryable): Promise<TeamTypeRow[]> =>
  query<TeamTypeRow>(db, `select ${typeColumns} from team_types t order by t.created_at, t.id`);

/** Shared with whoever deletes it: it stays until the end of the transaction. */
export const findTeamType = (db: Queryable, id: string): Promise<TeamTypeRow | undefined> =>
  queryOne<TeamTypeRow>(db, `select ${typeColumns} from team_types t where t.id = :id for share`, { id });

export const findTeamTypeByName = (db: Queryable, name: string): Promise<TeamTypeRow | undefined> =>
  queryOne<TeamTypeRow>(
    db,
    `select ${typeColumns} from team_types t where lower(t.name) = lower(:name) for share`,
    { name },
  );

/** Undefined: another type has the name, in whatever case. */
export function insertTeamType(db: Queryable, type: TeamTypeRow): Promise<TeamTypeRow | undefined> {
  return queryOne<TeamTypeRow>(
    db,
    `insert into team_types as t (id, name, description) values (:id, :name, :description)
     on conflict (lower(name)) do nothing returning ${typeColumns}`,
    { id: type.id, name: type.name, description: type.description },
  );
}

/** @returns its name; undefined: there was none */
export async function deleteTeamType(db: Queryable, id: string): Promise<string | undefined> {
  const row = await queryOne<{ name: string }>(db, 'delete from team_types where id = :id returning name', {
    id,
  });
  return row?.name;
}

/** Roles of these types, or of all, in the order they were linked. */
export function listTypeRoles(db: Queryable, typeIds?: readonly string[]): Promise<TypeRoleRow[]> {
  return query<TypeRoleRow>(
    db,
    `select l.team_type_id as "teamTypeId", l.template_id as "templateId", ${roleColumns}
     from team_type_roles l join team_roles r on r.id = l.role_id
     where cast(:all as boolean) or l.team_type_id = any(cast(:ids as uuid[]))
     order by l.team_type_id, l.position`,
    { all: typeIds === undefined, ids: [...(typeIds ?? [])] },
  );
}

/** Linked already: only the template changes. */
export async function linkRole(
  db: Queryable,
  link: { teamTypeId: string; roleId: string; templateId: string | null },
): Promise<void> {
  await execute(
    db,
    `insert into team_type_roles (team_type_id, role_id, template_id)
     values (:team_type_id, :role_id, cast(:template_id as uuid))
     on conflict (team_type_id, role_id) do update set template_id = excluded.template_id`,
    { team_type_id: link.teamTypeId, role_id: link.roleId, template_id: link.templateId },
  );
}

/** @returns whether the role is linked */
export async function setLinkTemplate(
  db: Queryable,
  link: { teamTypeId: string; roleId: string; templateId: string | null },
): Promise<boolean> {
  const row = await queryOne(
    db,
    `update team_type_roles set template_id = cast(:template_id as uuid)
     where team_type_id = :team_type_id and role_id = :role_id returning role_id`,
    { team_type_id: link.teamTypeId, role_id: link.roleId, template_id: link.templateId },
  );
  return row !== undefined;
}

/** @returns whether the role was linked */
export async function unlinkRole(db: Queryable, teamTypeId: string, roleId: string): Promise<boolean> {
  const row = await queryOne(
    db,
    'delete from team_type_roles where team_type_id = :team_type_id and role_id = :role_id returning role_id',
    { team_type_id: teamTypeId, role_id: roleId },
  );
  return row !== undefined;
}
