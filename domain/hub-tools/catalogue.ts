/** The tools of the hub, each with its class and arguments. The names are those that clients of the hub know. */
import { z } from 'zod';
import { agentIdSchema } from '../../contracts/agent-protocol.ts';
import { listUsableAgents } from '../agents/registry.ts';
import { listAuditEvents } from '../audit/read.ts';
import { readOutputHeads } from '../commands/output-heads.ts';
import { listCommandViews } from '../commands/read.ts';
import type { DomainDeps } from '../deps.ts';
import type { HubToolPorts } from './ports.ts';
import { defineTool, type HubTool, lacking } from './tool.ts';

/** Agents that `list_agents` names. */
const MAX_LISTED_AGENTS = 200;
/** Rows of the audit trail that `analyze_logs` gives. */
const MAX_AUDIT_ROWS = 100;
const DEFAULT_AUDIT_ROWS = 20;
/** Commands that `read_agent_logs` gives, and how much of each stream, bytes. */
const MAX_LOGGED_COMMANDS = 50;
const DEFAULT_LOGGED_COMMANDS = 10;
const MAX_LOGGED_BYTES = 1024;
const MAX_NAME_LENGTH = 255;
const MAX_TEXT_LENGTH = 20_000;

const name = z.string().trim().min(1).max(MAX_NAME_LENGTH);
const id = z.string().trim().min(1).max(MAX_NAME_LENGTH);
const text = z.string().max(MAX_TEXT_LENGTH);
const nothing = z.object({});
/** Team types that exist from the start. */
const defaultTeamTypes = ['Scrum', 'Kanban'];

/** Every tool, in the order in which a model is told of them. */
export const createToolCatalogue = (deps: DomainDeps, ports: HubToolPorts): HubTool[] => [
  ...readingTools(deps, ports),
  ...teamTools(ports),
  ...templateTools(ports),
  defineTool({
    name: 'update_config',
    description: 'Set one value of the configuration.',
    toolClass: 'admin',
    args: z.object({ key: name, value: z.unknown() }),
    secretArgs: ['value'],
    run: (actor, { key, value }) => had(ports.config, 'config').updateConfig(actor, { [key]: value ?? null }),
  }),
];

function readingTools(deps: DomainDeps, ports: HubToolPorts): HubTool[] {
  return [
    defineTool({
      name: 'list_teams',
      description: 'List all teams with their members.',
      toolClass: 'read',
      args: nothing,
      run: (actor) => had(ports.teams, 'teams').listTeams(actor),
    }),
    defineTool({
      name: 'list_roles',
      description: 'List the roles that members of teams can have.',
      toolClass: 'read',
      args: nothing,
      run: (actor) => had(ports.teams, 'teams').listRoles(actor),
    }),
    defineTool({
      name: 'list_agents',
      description: 'List the agents: machines that commands can run on.',
      toolClass: 'read',
      args: nothing,
      async run(actor) {
        const agents = await listUsableAgents(deps, actor, {}, MAX_LISTED_AGENTS);
        return agents.map(({ id, hostname, os, status, tags, lastSeenAt }) => ({
          id,
          name: hostname,
          os,
          status,
          tags,
          last_seen: lastSeenAt === null ? null : lastSeenAt.getTime() / 1000,
        }));
      },
    }),
    defineTool({
      name: 'list_templates',
      description: 'List the prompt templates.',
      toolClass: 'read',
      args: nothing,
      run: (actor) => had(ports.templates, 'templates').listTemplates(actor),
    }),
    defineTool({
      name: 'analyze_logs',
      description: 'Read the newest rows of the audit trail.',
      toolClass: 'read',
      args: z.object({ limit: z.int().min(1).max(MAX_AUDIT_ROWS).default(DEFAULT_AUDIT_ROWS) }),
      async run(actor, { limit }) {
        const rows = await listAuditEvents(deps, actor, { limit, offset: 0 });
        return rows.map(({ at, ...row }) => ({ ...row, timestamp: at.getTime() / 1000 }));
      },
    }),
    defineTool({
      name: 'read_agent_logs',
      description: 'Read the newest commands of an agent, or of all, with the beginning of their output.',
      toolClass: 'read',
      args: z.object({
        agent_id: agentIdSchema.optional(),
        lines: z.int().min(1).max(MAX_LOGGED_COMMANDS).default(DEFAULT_LOGGED_COMMANDS),
      }),
      async run(actor, { agent_id: agentId, lines }) {
        const { items } = await listCommandViews(deps, actor, { agentId, limit: lines });
        const heads = await readOutputHeads(deps, actor, items, MAX_LOGGED_BYTES);
        return items.map((command, index) => ({
          agent_id: command.agentId,
          command: command.text,
          state: command.state,
          exit_code: command.exitCode,
          output: heads[index]?.stdout.text ?? '',
          error: heads[index]?.stderr.text ?? '',
          timestamp: Date.parse(command.createdAt) / 1000,
        }));
      },
    }),
  ];
}

