/** From a template and a task to the goal that the model is given. */
import { validate as isUuid } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { MAX_GOAL_LENGTH } from '../../contracts/tasks.ts';
import { findAutopilot } from '../../db/autopilot.ts';
import type { Queryable } from '../../db/database.ts';
import { findTeamRoles } from '../../db/team-types.ts';
import { findTeam } from '../../db/teams.ts';
import { findTemplate } from '../../db/templates.ts';
import { fillVariables } from './variables.ts';

/** What a template can be filled in with; all but the words of the task may be missing. */
export interface TemplateFacts {
  title: string;
  description: string;
  agentName?: string | null | undefined;
  teamId?: string | null | undefined;
  roleId?: string | null | undefined;
  /** Values by the name of the variable; they win over what the task says. */
  values?: Readonly<Record<string, string>> | undefined;
}

/**
 * The goal of a task with a template: its words, filled in. A template that never speaks of the task has the task's
 * description put behind it, so that nothing that was asked for is lost.
 * @throws template_not_found; validation_failed where the goal would be too long
 */
export async function renderTemplate(
  db: Queryable,
  templateId: string,
  facts: TemplateFacts,
): Promise<string> {
  const template = isUuid(templateId) ? await findTemplate(db, templateId) : undefined;
  if (template === undefined) {
    throw problem('template_not_found', { templateId }, { details: { template_id: templateId } });
  }
  const values = await valuesFor(db, facts);
  const filled = fillVariables(template.promptTemplate, values).trim();
  const isTold = facts.description === '' || filled.includes(facts.description);
  const goal = isTold ? filled : `${filled}\n\n${facts.description}`;
  const text = goal === '' ? facts.title : goal;
  if (text.length <= MAX_GOAL_LENGTH) return text;
  const message = `makes a goal of more than ${MAX_GOAL_LENGTH} characters`;
  throw problem(
    'validation_failed',
    {},
    { issues: [{ in: 'body', path: ['template_id'], message, type: 'string_too_long' }] },
  );
}

async function valuesFor(db: Queryable, facts: TemplateFacts): Promise<Map<string, string>> {
  const { title, description, agentName, teamId, roleId } = facts;
  const team = teamId && isUuid(teamId) ? await findTeam(db, teamId) : undefined;
  const [role] = roleId && isUuid(roleId) ? await findTeamRoles(db, [roleId]) : [];
  const autopilot = await findAutopilot(db);
  // Of this team, or of whichever is active.
  const isItsGoal = autopilot !== undefined && (autopilot.teamId ?? team?.id) === team?.id;
  return new Map(
    Object.entries({
      task_title: title,
      title,
      feature_name: title,
      task_description: description,
      description,
      task: description === '' ? title : description,
      anforderungen: description,
      beschreibung: description,
      agent_name: agentName ?? '',
      team_name: team?.name ?? '',
      role_name: role?.name ?? '',
      team_goal: (isItsGoal && autopilot.goal) || (team?.description ?? ''),
      endpoint_name: '',
      funktion: '',
      sprache: '',
      api_details: '',
      ...facts.values,
    }),
  );
}
