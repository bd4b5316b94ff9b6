/** Every error that a row of the ananta contract names, and what is wrong with any request. */
import { expect } from 'vitest';
import { type AnantaDesk, LOCAL_AGENT, type Method, PASSWORD } from '../ananta-desk.ts';
import { wrongTotpToken } from '../second-factor.ts';
import { type Given, text } from './row.ts';

const NOBODY = '01890000-0000-7000-8000-000000000000';

/** A request that is refused, and how. */
export interface Refusal extends Given {
  method: Method;
  path: string;
  given?: () => Promise<Given>;
  status: number;
  message: unknown;
  data?: unknown;
}

const invalidBody = {
  status: 422,
  message: 'validation_failed',
  data: { details: expect.any(Array), cid: text },
};
const notFound = { status: 404, message: 'not_found' };
const tooManyCalls = { tool_calls: Array.from({ length: 6 }, () => ({ name: 'list_agents' })) };
const blocked = {
  status: 400,
  message: 'tool_guardrail_blocked',
  data: { blocked_tools: ['list_agents'], blocked_reasons: [text], guardrails: expect.any(Object) },
};
const failedLogin = { username: 'the-user', password: 'wrong' };

export function anantaRefusals(desk: AnantaDesk): readonly Refusal[] {
  const { next, newTask, newAssigned, newTeam, newType, newRole, newLink } = desk;
  return [
    // Users and sessions
    { method: 'POST', path: '/login', body: {}, status: 400, message: 'Missing username or password' },
    { method: 'POST', path: '/login', body: failedLogin, status: 401, message: 'Invalid credentials' },
    {
      ...{ method: 'POST', path: '/login', status: 401, message: 'Invalid MFA token' },
      given: async () => {
        const { username, secret } = await desk.newMfaUser();
        return { body: { username, password: PASSWORD, mfa_token: wrongTotpToken(secret) } };
      },
    },
    {
      ...{ method: 'POST', path: '/login', status: 403 },
      message: expect.stringMatching(/^Account is locked\. Please try again in (8\d\d|900) seconds\.$/),
      given: async () => {
        const { username } = await desk.newUser();
        for (let i = 0; i < 5; i++) await desk.login(username, 'wrong');
        // Even the right password. The address has failed seven times by now; ten in a minute would close it.
        return { body: { username, password: PASSWORD } };
      },
    },
    { method: 'POST', path: '/refresh-token', body: {}, status: 400, message: 'Missing refresh token' },
    {
      ...{ method: 'POST', path: '/refresh-token', body: { refresh_token: 'x' } },
      ...{ status: 401, message: 'Invalid or expired refresh token' },
    },
    {
      ...{
        method: 'POST',
        path: '/change-password',
        status: 400,
        message: expect.stringMatching(/12/),
        data: { rule: text },
      },
      given: async () => ({
        token: (await desk.newUser()).token,
        body: { old_password: PASSWORD, new_password: 'Short-Sail1' },
      }),
    },
    {
      ...{
        method: 'POST',
        path: '/change-password',
        status: 400,
        message: expect.stringMatching(/password/i),
        data: { rule: text },
      },
      given: async () => ({
        token: (await desk.newUser()).token,
        body: { old_password: PASSWORD, new_password: PASSWORD },
      }),
    },
    {
      ...{
        method: 'POST',
        path: '/mfa/verify',
        body: { token: '12' },
        status: 400,
        message: 'Invalid token',
      },
      given: async () => ({ token: (await desk.newSecret()).token }),
    },
    {
      ...{ method: 'POST', path: '/users', status: 400, message: 'User already exists' },
      body: { username: 'the-user', password: PASSWORD },
    },
    { method: 'DELETE', path: '/users/nobody', status: 404, message: 'User not found' },
    // Tasks
    { method: 'GET', path: '/tasks?status=asleep', ...invalidBody },
    { method: 'POST', path: '/tasks', body: { status: 'asleep' }, ...invalidBody },
    {
      ...{ method: 'POST', path: '/tasks', status: 400, message: 'missing_dependencies:no-1,no-2' },
      body: { depends_on: ['no-1', 'no-2'] },
    },
    {
      ...{ method: 'POST', path: '/tasks', body: { id: 'selfish', depends_on: ['selfish'] } },
      ...{ status: 400, message: 'dependency_cycle_detected' },
    },
    { method: 'GET', path: '/tasks/nobodys', ...notFound },
    { method: 'POST', path: '/tasks/nobodys/unassign', ...notFound },
    { method: 'POST', path: '/tasks/nobodys/step/propose', ...notFound },
    { method: 'POST', path: '/tasks/nobodys/step/execute', body: { command: 'true' }, ...notFound },
    { method: 'GET', path: '/tasks/nobodys/logs', ...notFound },
    { method: 'GET', path: '/tasks/nobodys/stream-logs', ...notFound },
    { method: 'POST', path: '/tasks/nobodys/archive', ...notFound },
    { method: 'POST', path: '/tasks/archived/nobodys/restore', ...notFound },
    {
      ...{ method: 'POST', path: '/tasks/{id}/step/execute', status: 400, message: 'no_proposal' },
      given: async () => ({ ids: [await newAssigned()] }),
    },
    {
      ...{ method: 'POST', path: '/tasks/{id}/step/execute', body: tooManyCalls, ...blocked },
      given: async () => ({ ids: [await newAssigned()] }),
    },
    { method: 'POST', path: '/step/execute', body: {}, status: 400, message: 'no_proposal' },
    { method: 'POST', path: '/step/execute', body: tooManyCalls, ...blocked },
    { method: 'POST', path: '/schedule', body: { command: 'true' }, status: 400, message: text },
    { method: 'POST', path: '/schedule', body: { interval_seconds: 1 }, status: 400, message: text },
    // Hubs
    {
      ...{ method: 'POST', path: '/register', token: 'nonsense' },
      given: async () => ({ body: { name: 'x', url: desk.workerUrl(), registration_token: 'nonsense' } }),
      ...{ status: 401, message: 'Invalid or missing registration token' },
    },
    {
      ...{ method: 'POST', path: '/register', body: { name: 'x', url: 'http://127.0.0.1:1' } },
      ...{ status: 400, message: 'Agent URL http://127.0.0.1:1 is unreachable', data: { details: text } },
    },
    { method: 'POST', path: '/register', body: { name: 'x' }, ...invalidBody },
    {
      ...{ method: 'POST', path: '/tasks/nobodys/delegate', status: 404, message: 'parent_task_not_found' },
      given: async () => ({ body: { agent_url: desk.workerUrl(), subtask_description: 'x' } }),
    },
    {
      ...{ method: 'POST', path: '/tasks/{id}/delegate', status: 502, message: 'delegation_failed' },
      data: expect.objectContaining({ details: text }),
      given: async () => ({
        ids: [await newTask()],
        body: { agent_url: await desk.newBrokenAgent(), subtask_description: 'x' },
      }),
    },
    {
      ...{ method: 'POST', path: '/tasks/any/subtask-callback', body: { status: 'completed' } },
      ...{ status: 400, message: 'invalid_payload', data: expect.any(Object) },
    },
    {
      ...{ method: 'POST', path: '/tasks/any/subtask-callback', body: { id: 'any', status: 'completed' } },
      ...{ status: 404, message: 'subtask_not_found' },
    },
    {
      ...{ method: 'POST', path: '/tasks/{id}/step/propose', status: 502, message: 'forwarding_failed' },
      data: expect.objectContaining({ details: text }),
      given: async () => ({ ids: [await newAssigned(await desk.newBrokenAgent())] }),
    },
    {
      ...{ method: 'POST', path: '/tasks/{id}/step/execute', status: 502, message: 'forwarding_failed' },
      data: expect.objectContaining({ details: text }),
      given: async () => ({
        ids: [await newAssigned(await desk.newBrokenAgent())],
        body: { command: 'true' },
      }),
    },
    // The language model and command line programs
    { method: 'POST', path: '/llm/generate', body: {}, status: 400, message: 'Missing prompt' },
    {
      ...{ method: 'POST', path: '/llm/generate', body: { ...tooManyCalls, confirm_tool_calls: true } },
      ...blocked,
    },
    { method: 'POST', path: '/api/sgpt/execute', body: {}, status: 400, message: 'Missing prompt' },
    {
      ...{ method: 'POST', path: '/api/sgpt/execute', body: { prompt: 'x', options: 'x' } },
      ...{ status: 400, message: 'Options must be a list' },
    },
    {
      ...{ method: 'POST', path: '/api/sgpt/execute', body: { prompt: 'x', backend: 'x' } },
      ...{ status: 400, message: expect.stringMatching(/^Invalid backend\. Allowed: \[.*'auto'.*\]$/) },
    },
    {
      ...{
        method: 'POST',
        path: '/api/sgpt/execute',
        body: { prompt: 'x', options: ['--x'], backend: 'sgpt' },
      },
      ...{ status: 400, message: expect.stringMatching(/^Unsupported options for backend 'sgpt'/) },
    },
    {
      // Not installed here.
      ...{ method: 'POST', path: '/api/sgpt/execute', body: { prompt: 'x', backend: 'sgpt' } },
      ...{ status: 503, message: 'backend_unavailable', data: expect.any(Object) },
    },
    { method: 'POST', path: '/api/sgpt/context', body: {}, status: 400, message: 'Missing query' },
    ...['../api/ananta-contract.test.ts', '/etc/passwd', '.env', 'x.bin'].map(
      (source_path): Refusal => ({
        ...{ method: 'POST', path: '/api/sgpt/source', body: { source_path } },
        ...{ status: 400, message: 'Invalid source_path' },
      }),
    ),
    // Teams
    { method: 'DELETE', path: `/teams/roles/${NOBODY}`, ...notFound },
    { method: 'DELETE', path: `/teams/types/${NOBODY}`, ...notFound },
    { method: 'PATCH', path: `/teams/${NOBODY}`, body: {}, ...notFound },
    { method: 'DELETE', path: `/teams/${NOBODY}`, ...notFound },
    { method: 'POST', path: `/teams/${NOBODY}/activate`, ...notFound },
    { method: 'PATCH', path: `/templates/${NOBODY}`, body: {}, ...notFound },
    { method: 'DELETE', path: `/templates/${NOBODY}`, ...notFound },
    { method: 'GET', path: `/teams/types/${NOBODY}/roles`, status: 404, message: 'team_type_not_found' },
    {
      ...{ method: 'POST', path: '/teams', status: 404, message: 'team_type_not_found' },
      given: async () => ({ body: { name: next(), team_type_id: NOBODY } }),
    },
    {
      ...{
        method: 'POST',
        path: '/teams/types/{id}/roles',
        body: {},
        status: 400,
        message: 'role_id_required',
      },
      given: async () => ({ ids: [await newType()] }),
    },
    {
      ...{ method: 'POST', path: '/teams/types/{id}/roles', body: { role_id: NOBODY } },
      ...{ status: 404, message: 'role_not_found', data: { role_id: NOBODY } },
      given: async () => ({ ids: [await newType()] }),
    },
    {
      ...{ method: 'PATCH', path: '/teams/types/{id}/roles/{role_id}', body: { template_id: NOBODY } },
      ...{ status: 404, message: 'template_not_found', data: { template_id: NOBODY } },
      given: async () => ({ ids: await newLink() }),
    },
    {
      ...{ method: 'PATCH', path: '/teams/{id}', body: { members: [{ agent_url: LOCAL_AGENT }] } },
      ...{ status: 400, message: 'role_id_required' },
      given: async () => ({ ids: [await newTeam()] }),
    },
    {
      ...{ method: 'POST', path: '/teams', status: 400, message: 'invalid_role_for_team_type' },
      data: { role_id: text },
      given: async () => {
        const [typeId] = await newLink();
        const member = { agent_url: LOCAL_AGENT, role_id: await newRole() };
        return { body: { name: next(), team_type_id: typeId, members: [member] } };
      },
    },
    {
      method: 'POST',
      path: '/config',
      body: [],
      status: 400,
      message: 'invalid_json',
    },
    {
      method: 'POST',
      path: '/config',
      body: '{',
      status: 400,
      message: 'invalid_json',
      data: { details: text, cid: text },
    },
    // The dialect
    { method: 'GET', path: '/tasks/nobodys/nothing', ...notFound, data: { cid: text } },
    { method: 'GET', path: '/nothing', ...notFound, data: { cid: text } },
    { method: 'GET', path: '/', ...notFound, data: { cid: text } },
    { method: 'PUT', path: '/tasks', status: 405, message: 'method_not_allowed', data: { cid: text } },
    {
      ...{ method: 'POST', path: '/tasks', body: '{' },
      ...{ status: 400, message: 'malformed_json', data: { details: text, cid: text } },
    },
  ];
}
