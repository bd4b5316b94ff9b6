/** Roles that members of teams have: names with a template. They are no rights. */
import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { MAX_TEAM_ROLES, type TeamRoleView } from '../../contracts/teams.ts';
import {
  deleteTeamRole,
  findTeamRoles,
  insertTeamRole,
  listTeamRoles as listRows,
  lockRoleInUse,
} from '../../db/team-types.ts';
import { lockTeams } from '../../db/teams.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import type { RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { findMade } from './claim.ts';
import { assertTemplate } from './lookups.ts';

/** @throws forbidden */
export function listTeamRoles(deps: DomainDeps, actor: Actor): Promise<TeamRoleView[]> {
  assertCan(actor.principal, 'list', 'team');
  return listRows(deps.db);
}

/** @throws forbidden, template_not_found, conflict (the name is taken), invalid_request (too many), idempotency_conflict */
export async function createTeamRole(
  deps: DomainDeps,
  actor: Actor,
  wish: { name: string; description: string | null; defaultTemplateId: string | null },
  requestKey: RequestKey | null = null,
): Promise<TeamRoleView> {
  assertCan(actor.principal, 'create', 'team');
  return transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    const id = uuidv7();
    const earlier = await findMade(unit, actor, requestKey, { kind: 'team_role', id }, async (made) => {
      const [row] = await findTeamRoles(unit.trx, [made]);
      return row;
    });
    if (earlier !== undefined) return earlier;
    await assertTemplate(unit.trx, wish.defaultTemplateId);
    if ((await listRows(unit.trx)).length >= MAX_TEAM_ROLES) {
      throw problem('invalid_request', { reason: `there are ${MAX_TEAM_ROLES} roles already` });
    }
    const role = await insertTeamRole(unit.trx, { id, ...wish });
    if (role === undefined) {
      throw problem(
        'conflict',
        { reason: `another role is called ${wish.name}` },
        { details: { name: wish.name } },
      );
    }
    unit.audit(actor, {
      action: 'team_role.create',
      targetKind: 'team_role',
      targetId: id,
      details: { name: role.name },
    });
    unit.emit('team.changed', { data: { change: 'role.created', roleId: id } });
    return role;
  });
}

/** Types lose it. @throws forbidden, not_found, conflict (members of teams have it) */
export async function deleteRole(deps: DomainDeps, actor: Actor, id: string): Promise<void> {
  assertCan(actor.principal, 'delete', 'team');
  await transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    const role = isUuid(id) ? await lockRoleInUse(unit.trx, id) : undefined;
    if (role === undefined) throw problem('not_found');
    if (role.members > 0) {
      throw problem(
        'conflict',
        { reason: `${role.members} members of teams have the role` },
        { details: { role_id: id, members: role.members } },
      );
    }
    await deleteTeamRole(unit.trx, id);
    unit.audit(actor, {
      action: 'team_role.delete',
      targetKind: 'team_role',
      targetId: id,
      details: { name: role.name },
    });
    unit.emit('team.changed', { data: { change: 'role.deleted', roleId: id } });
  });
}
