/** Members of a team as they are asked for. */
import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import type { TeamMemberWish } from '../../contracts/teams.ts';
import type { Queryable } from '../../db/database.ts';
import { findTeamRoles, listTypeRoles } from '../../db/team-types.ts';
import type { TeamMemberRow } from '../../db/teams.ts';
import { assertTemplate, roleNotFound } from './lookups.ts';

/**
 * Every member has a role; where the team has a type that has roles, one of those. Whether the agent exists is not asked:
 * it may come later.
 * @throws role_id_required, role_not_found, invalid_role_for_team_type, template_not_found
 */
export async function checkMembers(
  db: Queryable,
  teamTypeId: string | null,
  members: readonly TeamMemberWish[],
): Promise<Omit<TeamMemberRow, 'teamId'>[]> {
  if (members.length === 0) return [];
  const roleIds = members.map(({ roleId }) => roleId).filter((id): id is string => id !== null && isUuid(id));
  const known = new Set((await findTeamRoles(db, roleIds)).map(({ id }) => id));
  const ofType = teamTypeId === null ? [] : await listTypeRoles(db, [teamTypeId]);
  const allowed = new Set(ofType.map(({ id }) => id));
  const checked: Omit<TeamMemberRow, 'teamId'>[] = [];
  for (const { agentRef, roleId, customTemplateId } of members) {
    if (roleId === null || roleId === '') throw problem('role_id_required');
    if (!known.has(roleId.toLowerCase())) throw roleNotFound(roleId);
    if (allowed.size > 0 && !allowed.has(roleId.toLowerCase())) {
      throw problem('invalid_role_for_team_type', { roleId }, { details: { role_id: roleId } });
    }
    await assertTemplate(db, customTemplateId);
    checked.push({ id: uuidv7(), agentRef, roleId, customTemplateId });
  }
  return checked;
}
