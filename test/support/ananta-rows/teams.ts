/** Teams, types, roles, templates, the configuration, the autopilot. */
import { expect } from 'vitest';
import { type AnantaDesk, LOCAL_AGENT } from '../ananta-desk.ts';
import { type AnantaRow, about, adminOnly, text } from './row.ts';

const roleKeys = 'id name description default_template_id';

const typeKeys = 'id name description role_ids role_templates';

const teamKeys = 'id name description team_type_id is_active role_templates members';

const templateKeys = 'id name description prompt_template';

const autopilot = {
  keys: 'running last_tick_at dispatched_count completed_count failed_count',
  more:
    'interval_seconds max_concurrency last_error last_reason tick_count open_count started_at goal team_id ' +
    'budget_label security_level effective_security_policy circuit_breakers',
};

export const autopilotRows: readonly AnantaRow[] = [
  {
    method: 'POST',
    paths: ['/tasks/autopilot/start'],
    body: {
      ...{ interval_seconds: 3_600, max_concurrency: 1, goal: 'g', team_id: null, budget_label: 'b' },
      security_level: 'safe',
    },
    ...adminOnly,
    ...autopilot,
    like: { running: true },
  },
  {
    method: 'GET',
    paths: ['/tasks/autopilot/status'],
    ...autopilot,
    like: { running: true, dispatched_count: 0, completed_count: 0, failed_count: 0 },
  },
  { method: 'GET', paths: ['/tasks/autopilot/circuits'], keys: 'open_count open_workers failure_streak' },
  {
    method: 'POST',
    paths: ['/tasks/autopilot/circuits/reset'],
    body: { worker_url: 'http://worker.example:5000' },
    ...adminOnly,
    keys: 'circuit_breakers',
    more: 'reset worker_url',
  },
  {
    method: 'POST',
    paths: ['/tasks/autopilot/tick'],
    ...adminOnly,
    keys: `${autopilot.keys} dispatched reason`,
    more: autopilot.more,
    like: { dispatched: 0, reason: text },
  },
  {
    method: 'POST',
    paths: ['/tasks/autopilot/stop'],
    ...adminOnly,
    ...autopilot,
    like: { running: false },
  },
];

