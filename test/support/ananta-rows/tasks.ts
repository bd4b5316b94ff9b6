/** Tasks, their steps and logs, schedules. */
import { expect } from 'vitest';
import { type AnantaDesk, daily, GOAL, LOCAL_AGENT } from '../ananta-desk.ts';
import { type AnantaRow, about, adminOnly, number, text, underApi } from './row.ts';

const taskKeys =
  'id title description status priority created_at updated_at team_id assigned_agent_url assigned_role_id history ' +
  'last_proposal last_output last_exit_code callback_url callback_token parent_task_id depends_on';

const proposalKeys = 'reason command tool_calls raw';

const executed = {
  keys: 'output exit_code task_id status',
  more: 'output_truncated command_id outcome attempts quality_gate',
};

export const taskRows = ({
  next,
  newTask,
  newAssigned,
  newProposed,
  newExecuted,
  newArchived,
  newSchedule,
}: AnantaDesk): readonly AnantaRow[] => [
  {
    method: 'GET',
    paths: underApi('/tasks?status=created&agent=&since=1&until=9999999999&limit=100&offset=0'),
    given: about(newTask),
    keys: taskKeys,
    like: expect.arrayContaining([
      expect.objectContaining({ status: 'created', created_at: number, history: [], depends_on: [] }),
    ]),
  },
  {
    method: 'POST',
    paths: underApi('/tasks'),
    given: async () => ({
      body: {
        ...{ id: next(), title: 't', description: 'd', status: 'done', tags: ['x'], priority: 'medium' },
        ...{ template_id: null, depends_on: [], client_hint: 'of-another-version' },
      },
    }),
    status: 201,
    closedTo: 'viewer',
    keys: 'id status',
    like: { id: expect.stringMatching(/^contract-/), status: 'created' },
  },
  { method: 'GET', paths: underApi('/tasks/{id}'), given: about(newExecuted), keys: taskKeys },
  {
    method: 'PATCH',
    paths: underApi('/tasks/{id}'),
    body: { title: 'u', description: 'e', status: 'To-Do', priority: 'high', tags: ['y'], depends_on: [] },
    given: about(newTask),
    closedTo: 'viewer',
    keys: 'id status',
    like: { status: 'updated' },
  },
  {
    method: 'PATCH',
    paths: underApi('/tasks/{id}'),
    body: { title: 'made by it' },
    // Of nothing that is there.
    given: about(async () => next()),
    keys: 'id status',
    like: { status: 'updated' },
  },
  {
    method: 'DELETE',
    paths: underApi('/tasks/{id}'),
    given: about(newTask),
    ...adminOnly,
    keys: 'id status',
    like: { status: 'deleted' },
  },
  {
    method: 'POST',
    paths: underApi('/tasks/{id}/assign'),
    body: { agent_url: LOCAL_AGENT, token: 'x' },
    given: about(newTask),
    closedTo: 'user',
    keys: 'status agent_url',
    like: { status: 'assigned', agent_url: LOCAL_AGENT },
  },
  {
    method: 'POST',
    paths: underApi('/tasks/{id}/unassign'),
    given: about(newAssigned),
    closedTo: 'user',
    keys: 'status unassigned',
    like: { status: 'todo', unassigned: true },
  },
  {
    method: 'POST',
    paths: underApi('/tasks/{id}/followups'),
    body: {
      items: [
        { description: 'then this', priority: 'low', agent_url: LOCAL_AGENT, agent_token: 'x' },
        { description: 'then this' },
        { description: ' ' },
      ],
    },
    given: about(newTask),
    closedTo: 'viewer',
    keys: 'parent_task_id created skipped',
    like: {
      created: [
        {
          ...{ id: text, status: 'blocked', parent_task_id: text, description: 'then this' },
          assigned_agent_url: LOCAL_AGENT,
        },
      ],
      skipped: [{ description: 'then this', reason: 'duplicate' }, { reason: 'empty_description' }],
    },
  },
  {
    method: 'POST',
    paths: underApi('/tasks/{id}/step/propose'),
    body: { prompt: GOAL, model: null, provider: null },
    given: about(newAssigned),
    closedTo: 'viewer',
    keys: `status ${proposalKeys}`,
    like: { status: 'proposing', reason: text, command: 'echo 1 passed', tool_calls: null, raw: text },
  },
  {
    method: 'POST',
    paths: underApi('/tasks/{id}/step/execute'),
    // Without a body: the last proposal.
    given: about(newProposed),
    closedTo: 'user',
    ...executed,
    like: { output: '1 passed\n', exit_code: 0, task_id: text, status: 'completed' },
  },
  {
    method: 'POST',
    paths: underApi('/tasks/{id}/step/execute'),
    body: { command: 'echo no; exit 3', tool_calls: [], timeout: 60, retries: 0, retry_delay: 1 },
    // A command that fails is an answer.
    given: about(newAssigned),
    ...executed,
    like: { output: 'no\n', exit_code: 3, task_id: text, status: 'failed' },
  },
  {
    method: 'POST',
    paths: ['/step/propose'],
    body: { prompt: GOAL, providers: ['mock', 'gone'] },
    closedTo: 'viewer',
    keys: `${proposalKeys} comparisons`,
    like: {
      command: 'echo 1 passed',
      comparisons: {
        mock: { raw: text, reason: text, command: 'echo 1 passed', tool_calls: null },
        gone: { error: text },
      },
    },
  },
  {
    method: 'POST',
    paths: ['/step/execute'],
    body: { command: 'echo hi there' },
    closedTo: 'user',
    ...executed,
    like: { output: 'hi there\n', exit_code: 0, task_id: null, status: 'completed' },
  },
  {
    method: 'GET',
    paths: underApi('/tasks/{id}/logs'),
    given: about(newExecuted),
    keys: 'prompt reason command tool_calls output exit_code timestamp',
    more: 'event_type status outcome command_id attempt step run agent_id output_truncated quality_gate',
    like: [expect.objectContaining({ command: 'echo 1 passed', output: '1 passed\n', exit_code: 0 })],
  },
  { method: 'GET', paths: ['/logs'], given: about(newExecuted), keys: 'timestamp timestamp_iso', maybe: '*' },
  {
    method: 'GET',
    paths: underApi('/tasks/timeline?status=completed&error_only=false&since=1&limit=100'),
    given: about(newExecuted),
    keys: 'items total',
    like: {
      total: number,
      items: expect.arrayContaining([
        {
          ...{ event_type: 'execution_result', task_id: text, team_id: null, task_status: 'completed' },
          ...{ timestamp: number, actor: text, details: expect.any(Object) },
        },
      ]),
    },
  },
  { method: 'GET', paths: underApi('/tasks/archived'), keys: taskKeys },
  {
    method: 'POST',
    paths: underApi('/tasks/{id}/archive'),
    given: about(newTask),
    word: 'archived',
    closedTo: 'viewer',
    keys: 'id',
  },
  {
    method: 'POST',
    paths: underApi('/tasks/archived/{id}/restore'),
    given: about(newArchived),
    word: 'restored',
    closedTo: 'viewer',
    keys: 'id',
  },
  {
    method: 'POST',
    paths: ['/schedule'],
    body: daily,
    status: 201,
    closedTo: 'viewer',
    keys: 'id command interval_seconds next_run last_run enabled',
    like: { id: text, ...daily, next_run: number, last_run: null, enabled: true },
  },
  {
    method: 'GET',
    paths: ['/schedule'],
    keys: 'id command interval_seconds next_run last_run enabled',
  },
  {
    method: 'DELETE',
    paths: ['/schedule/{id}'],
    given: about(newSchedule),
    closedTo: 'viewer',
    keys: 'status',
    like: { status: 'deleted' },
  },
  {
    method: 'DELETE',
    paths: ['/schedule/{id}'],
    // Of nothing that is there.
    given: about(async () => next()),
    keys: 'status',
    like: { status: 'deleted' },
  },
];
