/** Teams: agents with roles. At most one team is active; the autopilot runs its tasks. */
import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { MAX_TEAM_MEMBERS, MAX_TEAMS, type TeamView, type TeamWish } from '../../contracts/teams.ts';
import type { Queryable } from '../../db/database.ts';
import {
  countTeams,
  deleteTeam as deleteRow,
  findTeam,
  insertTeam,
  listMembers,
  listTeams as listRows,
  lockTeam,
  lockTeams,
  replaceMembers,
  setActiveTeam,
  type TeamMemberRow,
  type TeamRow,
  takeTypeTemplates,
  updateTeam as updateRow,
} from '../../db/teams.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import type { RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { findMade } from './claim.ts';
import { getTeamType } from './lookups.ts';
import { checkMembers } from './members.ts';

/** Oldest first. @throws forbidden */
export async function listTeams(deps: DomainDeps, actor: Actor): Promise<TeamView[]> {
  assertCan(actor.principal, 'list', 'team');
  return present(deps.db, await listRows(deps.db));
}

/**
 * @throws forbidden, team_type_not_found, role_id_required, role_not_found, invalid_role_for_team_type,
 *   template_not_found, invalid_request (too many), idempotency_conflict
 */
export async function createTeam(
  deps: DomainDeps,
  actor: Actor,
  wish: TeamWish,
  requestKey: RequestKey | null = null,
): Promise<TeamView> {
  assertCan(actor.principal, 'create', 'team');
  return transact(deps, async (unit) => {
    await lockTeams(unit.trx);
    const id = uuidv7();
    const earlier = await findMade(unit, actor, requestKey, { kind: 'team', id }, (made) =>
      findTeam(unit.trx, made),
    );
    return presentOne(unit.trx, earlier?.id ?? (await makeTeam(unit, actor, id, wish)));
  });
}

/** In a unit that holds `lockTeams` and does more. @returns the id @throws as createTeam */
export async function makeTeam(unit: Unit, actor: Actor, id: string, wish: TeamWish): Promise<string> {
  if ((await countTeams(unit.trx)) >= MAX_TEAMS) {
    throw problem('invalid_request', { reason: `there are ${MAX_TEAMS} teams already` });
  }
  const { name, description, teamTypeId } = wish;
  if (teamTypeId !== null) await getTeamType(unit.trx, teamTypeId);
  const members = await checkMembers(unit.trx, teamTypeId, wish.members);
  await insertTeam(unit.trx, { id, name, description, teamTypeId });
  await replaceMembers(unit.trx, id, members);
  if (wish.isActive) await setActiveTeam(unit.trx, id);
  unit.audit(actor, {
    action: 'team.create',
    targetKind: 'team',
    targetId: id,
    details: { name, teamTypeId, members: members.length, isActive: wish.isActive },
  });
  unit.emit('team.changed', { data: { change: 'team.created', teamId: id } });
  return id;
}

/** What is not given stays as it is; members are replaced whole. @throws as createTeam; not_found */
export async function updateTeam(
  deps: DomainDeps,
  actor: Actor,
  id: string,
  change: { [Field in keyof TeamWish]?: TeamWish[Field] | undefined },
): Promise<TeamView> {
  assertCan(actor.principal, 'update', 'team');
  return transact(deps, async (unit) => {
    const before = await getForChange(unit, id);
    const teamTypeId = change.teamTypeId === undefined ? before.teamTypeId : change.teamTypeId;
    const isOtherType = teamTypeId !== before.teamTypeId;
    if (isOtherType && teamTypeId !== null) await getTeamType(unit.trx, teamTypeId);
    await updateRow(unit.trx, {
      id,
      name: change.name ?? before.name,
      description: change.description === undefined ? before.description : change.description,
      teamTypeId,
    });
    if (isOtherType) await takeTypeTemplates(unit.trx, id);
    if (change.members !== undefined) {
      await replaceMembers(unit.trx, id, await checkMembers(unit.trx, teamTypeId, change.members));
    }
    if (change.isActive === true) await setActiveTeam(unit.trx, id);
    if (change.isActive === false && before.isActive) await setActiveTeam(unit.trx, null);
    noteChange(unit, actor, id, {
      changed: Object.keys(change).filter((field) => change[field as keyof TeamWish] !== undefined),
    });
    return presentOne(unit.trx, id);
  });
}