export const teamRows = ({
  next,
  newTemplate,
  newRole,
  newType,
  newTeam,
  newLink,
}: AnantaDesk): readonly AnantaRow[] => [
  { method: 'GET', paths: ['/teams/roles'], keys: roleKeys },
  {
    method: 'POST',
    paths: ['/teams/roles'],
    given: async () => ({ body: { name: next(), description: 'd', default_template_id: null } }),
    status: 201,
    ...adminOnly,
    keys: roleKeys,
    like: { id: text, name: text, description: 'd', default_template_id: null },
  },
  {
    method: 'DELETE',
    paths: ['/teams/roles/{id}'],
    given: about(newRole),
    ...adminOnly,
    keys: 'status',
    like: { status: 'deleted' },
  },
  {
    method: 'GET',
    paths: ['/teams/types'],
    keys: typeKeys,
    like: expect.arrayContaining([
      expect.objectContaining({ name: 'Scrum', role_ids: [text, text, text] }),
      expect.objectContaining({ name: 'Kanban', role_ids: [text, text, text] }),
    ]),
  },
  {
    method: 'POST',
    paths: ['/teams/types'],
    given: async () => ({ body: { name: next(), description: 'd' } }),
    status: 201,
    ...adminOnly,
    keys: typeKeys,
    like: { id: text, description: 'd', role_ids: [], role_templates: {} },
  },
  {
    method: 'DELETE',
    paths: ['/teams/types/{id}'],
    given: about(newType),
    ...adminOnly,
    keys: 'status',
    like: { status: 'deleted' },
  },
  {
    method: 'GET',
    paths: ['/teams/types/{id}/roles'],
    given: about(async () => (await newLink()).slice(0, 1)),
    keys: `${roleKeys} template_id`,
  },
  {
    method: 'POST',
    paths: ['/teams/types/{id}/roles'],
    given: async () => ({
      ids: [await newType()],
      body: { role_id: await newRole(), template_id: await newTemplate() },
    }),
    ...adminOnly,
    keys: 'status',
    like: { status: 'linked' },
  },
  {
    method: 'PATCH',
    paths: ['/teams/types/{id}/roles/{role_id}'],
    given: async () => ({ ids: await newLink(), body: { template_id: await newTemplate() } }),
    ...adminOnly,
    keys: 'status',
    like: { status: 'updated' },
  },
  {
    method: 'DELETE',
    paths: ['/teams/types/{id}/roles/{role_id}'],
    given: about(newLink),
    ...adminOnly,
    keys: 'status',
    like: { status: 'unlinked' },
  },
  { method: 'GET', paths: ['/teams'], given: about(newTeam), keys: teamKeys },
  {
    method: 'POST',
    paths: ['/teams'],
    given: async () => {
      const [typeId, roleId] = await newLink();
      const member = { agent_url: LOCAL_AGENT, role_id: roleId, custom_template_id: await newTemplate() };
      return {
        body: { name: next(), description: 'd', team_type_id: typeId, members: [member], is_active: false },
      };
    },
    status: 201,
    ...adminOnly,
    keys: teamKeys,
    like: {
      ...{ id: text, description: 'd', team_type_id: text, is_active: false, role_templates: {} },
      members: [{ id: text, team_id: text, agent_url: LOCAL_AGENT, role_id: text, custom_template_id: text }],
    },
  },
  {
    method: 'PATCH',
    paths: ['/teams/{id}'],
    body: { description: 'other' },
    given: about(newTeam),
    ...adminOnly,
    keys: teamKeys,
    like: { description: 'other' },
  },
  {
    method: 'DELETE',
    paths: ['/teams/{id}'],
    given: about(newTeam),
    ...adminOnly,
    keys: 'status',
    like: { status: 'deleted' },
  },
  {
    method: 'POST',
    paths: ['/teams/{id}/activate'],
    given: about(newTeam),
    ...adminOnly,
    keys: 'status',
    like: { status: 'activated' },
  },
  {
    method: 'POST',
    paths: ['/teams/setup-scrum'],
    given: async () => ({ body: { name: next() } }),
    status: 201,
    ...adminOnly,
    beside: ['message'],
    keys: 'team',
    like: { team: { id: text, is_active: true, members: [] } },
  },
  { method: 'GET', paths: ['/templates'], given: about(newTemplate), keys: templateKeys },
  {
    method: 'POST',
    paths: ['/templates'],
    given: async () => ({ body: { name: next(), description: 'd', prompt_template: '{{title}} {{odd}}' } }),
    status: 201,
    ...adminOnly,
    keys: `${templateKeys} warnings`,
    like: { warnings: [{ type: 'unknown_variables', details: text, allowed: expect.any(Array) }] },
  },
  ...(['PUT', 'PATCH'] as const).map(
    (method): AnantaRow => ({
      ...{ method, paths: ['/templates/{id}'], body: { prompt_template: 'p' }, given: about(newTemplate) },
      ...adminOnly,
      keys: templateKeys,
      like: { description: null, prompt_template: 'p' },
    }),
  ),
  {
    method: 'DELETE',
    paths: ['/templates/{id}'],
    given: about(newTemplate),
    ...adminOnly,
    keys: 'status cleared',
    like: { status: 'deleted', cleared: { roles: [], team_type_links: [], team_members: [], teams: [] } },
  },
  {
    method: 'GET',
    paths: ['/config'],
    keys: 'default_provider default_model',
    maybe: '*',
  },
  {
    method: 'POST',
    paths: ['/config'],
    body: { a_word_of_ours: { nested: true }, llm_config: { temperature: 0.1 }, status: 'ignored' },
    ...adminOnly,
    keys: 'status',
    like: { status: 'updated' },
  },
  { method: 'GET', paths: ['/providers'], keys: 'id name selected' },
  {
    method: 'GET',
    paths: ['/llm/history'],
    keys: '',
    more: 'id provider model calls failed_calls first_used last_used',
    like: expect.arrayContaining([expect.objectContaining({ model: 'claude-of-before' })]),
  },
];
