import { problem } from '../../../contracts/errors.ts';
import {
  type AnantaMember,
  type AnantaTeam,
  type AnantaTeamRole,
  type AnantaTeamType,
  anantaActivateTeamRoute,
  anantaCreateRoleRoute,
  anantaCreateTeamRoute,
  anantaCreateTypeRoute,
  anantaDeleteRoleRoute,
  anantaDeleteTeamRoute,
  anantaDeleteTypeRoute,
  anantaLinkRoleRoute,
  anantaListRolesRoute,
  anantaListTeamsRoute,
  anantaListTypeRolesRoute,
  anantaListTypesRoute,
  anantaSetTypeTemplateRoute,
  anantaSetupScrumRoute,
  anantaUnlinkRoleRoute,
  anantaUpdateTeamRoute,
} from '../../../contracts/families/ananta/teams.ts';
import type { TeamMemberWish, TeamRoleView, TeamTypeView, TeamView } from '../../../contracts/teams.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import type { CreateTaskDeps } from '../../../domain/tasks/create.ts';
import { createTeamRole, deleteRole, listTeamRoles } from '../../../domain/teams/roles.ts';
import { setupScrum } from '../../../domain/teams/scrum.ts';
import { activateTeam, createTeam, deleteTeam, listTeams, updateTeam } from '../../../domain/teams/teams.ts';
import {
  addRoleToType,
  createTeamType,
  deleteTeamType,
  listRolesOfType,
  listTeamTypes,
  removeRoleFromType,
  setRoleTemplate,
} from '../../../domain/teams/types.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { success } from './envelope.ts';

const deleted = { status: 200 as const, body: success({ status: 'deleted' as const }) };

/** `/teams`, its roles and types. */
export function anantaTeamRoutes(deps: CreateTaskDeps): MountedRoute[] {
  return [...roleRoutes(deps), ...typeRoutes(deps), ...teamRoutes(deps)];
}

function roleRoutes(deps: CreateTaskDeps): MountedRoute[] {
  return [
    mount(anantaListRolesRoute, async (request) => {
      const roles = await listTeamRoles(deps, request);
      return { status: 200, body: success(roles.map(presentRole)) };
    }),
    mount(anantaCreateRoleRoute, async (request) => {
      const { name, description, default_template_id: template } = request.body;
      const wish = { name, description: description ?? null, defaultTemplateId: idOf(template) };
      const role = await createTeamRole(deps, request, wish, requestKeyOf(request, wish));
      return { status: 201, body: success(presentRole(role)) };
    }),
    mount(anantaDeleteRoleRoute, async (request) => {
      await deleteRole(deps, request, request.params.roleId);
      return deleted;
    }),
  ];
}

function typeRoutes(deps: CreateTaskDeps): MountedRoute[] {
  return [
    mount(anantaListTypesRoute, async (request) => {
      const types = await listTeamTypes(deps, request);
      return { status: 200, body: success(types.map(presentType)) };
    }),
    mount(anantaCreateTypeRoute, async (request) => {
      const wish = { name: request.body.name, description: request.body.description ?? null };
      const type = await createTeamType(deps, request, wish, requestKeyOf(request, wish));
      return { status: 201, body: success(presentType(type)) };
    }),
    mount(anantaDeleteTypeRoute, async (request) => {
      await deleteTeamType(deps, request, request.params.typeId);
      return deleted;
    }),
    mount(anantaListTypeRolesRoute, async (request) => {
      const roles = await listRolesOfType(deps, request, request.params.typeId);
      const data = roles.map((role) => ({ ...presentRole(role), template_id: role.templateId }));
      return { status: 200, body: success(data) };
    }),
    mount(anantaLinkRoleRoute, async (request) => {
      const roleId = idOf(request.body.role_id);
      if (roleId === null) throw problem('role_id_required');
      const link = { roleId, templateId: idOf(request.body.template_id) };
      await addRoleToType(deps, request, request.params.typeId, link);
      return { status: 200, body: success({ status: 'linked' as const }) };
    }),
    mount(anantaSetTypeTemplateRoute, async (request) => {
      const { typeId, roleId } = request.params;
      await setRoleTemplate(deps, request, typeId, { roleId, templateId: idOf(request.body.template_id) });
      return { status: 200, body: success({ status: 'updated' as const }) };
    }),
    mount(anantaUnlinkRoleRoute, async (request) => {
      await removeRoleFromType(deps, request, request.params.typeId, request.params.roleId);
      return { status: 200, body: success({ status: 'unlinked' as const }) };
    }),
  ];
}