/**
 * Give an agent a role in a team: a member that is there gets the role, otherwise it joins.
 * @throws as updateTeam
 */
export async function assignRole(
  deps: DomainDeps,
  actor: Actor,
  id: string,
  wish: { agentRef: string; roleId: string; customTemplateId: string | null },
): Promise<TeamView> {
  assertCan(actor.principal, 'update', 'team');
  return transact(deps, async (unit) => {
    const team = await getForChange(unit, id);
    const members = await listMembers(unit.trx, [id]);
    const [joined] = await checkMembers(unit.trx, team.teamTypeId, [wish]);
    if (joined === undefined) throw new Error('a checked member is missing');
    const place = members.findIndex(({ agentRef }) => agentRef === wish.agentRef);
    if (place === -1 && members.length >= MAX_TEAM_MEMBERS) {
      throw problem('invalid_request', { reason: `the team has ${MAX_TEAM_MEMBERS} members already` });
    }
    const next: Omit<TeamMemberRow, 'teamId'>[] = members.map(({ teamId: _, ...member }) => member);
    if (place === -1) next.push(joined);
    else next[place] = { ...joined, id: members[place]?.id ?? joined.id };
    await replaceMembers(unit.trx, id, next);
    noteChange(unit, actor, id, { agentRef: wish.agentRef, roleId: wish.roleId });
    return presentOne(unit.trx, id);
  });
}

/** It, and no other. @throws forbidden, not_found */
export async function activateTeam(deps: DomainDeps, actor: Actor, id: string): Promise<void> {
  assertCan(actor.principal, 'update', 'team');
  await transact(deps, async (unit) => {
    const before = await getForChange(unit, id);
    if (before.isActive) return;
    await setActiveTeam(unit.trx, id);
    noteChange(unit, actor, id, { changed: ['isActive'] });
  });
}

/** Its tasks stay, without a team. @throws forbidden, not_found */
export async function deleteTeam(deps: DomainDeps, actor: Actor, id: string): Promise<void> {
  assertCan(actor.principal, 'delete', 'team');
  await transact(deps, async (unit) => {
    const before = await getForChange(unit, id);
    await deleteRow(unit.trx, id);
    unit.audit(actor, {
      action: 'team.delete',
      targetKind: 'team',
      targetId: id,
      details: { name: before.name },
    });
    unit.emit('team.changed', { data: { change: 'team.deleted', teamId: id } });
  });
}

async function getForChange(unit: Unit, id: string): Promise<TeamRow> {
  await lockTeams(unit.trx);
  const team = isUuid(id) ? await lockTeam(unit.trx, id) : undefined;
  if (team === undefined) throw problem('not_found');
  return team;
}

function noteChange(unit: Unit, actor: Actor, id: string, details: Record<string, unknown>): void {
  unit.audit(actor, { action: 'team.update', targetKind: 'team', targetId: id, details });
  unit.emit('team.changed', { data: { change: 'team.updated', teamId: id } });
}

async function present(db: Queryable, teams: readonly TeamRow[]): Promise<TeamView[]> {
  const members = await listMembers(
    db,
    teams.map(({ id }) => id),
  );
  return teams.map((team) => ({ ...team, members: members.filter(({ teamId }) => teamId === team.id) }));
}

/** @throws not_found */
export async function presentOne(db: Queryable, id: string): Promise<TeamView> {
  const team = isUuid(id) ? await findTeam(db, id) : undefined;
  const [view] = team === undefined ? [] : await present(db, [team]);
  if (view === undefined) throw problem('not_found');
  return view;
}
