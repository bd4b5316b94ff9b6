/** Teams, their types, roles and templates, and the autopilot: words and bounds that every family shares. */

/** How many there may be. They are listed whole. */
export const MAX_TEAMS = 500;
export const MAX_TEAM_TYPES = 200;
export const MAX_TEAM_ROLES = 500;
export const MAX_TEMPLATES = 1_000;
export const MAX_TEAM_MEMBERS = 200;

/** Characters. */
export const MAX_TEAM_NAME_LENGTH = 255;
export const MAX_TEAM_DESCRIPTION_LENGTH = 4_000;
export const MAX_TEMPLATE_LENGTH = 16_384;
export const MAX_AGENT_REF_LENGTH = 2_048;

export interface TeamRoleView {
  id: string;
  name: string;
  description: string | null;
  defaultTemplateId: string | null;
}

export interface TeamTypeView {
  id: string;
  name: string;
  description: string | null;
  roleIds: string[];
  /** Template by role; null: the role's own. */
  roleTemplates: Record<string, string | null>;
}

export interface TeamMemberView {
  id: string;
  teamId: string;
  /** An agent's id, host name or URL, as it was given. */
  agentRef: string;
  roleId: string;
  customTemplateId: string | null;
}

export interface TeamView {
  id: string;
  name: string;
  description: string | null;
  teamTypeId: string | null;
  isActive: boolean;
  roleTemplates: Record<string, string>;
  members: TeamMemberView[];
}

/** A member as it is asked for. */
export interface TeamMemberWish {
  agentRef: string;
  roleId: string | null;
  customTemplateId: string | null;
}

export interface TeamWish {
  name: string;
  description: string | null;
  teamTypeId: string | null;
  members: readonly TeamMemberWish[];
  isActive: boolean;
}

export interface TemplateView {
  id: string;
  name: string;
  description: string | null;
  promptTemplate: string;
}

/** What a template says that nobody will fill in. */
export interface TemplateWarning {
  type: 'unknown_variables';
  details: string;
  allowed: string[];
}

/** What stands between double braces, unless the configuration names others. */
export const defaultTemplateVariables = [
  'agent_name',
  'task_title',
  'task_description',
  'team_name',
  'role_name',
  'team_goal',
  'title',
  'description',
  'task',
  'feature_name',
  'endpoint_name',
  'anforderungen',
  'funktion',
  'beschreibung',
  'sprache',
  'api_details',
] as const;

export const securityLevels = ['safe', 'balanced', 'aggressive'] as const;
export type SecurityLevel = (typeof securityLevels)[number];

/** Tasks of the autopilot that may be open at once. */
export const MAX_AUTOPILOT_CONCURRENCY = 100;
/** Longest pause between two ticks, seconds. */
export const MAX_AUTOPILOT_INTERVAL_SECONDS = 24 * 60 * 60;