function teamRoutes(deps: CreateTaskDeps): MountedRoute[] {
  return [
    mount(anantaListTeamsRoute, async (request) => {
      const teams = await listTeams(deps, request);
      return { status: 200, body: success(teams.map(presentTeam)) };
    }),
    mount(anantaCreateTeamRoute, async (request) => {
      const { name, description, team_type_id: typeId, members, is_active: isActive } = request.body;
      const wish = {
        name,
        description: description ?? null,
        teamTypeId: idOf(typeId),
        members: (members ?? []).map(memberOf),
        isActive: isActive ?? false,
      };
      const team = await createTeam(deps, request, wish, requestKeyOf(request, wish));
      return { status: 201, body: success(presentTeam(team)) };
    }),
    mount(anantaUpdateTeamRoute, async (request) => {
      const { name, description, team_type_id: typeId, members, is_active: isActive } = request.body;
      // To clients of the family null says nothing.
      const team = await updateTeam(deps, request, request.params.teamId, {
        name: name ?? undefined,
        description: description ?? undefined,
        teamTypeId: typeId === null || typeId === undefined ? undefined : idOf(typeId),
        members: members?.map(memberOf),
        isActive: isActive ?? undefined,
      });
      return { status: 200, body: success(presentTeam(team)) };
    }),
    mount(anantaDeleteTeamRoute, async (request) => {
      await deleteTeam(deps, request, request.params.teamId);
      return deleted;
    }),
    mount(anantaActivateTeamRoute, async (request) => {
      await activateTeam(deps, request, request.params.teamId);
      return { status: 200, body: success({ status: 'activated' as const }) };
    }),
    mount(anantaSetupScrumRoute, async (request) => {
      const wish = { name: request.body.name ?? null };
      const team = await setupScrum(deps, request, wish, requestKeyOf(request, wish));
      const message = `Scrum Team '${team.name}' was set up with its roles, templates and first tasks.`;
      return { status: 201, body: { ...success({ team: presentTeam(team) }), message } };
    }),
  ];
}

/** Forms of these clients send empty texts for what was not chosen. */
const idOf = (id: string | null | undefined): string | null => (id === undefined || id === '' ? null : id);

const memberOf = (member: AnantaMember): TeamMemberWish => ({
  agentRef: member.agent_url,
  roleId: idOf(member.role_id),
  customTemplateId: idOf(member.custom_template_id),
});

const presentRole = (role: TeamRoleView): AnantaTeamRole => ({
  id: role.id,
  name: role.name,
  description: role.description,
  default_template_id: role.defaultTemplateId,
});

const presentType = (type: TeamTypeView): AnantaTeamType => ({
  id: type.id,
  name: type.name,
  description: type.description,
  role_ids: type.roleIds,
  role_templates: type.roleTemplates,
});

const presentTeam = (team: TeamView): AnantaTeam => ({
  id: team.id,
  name: team.name,
  description: team.description,
  team_type_id: team.teamTypeId,
  is_active: team.isActive,
  role_templates: team.roleTemplates,
  members: team.members.map((member) => ({
    id: member.id,
    team_id: member.teamId,
    agent_url: member.agentRef,
    role_id: member.roleId,
    custom_template_id: member.customTemplateId,
  })),
});
