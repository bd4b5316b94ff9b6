/** The tools' view of teams, templates and the configuration, in the words of the family that has tools. */
import { problem } from '../../contracts/errors.ts';
import type { TeamRoleView, TeamTypeView, TeamView, TemplateView } from '../../contracts/teams.ts';
import type { DomainDeps } from '../deps.ts';
import { updateHubConfig } from '../hub-config/store.ts';
import type { SecretBox } from '../secret-box.ts';
import { listTeamRoles } from '../teams/roles.ts';
import { assignRole, createTeam, listTeams } from '../teams/teams.ts';
import { ensureTeamTemplates, listTeamTypes } from '../teams/types.ts';
import {
  createTemplate,
  deleteTemplate,
  listTemplates,
  updateTemplate,
  type WrittenTemplate,
} from '../templates/templates.ts';
import type { ConfigTools, HubToolPorts, TeamTools, TemplateTools } from './ports.ts';

export const createHubToolPorts = (deps: DomainDeps & { secrets: SecretBox }): HubToolPorts => ({
  teams: teamTools(deps),
  templates: templateTools(deps),
  config: configTools(deps),
});

const teamTools = (deps: DomainDeps): TeamTools => ({
  listTeams: async (actor) => (await listTeams(deps, actor)).map(presentTeam),
  listRoles: async (actor) => (await listTeamRoles(deps, actor)).map(presentRole),
  async createTeam(actor, { name, teamType, description }) {
    const wanted = teamType.trim().toLowerCase();
    const types = await listTeamTypes(deps, actor);
    const type = types.find((one) => one.name.toLowerCase() === wanted);
    if (type === undefined) throw problem('team_type_not_found', { teamTypeId: teamType });
    const wish = { name, description, teamTypeId: type.id, members: [], isActive: true };
    return presentTeam(await createTeam(deps, actor, wish));
  },
  async assignRole(actor, { teamId, agentUrl, roleId }) {
    const wish = { agentRef: agentUrl, roleId, customTemplateId: null };
    return presentTeam(await assignRole(deps, actor, teamId, wish));
  },
  ensureTemplates: async (actor, teamTypes) =>
    (await ensureTeamTemplates(deps, actor, teamTypes)).map(presentType),
});

const templateTools = (deps: DomainDeps): TemplateTools => ({
  listTemplates: async (actor) => (await listTemplates(deps, actor)).map(presentTemplate),
  createTemplate: async (actor, template) => presentWritten(await createTemplate(deps, actor, template)),
  updateTemplate: async (actor, templateId, change) =>
    presentWritten(await updateTemplate(deps, actor, templateId, change)),
  async deleteTemplate(actor, templateId) {
    const { cleared } = await deleteTemplate(deps, actor, templateId);
    const { roles, teams } = cleared;
    return {
      status: 'deleted',
      cleared: { roles, team_type_links: cleared.teamTypeLinks, team_members: cleared.teamMembers, teams },
    };
  },
});

const configTools = (deps: DomainDeps & { secrets: SecretBox }): ConfigTools => ({
  async updateConfig(actor, change) {
    await updateHubConfig(deps, actor, change);
    return { status: 'updated' };
  },
});

const presentTeam = (team: TeamView) => ({
  id: team.id,
  name: team.name,
  description: team.description,
  team_type_id: team.teamTypeId,
  is_active: team.isActive,
  members: team.members.map(({ agentRef, roleId, customTemplateId }) => ({
    agent_url: agentRef,
    role_id: roleId,
    custom_template_id: customTemplateId,
  })),
});

const presentRole = ({ id, name, description, defaultTemplateId }: TeamRoleView) => ({
  id,
  name,
  description,
  default_template_id: defaultTemplateId,
});

const presentType = ({ id, name, roleIds, roleTemplates }: TeamTypeView) => ({
  id,
  name,
  role_ids: roleIds,
  role_templates: roleTemplates,
});

const presentTemplate = ({ id, name, description, promptTemplate }: TemplateView) => ({
  id,
  name,
  description,
  prompt_template: promptTemplate,
});

const presentWritten = ({ template, warnings }: WrittenTemplate) => ({
  ...presentTemplate(template),
  ...(warnings.length > 0 && { warnings }),
});
