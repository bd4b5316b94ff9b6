/** Find what teams are made of; ids of clients that cannot be ours are not found. */
import { validate as isUuid } from 'uuid';
import { problem, type SteelthreadError } from '../../contracts/errors.ts';
import type { Queryable } from '../../db/database.ts';
import { findTeamRoles, findTeamType, type TeamTypeRow } from '../../db/team-types.ts';
import { findTemplate } from '../../db/templates.ts';

export const roleNotFound = (roleId: string): SteelthreadError =>
  problem('role_not_found', { roleId }, { details: { role_id: roleId } });

const templateNotFound = (templateId: string): SteelthreadError =>
  problem('template_not_found', { templateId }, { details: { template_id: templateId } });

/** @throws template_not_found */
export async function assertTemplate(db: Queryable, id: string | null): Promise<void> {
  if (id === null) return;
  if (!isUuid(id) || (await findTemplate(db, id)) === undefined) throw templateNotFound(id);
}

/** @throws role_not_found */
export async function assertRole(db: Queryable, id: string): Promise<void> {
  if (!isUuid(id) || (await findTeamRoles(db, [id])).length === 0) throw roleNotFound(id);
}

/** @throws team_type_not_found */
export async function getTeamType(db: Queryable, id: string): Promise<TeamTypeRow> {
  const type = isUuid(id) ? await findTeamType(db, id) : undefined;
  if (type === undefined) throw problem('team_type_not_found', { teamTypeId: id });
  return type;
}
