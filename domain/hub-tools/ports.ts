/** What the tools need of other parts of the domain; each function asks for the right itself. */
import type { Actor } from '../deps.ts';

/** Teams, their types and roles. */
export interface TeamTools {
  listTeams(actor: Actor): Promise<unknown>;
  listRoles(actor: Actor): Promise<unknown>;
  /** The new team is the active one. `teamType` is a name. */
  createTeam(
    actor: Actor,
    team: { name: string; teamType: string; description: string | null },
  ): Promise<unknown>;
  /** `roleId` is the new role of a member, who joins the team where it is none yet. */
  assignRole(actor: Actor, member: { teamId: string; agentUrl: string; roleId: string }): Promise<unknown>;
  /** See that the roles and templates of these team types (names) exist. */
  ensureTemplates(actor: Actor, teamTypes: readonly string[]): Promise<unknown>;
}

export interface TemplateTools {
  listTemplates(actor: Actor): Promise<unknown>;
  createTemplate(
    actor: Actor,
    template: { name: string; description: string | null; promptTemplate: string },
  ): Promise<unknown>;
  /** What is absent stays. */
  updateTemplate(
    actor: Actor,
    templateId: string,
    change: { name?: string; description?: string; promptTemplate?: string },
  ): Promise<unknown>;
  deleteTemplate(actor: Actor, templateId: string): Promise<unknown>;
}

export interface ConfigTools {
  /** Merge these members into the configuration, as `POST /config` does. */
  updateConfig(actor: Actor, change: Readonly<Record<string, unknown>>): Promise<unknown>;
}

/** A part that is absent: its tools are listed and answer that they are not supported. */
export interface HubToolPorts {
  teams?: TeamTools;
  templates?: TemplateTools;
  config?: ConfigTools;
}
