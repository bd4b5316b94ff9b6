/** Teams and their members. */
import { execute, type Queryable, query, queryOne } from './database.ts';
import { lockKeys } from './lock-keys.ts';

export interface TeamRow {
  id: string;
  name: string;
  description: string | null;
  teamTypeId: string | null;
  isActive: boolean;
  /** Template by role. */
  roleTemplates: Record<string, string>;
}

export interface TeamMemberRow {
  id: string;
  teamId: string;
  /** An agent's id, host name or URL, as it was given. */
  agentRef: string;
  roleId: string;
  customTemplateId: string | null;
}

const columns = `t.id, t.name, t.description, t.team_type_id as "teamTypeId", t.is_active as "isActive",
  coalesce((select jsonb_object_agg(rt.role_id, rt.template_id) from team_role_templates rt
            where rt.team_id = t.id), '{}') as "roleTemplates"`;
const memberColumns = `m.id, m.team_id as "teamId", m.agent_ref as "agentRef", m.role_id as "roleId",
  m.custom_template_id as "customTemplateId"`;

/** One change of teams, types, roles and templates at a time, until the end of the transaction. */
export async function lockTeams(db: Queryable): Promise<void> {
  await execute(db, 'select pg_advisory_xact_lock(:key)', { key: lockKeys.teams });
}

/** All of them, oldest first: they are few (see MAX_TEAMS). */
export const listTeams = (db: Queryable): Promise<TeamRow[]> =>
  query<TeamRow>(db, `select ${columns} from teams t order by t.created_at, t.id`);

export const findTeam = (db: Queryable, id: string): Promise<TeamRow | undefined> =>
  queryOne<TeamRow>(db, `select ${columns} from teams t where t.id = :id`, { id });

export const findActiveTeam = (db: Queryable): Promise<TeamRow | undefined> =>
  queryOne<TeamRow>(db, `select ${columns} from teams t where t.is_active`);

export async function lockTeam(db: Queryable, id: string): Promise<TeamRow | undefined> {
  await execute(db, 'select id from teams where id = :id for update', { id });
  return findTeam(db, id);
}

export async function countTeams(db: Queryable): Promise<number> {
  const row = await queryOne<{ count: number }>(db, 'select count(*) as count from teams');
  return Number(row?.count ?? 0);
}

export async function insertTeam(
  db: Queryable,
  team: Pick<TeamRow, 'id' | 'name' | 'description' | 'teamTypeId'>,
): Promise<void> {
  await execute(
    db,
    `insert into teams (id, name, description, team_type_id)
     values (:id, :name, :description, cast(:team_type_id as uuid))`,
    { id: team.id, name: team.name, description: team.description, team_type_id: team.teamTypeId },
  );
  await takeTypeTemplates(db, team.id);
}

/** The templates of the roles of its type become the team's own. */
export async function takeTypeTemplates(db: Queryable, teamId: string): Promise<void> {
  await execute(db, 'delete from team_role_templates where team_id = :id', { id: teamId });
  await execute(
    db,
    `insert into team_role_templates (team_id, role_id, template_id)
     select t.id, l.role_id, coalesce(l.template_id, r.default_template_id)
     from teams t
     join team_type_roles l on l.team_type_id = t.team_type_id
     join team_roles r on r.id = l.role_id
     where t.id = :id and coalesce(l.template_id, r.default_template_id) is not null`,
    { id: teamId },
  );
}

export async function updateTeam(
  db: Queryable,
  team: Pick<TeamRow, 'id' | 'name' | 'description' | 'teamTypeId'>,
): Promise<void> {
  await execute(
    db,
    `update teams set name = :name, description = :description, team_type_id = cast(:team_type_id as uuid),
                      updated_at = now()
     where id = :id`,
    { id: team.id, name: team.name, description: team.description, team_type_id: team.teamTypeId },
  );
}

/** This one, and no other; null: none. Hold `lockTeams`. */
export async function setActiveTeam(db: Queryable, id: string | null): Promise<void> {
  await execute(
    db,
    `update teams set is_active = false, updated_at = now()
     where is_active and id is distinct from cast(:id as uuid)`,
    { id },
  );
  await execute(
    db,
    'update teams set is_active = true, updated_at = now() where id = cast(:id as uuid) and not is_active',
    { id },
  );
}

/** Its members go with it, and its tasks belong to no team any more. */
export async function deleteTeam(db: Queryable, id: string): Promise<void> {
  await execute(db, 'update tasks set team_id = null where team_id = :id', { id });
  await execute(db, 'delete from teams where id = :id', { id });
}

export const listMembers = (db: Queryable, teamIds: readonly string[]): Promise<TeamMemberRow[]> =>
  query<TeamMemberRow>(
    db,
    `select ${memberColumns} from team_members m where m.team_id = any(cast(:ids as uuid[]))
     order by m.team_id, m.position`,
    { ids: [...teamIds] },
  );

/** In this order; those it had are gone. */
export async function replaceMembers(
  db: Queryable,
  teamId: string,
  members: readonly Omit<TeamMemberRow, 'teamId'>[],
): Promise<void> {
  await execute(db, 'delete from team_members where team_id = :team_id', { team_id: teamId });
  if (members.length === 0) return;
  await execute(
    db,
    `insert into team_members (id, team_id, position, agent_ref, role_id, custom_template_id)
     select m.id, cast(:team_id as uuid), m.position, m."agentRef", m."roleId", m."customTemplateId"
     from jsonb_to_recordset(cast(:members as jsonb))
       as m (id uuid, position integer, "agentRef" text, "roleId" uuid, "customTemplateId" uuid)`,
    {
      team_id: teamId,
      members: JSON.stringify(members.map((member, position) => ({ ...member, position }))),
    },
  );
}
