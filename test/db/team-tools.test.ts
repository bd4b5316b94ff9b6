/** What models and programs do with teams by name: tools of the hub, and templates that become goals. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startAutopilot } from '../../domain/autopilot/state.ts';
import { readHubConfigValue } from '../../domain/hub-config/store.ts';
import { createHubToolPorts } from '../../domain/hub-tools/hub-ports.ts';
import { createTeam } from '../../domain/teams/teams.ts';
import { deleteTeamType, listTeamTypes } from '../../domain/teams/types.ts';
import { renderTemplate } from '../../domain/templates/render.ts';
import { createTemplate, listTemplates } from '../../domain/templates/templates.ts';
import { actorOf, type IdentityStack, startIdentity } from '../support/identity.ts';

const admin = actorOf('admin');
let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity();
});
afterAll(() => stack.close());

describe('tools', () => {
  it('make teams, give roles, restore what came with the system, and keep the configuration', async () => {
    const { teams, templates, config } = createHubToolPorts(stack.deps);
    if (!teams || !templates || !config) throw new Error('a port is missing');
    const roles = (await teams.listRoles(admin)) as { id: string; name: string }[];
    const owner = roles.find(({ name }) => name === 'Product Owner')?.id ?? '';
    const team = (await teams.createTeam(admin, {
      name: 'Blue',
      teamType: 'scrum',
      description: null,
    })) as { id: string; is_active: boolean };
    expect(team.is_active).toBe(true);
    for (const roleId of [owner, owner]) {
      const member = { teamId: team.id, agentUrl: 'worker-1', roleId };
      expect(await teams.assignRole(admin, member)).toMatchObject({
        members: [{ agent_url: 'worker-1', role_id: owner, custom_template_id: null }],
      });
    }
    const none = teams.createTeam(admin, { name: 'x', teamType: 'Waterfall', description: null });
    await expect(none).rejects.toMatchObject({ code: 'team_type_not_found' });

    const [scrum] = await listTeamTypes(stack.deps, admin);
    await deleteTeamType(stack.deps, admin, scrum?.id ?? '');
    const before = await listTemplates(stack.deps, admin);
    for (const template of before) await templates.deleteTemplate(admin, template.id);
    expect(await teams.ensureTemplates(admin, ['SCRUM', 'Kanban', 'Waterfall'])).toEqual([
      expect.objectContaining({ name: 'Scrum', role_ids: expect.objectContaining({ length: 3 }) }),
      expect.objectContaining({ name: 'Kanban', role_ids: expect.objectContaining({ length: 3 }) }),
    ]);
    expect((await listTemplates(stack.deps, admin)).map(({ name }) => name).sort()).toEqual(
      before.map(({ name }) => name).sort(),
    );
    const types = await listTeamTypes(stack.deps, admin);
    expect(types.flatMap(({ roleTemplates }) => Object.values(roleTemplates))).not.toContain(null);

    const made = (await templates.createTemplate(admin, {
      name: 'T',
      description: null,
      promptTemplate: '{{odd}}',
    })) as { id: string };
    expect(made).toMatchObject({ warnings: [{ type: 'unknown_variables' }] });
    expect(await templates.updateTemplate(admin, made.id, { name: 'U' })).toMatchObject({ name: 'U' });
    expect(await templates.deleteTemplate(admin, made.id)).toMatchObject({ status: 'deleted' });
    expect(await config.updateConfig(admin, { some_list: [1] })).toEqual({ status: 'updated' });
    expect(await readHubConfigValue(stack.deps, 'some_list')).toEqual([1]);
  });

  it('ask for the right themselves', async () => {
    const { teams, templates, config } = createHubToolPorts(stack.deps);
    const operator = actorOf('operator');
    const forbidden = { code: 'forbidden' };
    await expect(teams?.ensureTemplates(operator, ['Scrum'])).rejects.toMatchObject(forbidden);
    const wish = { name: 'x', description: null, promptTemplate: '' };
    await expect(templates?.createTemplate(operator, wish)).rejects.toMatchObject(forbidden);
    await expect(config?.updateConfig(operator, { a: 1 })).rejects.toMatchObject(forbidden);
  });
});

describe('a template becomes the goal of a task', () => {
  const make = async (name: string, promptTemplate: string): Promise<string> =>
    (await createTemplate(stack.deps, admin, { name, promptTemplate })).template.id;

  it('with the words of the task, its team and role', async () => {
    const type = (await listTeamTypes(stack.deps, admin)).find(({ name }) => name === 'Scrum');
    const team = await createTeam(stack.deps, admin, {
      name: 'Green',
      description: 'keep it green',
      teamTypeId: type?.id ?? null,
      isActive: true,
      members: [],
    });
    const id = await make(
      'Full',
      '{{team_name}}/{{role_name}}/{{team_goal}}: {{task_title}} - {{beschreibung}}',
    );
    const facts = {
      title: 'Fix',
      description: 'the pipe',
      teamId: team.id,
      roleId: type?.roleIds[0] ?? null,
    };
    expect(await renderTemplate(stack.db, id, facts)).toBe(
      'Green/Product Owner/keep it green: Fix - the pipe',
    );
    await startAutopilot(stack.deps, admin, { goal: 'ship it' });
    expect(await renderTemplate(stack.db, id, facts)).toContain('/ship it:');
  });

  it('and loses nothing that was asked for', async () => {
    const id = await make('Silent', 'Be careful with {{unknown}}.');
    expect(await renderTemplate(stack.db, id, { title: 'Fix', description: 'the pipe' })).toBe(
      'Be careful with {{unknown}}.\n\nthe pipe',
    );
    const empty = await make('Empty', '{{team_name}}');
    expect(await renderTemplate(stack.db, empty, { title: 'Fix', description: '' })).toBe('Fix');
  });

  it('is refused where there is none, or where it is too long', async () => {
    const facts = { title: 'Fix', description: '' };
    for (const id of ['nothing', '01890000-0000-7000-8000-000000000000']) {
      await expect(renderTemplate(stack.db, id, facts)).rejects.toMatchObject({ code: 'template_not_found' });
    }
    const id = await make('Long', '{{task}}'.repeat(2_000));
    const long = renderTemplate(stack.db, id, { title: 'Fix', description: 'x'.repeat(20) });
    await expect(long).rejects.toMatchObject({ code: 'validation_failed' });
  });
});