function teamTools(ports: HubToolPorts): HubTool[] {
  return [
    defineTool({
      name: 'create_team',
      description: 'Make a team of a type (Scrum, Kanban, or one of your own) and make it the active one.',
      toolClass: 'write',
      args: z.object({ name, team_type: name, description: text.optional() }),
      run: (actor, { name, team_type: teamType, description = null }) =>
        had(ports.teams, 'teams').createTeam(actor, { name, teamType, description }),
    }),
    defineTool({
      name: 'assign_role',
      description: 'Give an agent a role in a team; it joins the team where it is no member yet.',
      toolClass: 'write',
      args: z.object({ team_id: id, agent_url: z.string().trim().min(1).max(2048), role_id: id }),
      run: (actor, { team_id: teamId, agent_url: agentUrl, role_id: roleId }) =>
        had(ports.teams, 'teams').assignRole(actor, { teamId, agentUrl, roleId }),
    }),
    defineTool({
      name: 'ensure_team_templates',
      description: 'See that the usual roles and templates of team types exist.',
      toolClass: 'write',
      args: z.object({ team_types: z.array(name).max(20).default(defaultTeamTypes) }),
      run: (actor, { team_types: teamTypes }) =>
        had(ports.teams, 'teams').ensureTemplates(
          actor,
          teamTypes.length === 0 ? defaultTeamTypes : teamTypes,
        ),
    }),
  ];
}

function templateTools(ports: HubToolPorts): HubTool[] {
  return [
    defineTool({
      name: 'create_template',
      description: 'Make a prompt template; `{{variable}}` stands for what is filled in.',
      toolClass: 'write',
      args: z.object({ name, description: text.optional(), prompt_template: text.min(1) }),
      run: (actor, { name, description = null, prompt_template: promptTemplate }) =>
        had(ports.templates, 'templates').createTemplate(actor, { name, description, promptTemplate }),
    }),
    defineTool({
      name: 'update_template',
      description: 'Change a prompt template; what is left out stays.',
      toolClass: 'write',
      args: z.object({
        template_id: id,
        name: name.optional(),
        description: text.optional(),
        prompt_template: text.min(1).optional(),
      }),
      run: (actor, { template_id: templateId, name, description, prompt_template: promptTemplate }) =>
        had(ports.templates, 'templates').updateTemplate(actor, templateId, {
          ...(name !== undefined && { name }),
          ...(description !== undefined && { description }),
          ...(promptTemplate !== undefined && { promptTemplate }),
        }),
    }),
    defineTool({
      name: 'delete_template',
      description: 'Delete a prompt template; what refers to it refers to none afterwards.',
      toolClass: 'write',
      args: z.object({ template_id: id }),
      run: (actor, { template_id: templateId }) =>
        had(ports.templates, 'templates').deleteTemplate(actor, templateId),
    }),
  ];
}

/** @throws not_supported */
function had<Port>(port: Port | undefined, feature: string): Port {
  if (port === undefined) throw lacking(feature);
  return port;
}
