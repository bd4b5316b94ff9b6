/** Team types: which roles a team may have, and which templates speak for them. Scrum and Kanban come with the system. */
import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { MAX_TEAM_TYPES, type TeamRoleView, type TeamTypeView } from '../../contracts/teams.ts';
import type { Queryable } from '../../db/database.ts';
import { defaultTeamTypeNames, restoreTeamType } from '../../db/team-defaults.ts';
import {
  deleteTeamType as deleteRow,
  findTeamType,
  findTeamTypeByName,
  insertTeamType,
  linkRole,
  listTypeRoles as listRoleRows,
  listTeamTypes as listRows,
  setLinkTemplate,
  type TeamTypeRow,
  unlinkRole as unlinkRow,
} from '../../db/team-types.ts';
import { lockTeams } from '../../db/teams.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import type { RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { findMade } from './claim.ts';
import { assertRole, assertTemplate, getTeamType } from './lookups.ts';

/** @throws forbidden */
export async function listTeamTypes(deps: DomainDeps, actor: Actor): Promise<TeamTypeView[]> {
  assertCan(actor.principal, 'list', 'team');
  return present(deps.db, await listRows(deps.db));
}

/**
 * A name that the system knows (`scrum`, in whatever case) gives the type it came with, roles and templates included.
 * @throws forbidden, conflict (the name is taken), invalid_request (too many), idempotency_conflict
 */
export async function createTeamType(
  deps: DomainDeps,
  actor: Actor,
  wish: { name: string; description: string | null },
  requestKey: RequestKey | null = null,
): Promise<TeamTypeView> {
  assertCan(actor.principal, 'create', 'team');
  const name = knownName(wish.name) ?? wish.name;
  return transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    const id = uuidv7();
    const earlier = await findMade(unit, actor, requestKey, { kind: 'team_type', id }, (made) =>
      findTeamType(unit.trx, made),
    );
    const type = earlier ?? (await makeType(unit, actor, { id, name, description: wish.description }));
    return one(unit.trx, type);
  });
}

async function makeType(unit: Unit, actor: Actor, wish: TeamTypeRow): Promise<TeamTypeRow> {
  if ((await listRows(unit.trx)).length >= MAX_TEAM_TYPES) {
    throw problem('invalid_request', { reason: `there are ${MAX_TEAM_TYPES} team types already` });
  }
  const type = await insertTeamType(unit.trx, wish);
  if (type === undefined) {
    const details = { name: wish.name };
    throw problem('conflict', { reason: `another team type is called ${wish.name}` }, { details });
  }
  if (knownName(type.name) !== undefined) await restoreTeamType(unit.trx, type.name);
  unit.audit(actor, {
    action: 'team_type.create',
    targetKind: 'team_type',
    targetId: type.id,
    details: { name: type.name },
  });
  unit.emit('team.changed', { data: { change: 'type.created', teamTypeId: type.id } });
  return type;
}

/** Its teams stay, without a type. @throws forbidden, not_found */
export async function deleteTeamType(deps: DomainDeps, actor: Actor, id: string): Promise<void> {
  assertCan(actor.principal, 'delete', 'team');
  await transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    const name = isUuid(id) ? await deleteRow(unit.trx, id) : undefined;
    if (name === undefined) throw problem('not_found');
    unit.audit(actor, {
      action: 'team_type.delete',
      targetKind: 'team_type',
      targetId: id,
      details: { name },
    });
    unit.emit('team.changed', { data: { change: 'type.deleted', teamTypeId: id } });
  });
}

/** Roles of a type with the template of each. @throws forbidden, team_type_not_found */
export async function listRolesOfType(
  deps: DomainDeps,
  actor: Actor,
  typeId: string,
): Promise<(TeamRoleView & { templateId: string | null })[]> {
  assertCan(actor.principal, 'list', 'team');
  await getTeamType(deps.db, typeId);
  return listRoleRows(deps.db, [typeId]);
}

