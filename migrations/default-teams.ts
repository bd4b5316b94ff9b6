/**
 * Team types that exist from the start, with their roles and templates. Migrations hold what was true when they were
 * written, so this never changes; `db/team-defaults.ts` restores from it what was deleted.
 */

export interface DefaultRole {
  id: string;
  name: string;
  description: string;
  templateId: string;
  templateName: string;
  prompt: string;
}

export interface DefaultTeamType {
  id: string;
  name: string;
  description: string;
  roles: readonly DefaultRole[];
}

const idOf = (number: number): string => `01930000-0000-7000-8000-${String(number).padStart(12, '0')}`;

const task = 'The task: {{task_title}}\n{{task_description}}';

export const defaultTeamTypes: readonly DefaultTeamType[] = [
  {
    id: idOf(1),
    name: 'Scrum',
    description: 'Short sprints: a product owner, a scrum master and developers',
    roles: [
      {
        id: idOf(11),
        name: 'Product Owner',
        description: 'Owns the backlog and its order',
        templateId: idOf(21),
        templateName: 'Scrum - Product Owner',
        prompt: `You are the Product Owner of the team {{team_name}}. You keep the backlog, put it in order of value and word every item so that it can be accepted or refused. The team's goal: {{team_goal}}\n\n${task}`,
      },
      {
        id: idOf(12),
        name: 'Scrum Master',
        description: 'Keeps the process going and clears what is in the way',
        templateId: idOf(22),
        templateName: 'Scrum - Scrum Master',
        prompt: `You are the Scrum Master of the team {{team_name}}. You keep the process going, find what is in the way and clear it. The team's goal: {{team_goal}}\n\n${task}`,
      },
      {
        id: idOf(13),
        name: 'Developer',
        description: 'Builds, tests and delivers',
        templateId: idOf(23),
        templateName: 'Scrum - Developer',
        prompt: `You are a Developer of the team {{team_name}}. You build what is asked for in small steps, test it and show that it works. The team's goal: {{team_goal}}\n\n${task}`,
      },
    ],
  },
  {
    id: idOf(2),
    name: 'Kanban',
    description: 'A steady flow of work with a limit on what is in progress',
    roles: [
      {
        id: idOf(14),
        name: 'Service Delivery Manager',
        description: 'Watches flow and lead times',
        templateId: idOf(24),
        templateName: 'Kanban - Service Delivery Manager',
        prompt: `You are the Service Delivery Manager of the team {{team_name}}. You watch the flow of work, its limits and lead times, and say what slows it down. The team's goal: {{team_goal}}\n\n${task}`,
      },
      {
        id: idOf(15),
        name: 'Service Request Manager',
        description: 'Takes in work and puts it in order',
        templateId: idOf(25),
        templateName: 'Kanban - Service Request Manager',
        prompt: `You are the Service Request Manager of the team {{team_name}}. You take in requests, word them as work that can be finished, and put them in order. The team's goal: {{team_goal}}\n\n${task}`,
      },
      {
        id: idOf(13),
        name: 'Developer',
        description: 'Builds, tests and delivers',
        templateId: idOf(26),
        templateName: 'Kanban - Developer',
        prompt: `You are a Developer of the team {{team_name}}. You pull one piece of work at a time, finish it, test it and show that it works. The team's goal: {{team_goal}}\n\n${task}`,
      },
    ],
  },
];
