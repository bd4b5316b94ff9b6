/** Teams, types, roles, templates, the configuration and models in the dialect of ananta: exact bodies. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { anantaConfigRoutes } from '../../api/routes/ananta/config.ts';
import { anantaTeamRoutes } from '../../api/routes/ananta/teams.ts';
import { anantaTemplateRoutes } from '../../api/routes/ananta/templates.ts';
import type { Principal } from '../../contracts/principal.ts';
import { roles } from '../../contracts/principal.ts';
import { MAX_SETTING_LENGTH } from '../../contracts/settings.ts';
import { MAX_HUB_CONFIG_KEYS } from '../../domain/hub-config/store.ts';
import { can } from '../../domain/policy.ts';
import { sendJson, startTestServer, type TestServer } from '../support/http.ts';
import { type IdentityStack, readAudit, startIdentity } from '../support/identity.ts';

const NOBODY = '01890000-0000-7000-8000-000000000000';
const MASK = '*'.repeat(20);
const id = expect.stringMatching(/^[0-9a-f-]{36}$/);

let stack: IdentityStack;
let server: TestServer;
beforeAll(async () => {
  stack = await startIdentity();
  const { deps } = stack;
  server = await startTestServer({
    routes: [...anantaTeamRoutes(deps), ...anantaTemplateRoutes(deps), ...anantaConfigRoutes(deps)],
    authenticate: async ({ headers }): Promise<Principal> => {
      const name = headers.authorization?.replace(/^Bearer /, '') ?? 'admin';
      const role = roles.find((one) => one === name) ?? 'viewer';
      return { kind: role === 'system' ? 'system' : 'user', id: name, name, roles: [role], sessionId: null };
    },
    can,
  });
});
afterAll(async () => {
  await server.close();
  await stack.close();
});

interface Reply {
  status: number;
  body: { status: string; message?: string; data: never };
}

async function ask(
  method: string,
  path: string,
  body?: unknown,
  { as = 'admin', headers = {} }: { as?: string; headers?: Record<string, string> } = {},
): Promise<Reply> {
  const all: Record<string, string> = { Authorization: `Bearer ${as}`, ...headers };
  const reply = await server.fetch(path, {
    ...(body === undefined ? { headers: all } : sendJson(body, all)),
    method,
  });
  return { status: reply.status, body: (await reply.json()) as Reply['body'] };
}

async function data<Data>(method: string, path: string, body?: unknown): Promise<Data> {
  const reply = await ask(method, path, body);
  expect(reply).toMatchObject({ body: { status: 'success' } });
  return reply.body.data as Data;
}

interface Role {
  id: string;
  name: string;
  default_template_id: string | null;
}
interface Type {
  id: string;
  name: string;
  role_ids: string[];
  role_templates: Record<string, string | null>;
}
interface Team {
  id: string;
  name: string;
  is_active: boolean;
  role_templates: Record<string, string>;
  members: { id: string; agent_url: string; role_id: string; custom_template_id: string | null }[];
}

const refusal = (status: number, message: string, details?: Record<string, unknown>) => ({
  status,
  body: { status: 'error', message, ...(details && { data: details }) },
});

const typeNamed = async (name: string): Promise<Type> => {
  const type = (await data<Type[]>('GET', '/teams/types')).find((one) => one.name === name);
  if (type === undefined) throw new Error(`no type ${name}`);
  return type;
};
const roleNamed = async (name: string): Promise<Role> => {
  const role = (await data<Role[]>('GET', '/teams/roles')).find((one) => one.name === name);
  if (role === undefined) throw new Error(`no role ${name}`);
  return role;
};

describe('team types and roles', () => {
  it('has Scrum and Kanban from the start, with roles and templates', async () => {
    const types = await data<Type[]>('GET', '/teams/types');
    expect(types.map(({ name }) => name)).toEqual(['Scrum', 'Kanban']);
    const templates = await data<{ id: string; prompt_template: string }[]>('GET', '/templates');
    for (const type of types) {
      expect(type.role_ids).toHaveLength(3);
      expect(Object.keys(type.role_templates).sort()).toEqual([...type.role_ids].sort());
      for (const template of Object.values(type.role_templates)) {
        expect(templates.find((one) => one.id === template)?.prompt_template).toContain('{{team_name}}');
      }
    }
    const names = (await data<Role[]>('GET', '/teams/roles')).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['Product Owner', 'Scrum Master', 'Developer']));
    const [first] = await data<Record<string, unknown>[]>('GET', '/teams/roles');
    expect(Object.keys(first ?? {})).toEqual(['id', 'name', 'description', 'default_template_id']);
  });

  it('makes, links, changes, unlinks and deletes', async () => {
    const made = await ask('POST', '/teams/roles', { name: 'Tester', description: 'Tries things' });
    expect(made).toEqual({
      status: 201,
      body: {
        status: 'success',
        data: { id, name: 'Tester', description: 'Tries things', default_template_id: null },
      },
    });
    const role = await roleNamed('Tester');
    const type = await data<Type>('POST', '/teams/types', { name: 'QA' });
    expect(type).toEqual({ id, name: 'QA', description: null, role_ids: [], role_templates: {} });
    const path = `/teams/types/${type.id}/roles`;
    expect(await data('POST', path, { role_id: role.id })).toEqual({ status: 'linked' });
    const template = (await roleNamed('Developer')).default_template_id;
    const patched = await data('PATCH', `${path}/${role.id}`, { template_id: template });
    expect(patched).toEqual({ status: 'updated' });
    expect(await data('GET', path)).toEqual([
      {
        id: role.id,
        name: 'Tester',
        description: 'Tries things',
        default_template_id: null,
        template_id: template,
      },
    ]);
    expect((await typeNamed('QA')).role_templates).toEqual({ [role.id]: template });
    expect(await data('DELETE', `${path}/${role.id}`)).toEqual({ status: 'unlinked' });
    expect(await ask('DELETE', `${path}/${role.id}`)).toEqual(refusal(404, 'not_found'));
    expect(await data('DELETE', `/teams/types/${type.id}`)).toEqual({ status: 'deleted' });
    expect(await data('DELETE', `/teams/roles/${role.id}`)).toEqual({ status: 'deleted' });
    expect(await ask('DELETE', `/teams/roles/${role.id}`)).toEqual(refusal(404, 'not_found'));
    expect(await ask('DELETE', '/teams/types/no-uuid')).toEqual(refusal(404, 'not_found'));
  });

  it('refuses what is not there, in the words of the family', async () => {
    const { id: typeId } = await typeNamed('Kanban');
    const path = `/teams/types/${typeId}/roles`;
    expect(await ask('POST', path, {})).toEqual(refusal(400, 'role_id_required'));
    expect(await ask('POST', path, { role_id: NOBODY })).toEqual(
      refusal(404, 'role_not_found', { role_id: NOBODY }),
    );
    const { id: roleId } = await roleNamed('Developer');
    expect(await ask('POST', path, { role_id: roleId, template_id: 'x' })).toEqual(
      refusal(404, 'template_not_found', { template_id: 'x' }),
    );
    expect(await ask('GET', `/teams/types/${NOBODY}/roles`)).toEqual(refusal(404, 'team_type_not_found'));
    expect(await ask('PATCH', `${path}/${NOBODY}`, { template_id: null })).toEqual(refusal(404, 'not_found'));
    const twice = await ask('POST', '/teams/roles', { name: 'developer' });
    expect(twice).toEqual(refusal(409, 'role_name_exists', { name: 'developer' }));
    expect((await ask('POST', '/teams/types', { name: 'scrum' })).body.message).toBe('team_type_name_exists');
  });

  it('lets everybody read and only administrators write', async () => {
    for (const as of ['viewer', 'user', 'operator', 'system']) {
      for (const path of ['/teams', '/teams/roles', '/teams/types', '/templates', '/config', '/providers'])
        expect((await ask('GET', path, undefined, { as })).status).toBe(200);
      const refused = await ask('POST', '/teams', { name: 'mine' }, { as });
      expect(refused).toEqual(refusal(403, 'forbidden', { details: 'Admin privileges required' }));
      expect((await ask('POST', '/config', {}, { as })).status).toBe(403);
      const template = { name: 'mine', prompt_template: '' };
      expect((await ask('POST', '/templates', template, { as })).status).toBe(403);
    }
  });
});

describe('teams', () => {
  it('makes one with members of the roles of its type', async () => {
    const scrum = await typeNamed('Scrum');
    const owner = await roleNamed('Product Owner');
    const member = { agent_url: 'http://worker-1:5001', role_id: owner.id };
    const made = await ask('POST', '/teams', { name: 'Blue', team_type_id: scrum.id, members: [member] });
    expect(made).toEqual({
      status: 201,
      body: {
        status: 'success',
        data: {
          id,
          name: 'Blue',
          description: null,
          team_type_id: scrum.id,
          is_active: false,
          role_templates: scrum.role_templates,
          members: [
            {
              id,
              team_id: id,
              agent_url: 'http://worker-1:5001',
              role_id: owner.id,
              custom_template_id: null,
            },
          ],
        },
      },
    });
    const teams = await data<Team[]>('GET', '/teams');
    expect(teams).toContainEqual(made.body.data);
    expect(await readAudit(stack.db, 'team.create')).toMatchObject([
      { details: { name: 'Blue', members: 1 } },
    ]);
  });

  it('checks members', async () => {
    const scrum = await typeNamed('Scrum');
    const foreign = await roleNamed('Service Delivery Manager');
    const create = (member: Record<string, unknown>, typeId: string | null = scrum.id) =>
      ask('POST', '/teams', { name: 'Red', team_type_id: typeId, members: [{ agent_url: 'a', ...member }] });
    expect(await create({})).toEqual(refusal(400, 'role_id_required'));
    expect(await create({ role_id: NOBODY })).toEqual(refusal(404, 'role_not_found', { role_id: NOBODY }));
    expect(await create({ role_id: foreign.id })).toEqual(
      refusal(400, 'invalid_role_for_team_type', { role_id: foreign.id }),
    );
    expect((await create({ role_id: foreign.id }, null)).status).toBe(201);
    expect(await create({ role_id: foreign.id, custom_template_id: NOBODY }, null)).toEqual(
      refusal(404, 'template_not_found', { template_id: NOBODY }),
    );
    expect(await create({ role_id: foreign.id }, NOBODY)).toEqual(refusal(404, 'team_type_not_found'));
    expect((await ask('POST', '/teams', {})).body.message).toBe('validation_failed');
    expect((await data<Team[]>('GET', '/teams')).filter(({ name }) => name === 'Red')).toHaveLength(1);
  });

  it('changes, activates one at a time, and deletes', async () => {
    const first = await data<Team>('POST', '/teams', { name: 'One', is_active: true });
    const second = await data<Team>('POST', '/teams', { name: 'Two' });
    expect(first.is_active).toBe(true);
    expect(await data('POST', `/teams/${second.id}/activate`)).toEqual({ status: 'activated' });
    const active = async () =>
      (await data<Team[]>('GET', '/teams')).filter((team) => team.is_active).map(({ name }) => name);
    expect(await active()).toEqual(['Two']);
    const { id: roleId } = await roleNamed('Developer');
    const changed = await data<Team>('PATCH', `/teams/${first.id}`, {
      name: 'Uno',
      is_active: true,
      members: [{ agent_url: 'agent-9', role_id: roleId }],
    });
    expect(changed).toMatchObject({ name: 'Uno', is_active: true, members: [{ agent_url: 'agent-9' }] });
    expect(await active()).toEqual(['Uno']);
    const same = await data<Team>('PATCH', `/teams/${first.id}`, { description: 'the first' });
    expect(same).toMatchObject({
      name: 'Uno',
      description: 'the first',
      members: [{ agent_url: 'agent-9' }],
    });
    const inUse = await ask('DELETE', `/teams/roles/${roleId}`);
    expect(inUse).toEqual(refusal(409, 'role_in_use', { role_id: roleId, members: 1 }));
    await data('PATCH', `/teams/${first.id}`, { is_active: false });
    expect(await active()).toEqual([]);
    expect(await data('DELETE', `/teams/${first.id}`)).toEqual({ status: 'deleted' });
    for (const [method, path] of [
      ['DELETE', `/teams/${first.id}`],
      ['PATCH', `/teams/${NOBODY}`],
      ['POST', `/teams/${NOBODY}/activate`],
    ] as const) {
      expect(await ask(method, path, method === 'PATCH' ? {} : undefined)).toEqual(refusal(404, 'not_found'));
    }
  });

  it('activates exactly one when several are activated at once', async () => {
    const teams = await Promise.all(
      ['A', 'B', 'C', 'D'].map((name) => data<Team>('POST', '/teams', { name, is_active: true })),
    );
    await Promise.all(teams.map((team) => data('POST', `/teams/${team.id}/activate`)));
    expect((await data<Team[]>('GET', '/teams')).filter((team) => team.is_active)).toHaveLength(1);
  });

  it('is made once by one Idempotency-Key', async () => {
    const headers = { 'Idempotency-Key': 'team-once' };
    const answers = await Promise.all(
      [1, 2, 3].map(() => ask('POST', '/teams', { name: 'Once' }, { headers })),
    );
    expect(new Set(answers.map(({ body }) => (body.data as Team).id)).size).toBe(1);
    const other = await ask('POST', '/teams', { name: 'Twice' }, { headers });
    expect(other).toMatchObject({ status: 422, body: { message: 'idempotency_conflict' } });
  });

  it('sets up a Scrum team with its first tasks', async () => {
    const headers = { 'Idempotency-Key': 'scrum-once' };
    const [reply, again] = [
      await ask('POST', '/teams/setup-scrum', { name: 'Green' }, { headers }),
      await ask('POST', '/teams/setup-scrum', { name: 'Green' }, { headers }),
    ];
    const { team } = reply.body.data as { team: Team };
    expect(reply).toMatchObject({
      status: 201,
      body: { message: expect.stringContaining('Green'), data: { team: { name: 'Green', is_active: true } } },
    });
    expect(again.body.data).toEqual({ team });
    expect(Object.keys(team.role_templates)).toHaveLength(3);
    const tasks = await stack.db('tasks').select('title', 'mode', 'state').where({ team_id: team.id });
    expect(tasks.map(({ title }) => title).sort()).toEqual([
      'Green: Burndown Chart',
      'Green: Product Roadmap',
      'Green: Scrum Backlog',
      'Green: Sprint Board',
    ]);
    expect(tasks.every(({ mode }) => mode === 'manual')).toBe(true);
    await data('DELETE', `/teams/${team.id}`);
    expect(await stack.db('tasks').where({ team_id: team.id })).toEqual([]);
  });

  it('has no Scrum to set up once the type is deleted, until it is made again', async () => {
    const { id: typeId } = await typeNamed('Scrum');
    await data('DELETE', `/teams/types/${typeId}`);
    expect(await ask('POST', '/teams/setup-scrum')).toEqual(refusal(404, 'scrum_type_not_found'));
    const made = await data<Type>('POST', '/teams/types', { name: 'scrum' });
    expect(made).toMatchObject({ name: 'Scrum', role_ids: { length: 3 } });
    expect((await ask('POST', '/teams/setup-scrum')).status).toBe(201);
  });
});

describe('templates', () => {
  const create = (body: Record<string, unknown>) => ask('POST', '/templates', body);

  it('makes, changes and lists', async () => {
    const made = await create({ name: 'Plain', prompt_template: 'Do {{task_title}}' });
    expect(made).toEqual({
      status: 201,
      body: {
        status: 'success',
        data: { id, name: 'Plain', description: null, prompt_template: 'Do {{task_title}}' },
      },
    });
    const { id: templateId } = made.body.data as { id: string };
    for (const method of ['PUT', 'PATCH']) {
      const changed = await data(method, `/templates/${templateId}`, { description: method });
      expect(changed).toMatchObject({ name: 'Plain', description: method });
    }
    expect(await data('GET', '/templates')).toContainEqual({
      id: templateId,
      name: 'Plain',
      description: 'PATCH',
      prompt_template: 'Do {{task_title}}',
    });
    expect(await create({ name: 'plain', prompt_template: 'x' })).toEqual(
      refusal(409, 'template_name_exists', { name: 'plain' }),
    );
    expect(await ask('PATCH', `/templates/${NOBODY}`, {})).toEqual(refusal(404, 'not_found'));
    expect(await ask('DELETE', `/templates/${NOBODY}`)).toEqual(refusal(404, 'not_found'));
  });

  it('warns of unknown variables, by a list that can be set, and refuses them where that is asked for', async () => {
    const warned = await create({ name: 'Odd', prompt_template: '{{odd}} {{task}} {{odd}}' });
    expect(warned.body.data).toMatchObject({
      warnings: [
        {
          type: 'unknown_variables',
          details: 'Unknown variables: odd',
          allowed: expect.arrayContaining(['agent_name', 'team_goal', 'anforderungen', 'api_details']),
        },
      ],
    });
    await data('POST', '/config', { template_variables_allowlist: ['odd', 'task'] });
    const known = await create({ name: 'Known', prompt_template: '{{odd}}' });
    expect(known.body.data).not.toHaveProperty('warnings');
    await data('POST', '/config', { template_variable_validation: { strict: true } });
    const refused = await create({ name: 'Refused', prompt_template: '{{title}}' });
    expect(refused).toMatchObject({
      status: 400,
      body: { message: 'unknown_template_variables', data: { unknown_variables: ['title'] } },
    });
    await data('POST', '/config', { template_variables_allowlist: null, template_variable_validation: null });
    expect((await create({ name: 'Refused', prompt_template: '{{title}}' })).status).toBe(201);
  });

  it('clears what pointed at a deleted one', async () => {
    const { id: templateId } = (await create({ name: 'Gone', prompt_template: 'x' })).body.data as {
      id: string;
    };
    const role = await data<Role>('POST', '/teams/roles', { name: 'R', default_template_id: templateId });
    const type = await data<Type>('POST', '/teams/types', { name: 'T' });
    await data('POST', `/teams/types/${type.id}/roles`, { role_id: role.id, template_id: templateId });
    const team = await data<Team>('POST', '/teams', {
      name: 'With it',
      team_type_id: type.id,
      members: [{ agent_url: 'a', role_id: role.id, custom_template_id: templateId }],
    });
    expect(team.role_templates).toEqual({ [role.id]: templateId });
    expect(await data('DELETE', `/templates/${templateId}`)).toEqual({
      status: 'deleted',
      cleared: {
        roles: [role.id],
        team_type_links: [role.id],
        team_members: [team.members[0]?.id],
        teams: [team.id],
      },
    });
    const after = (await data<Team[]>('GET', '/teams')).find((one) => one.id === team.id);
    expect(after).toMatchObject({ role_templates: {}, members: [{ custom_template_id: null }] });
    expect(await roleNamed('R')).toMatchObject({ default_template_id: null });
  });
});

describe('/config, /providers, /llm/history', () => {
  const read = () => data<Record<string, unknown>>('GET', '/config');

  it('keeps what it is given, merges llm_config and leaves out words of envelopes', async () => {
    const given = {
      quality_gates: { min_output_chars: 12 },
      llm_config: { provider: 'lmstudio', temperature: 0.2 },
      ...{ data: 1, status: 'x', message: 'x', error: 'x', code: 2 },
    };
    expect(await ask('POST', '/config', given)).toEqual({
      status: 200,
      body: { status: 'success', data: { status: 'updated' } },
    });
    await data('POST', '/config', { llm_config: { temperature: 0.5, context_limit: 4096 } });
    const config = await read();
    expect(config).toMatchObject({
      quality_gates: { min_output_chars: 12 },
      llm_config: { provider: 'lmstudio', temperature: 0.5, context_limit: 4096 },
      default_provider: 'mock',
      default_model: expect.stringContaining('claude'),
    });
    for (const name of ['data', 'status', 'message', 'error', 'code'])
      expect(config).not.toHaveProperty(name);
    await data('POST', '/config', { quality_gates: null });
    expect(await read()).not.toHaveProperty('quality_gates');
  });

  it('masks secrets wherever they stand, and keeps them when the mask comes back', async () => {
    const canary = 'canary-of-a-secret';
    const providers = [{ name: 'x', api_key: canary }, { name: 'y' }];
    await data('POST', '/config', { llm_config: { api_key: canary }, my_token: canary, providers });
    const shown = await read();
    expect(JSON.stringify(shown)).not.toContain(canary);
    expect(shown).toMatchObject({
      my_token: MASK,
      llm_config: { api_key: MASK },
      providers: [{ name: 'x', api_key: MASK }, { name: 'y' }],
    });
    await data('POST', '/config', { ...shown, llm_config: { api_key: MASK, model: 'gemma' } });
    const rows = await stack
      .db('settings')
      .select('key', 'value', 'is_encrypted')
      .where({ namespace: 'hub' });
    expect(JSON.stringify(rows)).not.toContain(canary);
    const stored = (key: string): unknown => {
      const row = rows.find((one) => one.key === key);
      return JSON.parse(stack.deps.secrets.open(`setting/hub/${key}`, row.value));
    };
    expect(stored('my_token')).toBe(canary);
    expect(stored('llm_config')).toMatchObject({ api_key: canary, model: 'gemma' });
    expect(stored('providers')).toEqual(providers);
    const audit = await readAudit(stack.db, 'hub_config.update');
    expect(JSON.stringify(audit)).not.toContain(canary);
    expect(audit.map((row) => row.target_id)).toContain('hub/my_token');
  });

  it('takes nothing but an object', async () => {
    for (const body of [[], 'text', 3, null]) {
      expect(await ask('POST', '/config', body)).toMatchObject(refusal(400, 'invalid_json'));
    }
    const broken = await server.fetch('/config', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: 'Bearer admin' },
      body: '{"a":',
    });
    expect(broken.status).toBe(400);
    expect(await broken.json()).toMatchObject({ message: 'invalid_json' });
    const long = await ask('POST', '/config', { fits: 1, long: 'x'.repeat(20_000) });
    expect(long.status).toBe(422);
    const many = Object.fromEntries(Array.from({ length: 290 }, (_, index) => [`name${index}`, index]));
    await data('POST', '/config', many);
    const more = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`more${index}`, index]));
    expect((await ask('POST', '/config', { ...more, fits: 1 })).status).toBe(409);
    await data('POST', '/config', Object.fromEntries(Object.keys(many).map((name) => [name, null])));
    expect((await ask('POST', '/config', { 'no name': 1 })).status).toBe(422);
    expect(await read()).not.toHaveProperty('fits');
  });

  it('takes up the model that it is told, when it is one of ours', async () => {
    await data('POST', '/config', { default_model: 'gpt-4o' });
    expect(stack.running.model().model).not.toBe('gpt-4o');
    await data('POST', '/config', { llm_config: { model: 'claude-opus-9' } });
    expect(stack.running.model().model).toBe('claude-opus-9');
    // All of it or nothing.
    for (const [refused, status] of [
      [{ 'no name': 1 }, 422],
      [Object.fromEntries(Array.from({ length: MAX_HUB_CONFIG_KEYS + 1 }, (_, n) => [`key_${n}`, n])), 409],
      [{ long: 'x'.repeat(MAX_SETTING_LENGTH) }, 422],
    ] as const) {
      const answer = await ask('POST', '/config', { default_model: 'claude-refused', ...refused });
      expect(answer.status).toBe(status);
    }
    expect(stack.running.model().model).toBe('claude-opus-9');
    expect(await data('GET', '/config')).toMatchObject({ llm_config: { model: 'claude-opus-9' } });
    expect(JSON.stringify(await data('GET', '/config'))).not.toContain('claude-refused');
  });

  it('names the models to choose from and those that were used', async () => {
    const call = {
      task_id: null,
      principal_id: 'p',
      input_tokens: 1,
      output_tokens: 1,
      cost_usd: 0,
      mock: false,
    };
    await stack.db('llm_calls').insert([
      { ...call, purpose: 'propose', model: 'claude-old', outcome: 'ok', at: new Date(Date.now() - 60_000) },
      { ...call, purpose: 'propose', model: 'claude-old', outcome: 'llm_overloaded' },
      {
        ...call,
        purpose: 'chat',
        model: 'claude-older',
        outcome: 'ok',
        at: new Date(Date.now() - 3_600_000),
      },
      {
        ...call,
        purpose: 'chat',
        model: 'claude-ancient',
        outcome: 'ok',
        at: new Date(Date.now() - 31 * 86_400_000),
      },
    ]);
    expect(await data('GET', '/llm/history')).toEqual([
      {
        id: 'anthropic:claude-old',
        provider: 'anthropic',
        model: 'claude-old',
        calls: 2,
        failed_calls: 1,
        first_used: expect.any(Number),
        last_used: expect.any(Number),
      },
      expect.objectContaining({ id: 'anthropic:claude-older', calls: 1 }),
    ]);
    const providers = await data<{ id: string; name: string; selected: boolean }[]>('GET', '/providers');
    expect(providers).toContainEqual({
      id: 'anthropic:claude-old',
      name: 'claude-old (anthropic)',
      selected: false,
    });
    expect(providers.filter(({ selected }) => selected)).toEqual([
      { id: 'mock:mock', name: 'mock (mock)', selected: true },
    ]);
  });
});