/** Linked already: the template is replaced. @throws forbidden, team_type_not_found, role_not_found, template_not_found */
export async function addRoleToType(
  deps: DomainDeps,
  actor: Actor,
  typeId: string,
  link: { roleId: string; templateId: string | null },
): Promise<void> {
  assertCan(actor.principal, 'update', 'team');
  await transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    await getTeamType(unit.trx, typeId);
    await assertRole(unit.trx, link.roleId);
    await assertTemplate(unit.trx, link.templateId);
    await linkRole(unit.trx, { teamTypeId: typeId, ...link });
    noteChange(unit, actor, typeId, { linked: link.roleId, templateId: link.templateId });
  });
}

/** @throws forbidden, not_found (no such link), template_not_found */
export async function setRoleTemplate(
  deps: DomainDeps,
  actor: Actor,
  typeId: string,
  link: { roleId: string; templateId: string | null },
): Promise<void> {
  assertCan(actor.principal, 'update', 'team');
  await transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    await assertTemplate(unit.trx, link.templateId);
    const areIds = isUuid(typeId) && isUuid(link.roleId);
    if (!areIds || !(await setLinkTemplate(unit.trx, { teamTypeId: typeId, ...link })))
      throw problem('not_found');
    noteChange(unit, actor, typeId, { roleId: link.roleId, templateId: link.templateId });
  });
}

/** Members that have the role keep it. @throws forbidden, not_found (no such link) */
export async function removeRoleFromType(
  deps: DomainDeps,
  actor: Actor,
  typeId: string,
  roleId: string,
): Promise<void> {
  assertCan(actor.principal, 'update', 'team');
  await transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    if (!isUuid(typeId) || !isUuid(roleId) || !(await unlinkRow(unit.trx, typeId, roleId)))
      throw problem('not_found');
    noteChange(unit, actor, typeId, { unlinked: roleId });
  });
}

/**
 * Put back what is missing of the types that come with the system; types of other names are left alone.
 * @param names absent: all of them
 * @returns the types that are there now
 * @throws forbidden
 */
export async function ensureTeamTemplates(
  deps: DomainDeps,
  actor: Actor,
  names: readonly string[] = defaultTeamTypeNames,
): Promise<TeamTypeView[]> {
  assertCan(actor.principal, 'create', 'team');
  const known = [...new Set(names.map(knownName))].filter((name) => name !== undefined);
  return transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    const types: TeamTypeRow[] = [];
    for (const name of known) {
      await restoreTeamType(unit.trx, name);
      const type = await findTeamTypeByName(unit.trx, name);
      if (type === undefined) continue;
      types.push(type);
      noteChange(unit, actor, type.id, { isRestored: true });
    }
    return present(unit.trx, types);
  });
}

const knownName = (name: string): string | undefined =>
  defaultTeamTypeNames.find((known) => known.toLowerCase() === name.trim().toLowerCase());

function noteChange(unit: Unit, actor: Actor, typeId: string, details: Record<string, unknown>): void {
  unit.audit(actor, { action: 'team_type.update', targetKind: 'team_type', targetId: typeId, details });
  unit.emit('team.changed', { data: { change: 'type.updated', teamTypeId: typeId } });
}

async function present(db: Queryable, types: readonly TeamTypeRow[]): Promise<TeamTypeView[]> {
  const roles = await listRoleRows(
    db,
    types.map(({ id }) => id),
  );
  return types.map((type) => {
    const own = roles.filter(({ teamTypeId }) => teamTypeId === type.id);
    return {
      id: type.id,
      name: type.name,
      description: type.description,
      roleIds: own.map(({ id }) => id),
      roleTemplates: Object.fromEntries(own.map(({ id, templateId }) => [id, templateId])),
    };
  });
}

async function one(db: Queryable, type: TeamTypeRow): Promise<TeamTypeView> {
  const [view] = await present(db, [type]);
  if (view === undefined) throw new Error('a team type is presented as nothing');
  return view;
}
