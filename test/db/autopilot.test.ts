/** The autopilot on real rows: which tasks it sets going, how many, on whose agents, and what it never does. */

import type pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createTaskBodySchema } from '../../contracts/tasks.ts';
import { countSessionTasks, takeCandidates } from '../../db/autopilot.ts';
import type { Trx } from '../../db/database.ts';
import { listUsedModels } from '../../db/llm-calls.ts';
import { limitOf } from '../../domain/autopilot/budget.ts';
import { getAutopilotStatus, startAutopilot, stopAutopilot } from '../../domain/autopilot/state.ts';
import { runDueTick, tickNow } from '../../domain/autopilot/tick.ts';
import { createTask } from '../../domain/tasks/create.ts';
import { listTeamRoles } from '../../domain/teams/roles.ts';
import { createTeam, deleteTeam } from '../../domain/teams/teams.ts';
import { actorOf, type IdentityStack, readAudit, startIdentity } from '../support/identity.ts';

const admin = actorOf('admin');
let stack: IdentityStack;
beforeEach(async () => {
  stack = await startIdentity();
});
afterEach(() => stack.close());

const makeTeam = (name: string, facts: { isActive?: boolean; agentRefs?: string[]; roleId?: string } = {}) =>
  createTeam(stack.deps, admin, {
    name,
    description: null,
    teamTypeId: null,
    isActive: facts.isActive ?? true,
    members: (facts.agentRefs ?? []).map((agentRef) => ({
      agentRef,
      roleId: facts.roleId ?? '',
      customTemplateId: null,
    })),
  });

async function makeTask(teamId: string | null, facts: Record<string, unknown> = {}): Promise<string> {
  const { priority = 'medium', ...body } = facts;
  const { task } = await createTask(
    stack.deps,
    admin,
    createTaskBodySchema.parse({ goal: 'look around', mode: 'manual', ...body }),
    { idempotencyKey: null, details: { teamId, priority: String(priority) } },
  );
  return task.id;
}

async function addAgent(id: string, isConnected = true): Promise<void> {
  await stack.db('agents').insert({ id, hostname: `host-of-${id}`, os: 'linux', shells: ['sh'], tags: [] });
  if (!isConnected) return;
  await stack.db('agent_connections').insert({
    agent_id: id,
    epoch: 1,
    journal_id: '01890000-0000-7000-8000-000000000001',
    bridge_id: '01890000-0000-7000-8000-000000000002',
    connected_at: new Date(),
  });
}

const taskRow = (id: string) =>
  stack.db('tasks').first('mode', 'state', 'agent_id', 'autopilot_session').where({ public_id: id });

const tick = (teamId: string | null = null) => tickNow(stack.deps, admin, { teamId }, null);

describe('a tick', () => {
  it('sets going the tasks of the active team, the most urgent first, and tells their workflows', async () => {
    await addAgent('one');
    const team = await makeTeam('Blue');
    const other = await makeTeam('Red', { isActive: false });
    const [low, high, medium] = [
      await makeTask(team.id, { priority: 'low' }),
      await makeTask(team.id, { priority: 'High' }),
      await makeTask(team.id),
    ];
    const [foreign, free] = [await makeTask(other.id), await makeTask(null)];
    await stack.db('outbox').delete();

    await startAutopilot(stack.deps, admin, { maxConcurrency: 2 });
    expect(await tick()).toMatchObject({
      dispatched: 2,
      reason: 'ok',
      running: true,
      dispatchedCount: 2,
      open: 2,
    });
    expect(await taskRow(high)).toMatchObject({ mode: 'supervised', state: 'assigned', agent_id: 'one' });
    expect(await taskRow(medium)).toMatchObject({ mode: 'supervised' });
    for (const id of [low, foreign, free])
      expect(await taskRow(id)).toMatchObject({ mode: 'manual', autopilot_session: null });
    const bells = await stack.db('outbox').select('workflow_id', 'payload').orderBy('id');
    expect(bells.map(({ payload }) => payload)).toEqual([
      { name: 'modeChanged', arg: { mode: 'supervised' } },
      { name: 'modeChanged', arg: { mode: 'supervised' } },
    ]);
    expect(await tick()).toMatchObject({ dispatched: 0, reason: 'max_concurrency_reached' });

    await stack.db('tasks').update({ state: 'completed', ended_at: new Date() }).where({ public_id: high });
    await stack.db('tasks').update({ state: 'failed', ended_at: new Date() }).where({ public_id: medium });
    expect(await tick()).toMatchObject({ dispatched: 1, completed: 1, failed: 1, open: 1, tickCount: 3 });
    expect(await taskRow(low)).toMatchObject({ mode: 'supervised' });
    expect(await tick()).toMatchObject({ dispatched: 0, reason: 'no_candidates' });
    expect(await tick(other.id)).toMatchObject({ dispatched: 1 });
    expect(await readAudit(stack.db, 'autopilot.dispatch')).toHaveLength(4);
  });

  it('leaves alone what a person has begun, what waits, what has ended and notes', async () => {
    await addAgent('one');
    const team = await makeTeam('Blue');
    const ids = await Promise.all([1, 2, 3, 4, 5].map(() => makeTask(team.id)));
    const set = (index: number, values: Record<string, unknown>) =>
      stack.db('tasks').update(values).where({ public_id: ids[index] });
    await set(0, { requested_step: 1 });
    await set(1, { state: 'blocked' });
    await set(2, { state: 'completed', ended_at: new Date() });
    await set(3, { kind: 'collab' });
    await set(4, { cancel_requested_at: new Date() });
    await startAutopilot(stack.deps, admin, {});
    expect(await tick()).toMatchObject({ dispatched: 0, reason: 'no_candidates' });
  });

  it('says why it does nothing', async () => {
    expect(await tick()).toMatchObject({ dispatched: 0, reason: 'no_active_team' });
    const team = await makeTeam('Blue');
    const id = await makeTask(team.id);
    await addAgent('away', false);
    expect(await tick()).toMatchObject({ dispatched: 0, reason: 'no_available_workers' });
    await addAgent('one');
    await startAutopilot(stack.deps, admin, { budgetLabel: '0.50 USD' });
    const { session } = await getAutopilotStatus(stack.deps, admin);
    const spent = await makeTask(null);
    await stack.db('tasks').update({ autopilot_session: session }).where({ public_id: spent });
    const { id: rowId } = await stack.db('tasks').first('id').where({ public_id: spent });
    await stack.db('llm_calls').insert({
      purpose: 'propose',
      task_id: rowId,
      principal_id: 'p',
      model: 'm',
      mock: false,
      input_tokens: 1,
      output_tokens: 1,
      cost_usd: 0.5,
      outcome: 'ok',
    });
    expect(await tick()).toMatchObject({ dispatched: 0, reason: 'budget_exhausted' });
    await startAutopilot(stack.deps, admin, { budgetLabel: '2' });
    expect(await tick()).toMatchObject({ dispatched: 1, reason: 'ok' });
    expect(await taskRow(id)).toMatchObject({ agent_id: 'one' });
  });

  it('gives tasks to members of the team, by id or host name, with the role of the task first', async () => {
    for (const id of ['stranger', 'member', 'specialist']) await addAgent(id);
    await addAgent('away', false);
    const [roleA, roleB] = await listTeamRoles(stack.deps, admin);
    const team = await createTeam(stack.deps, admin, {
      name: 'Blue',
      description: null,
      teamTypeId: null,
      isActive: true,
      members: [
        { agentRef: 'host-of-member', roleId: roleA?.id ?? '', customTemplateId: null },
        { agentRef: 'specialist', roleId: roleB?.id ?? '', customTemplateId: null },
        { agentRef: 'away', roleId: roleA?.id ?? '', customTemplateId: null },
        { agentRef: 'http://nobody:5000', roleId: roleA?.id ?? '', customTemplateId: null },
      ],
    });
    const tagged = await makeTask(team.id, { target: { tags: ['gpu'] } });
    await stack
      .db('agents')
      .update({ tags: ['gpu', 'big'] })
      .where({ id: 'stranger' });
    const [plain, special, named] = [
      await makeTask(team.id),
      await makeTask(team.id),
      await makeTask(team.id, { target: { agentId: 'stranger' } }),
    ];
    await stack.db('tasks').update({ role_id: roleB?.id }).where({ public_id: special });
    await stack.db('tasks').update({ role_id: roleA?.id }).where({ public_id: plain });
    await startAutopilot(stack.deps, admin, { maxConcurrency: 10 });
    expect(await tick()).toMatchObject({ dispatched: 4 });
    expect(await taskRow(tagged)).toMatchObject({ agent_id: 'stranger' });
    expect(await taskRow(plain)).toMatchObject({ agent_id: 'member' });
    expect(await taskRow(special)).toMatchObject({ agent_id: 'specialist' });
    expect(await taskRow(named)).toMatchObject({ agent_id: 'stranger' });
  });

  it('never sets going more than may be open, however many ticks there are at once', async () => {
    await addAgent('one');
    const team = await makeTeam('Blue');
    for (let i = 0; i < 6; i++) await makeTask(team.id);
    await startAutopilot(stack.deps, admin, { maxConcurrency: 2 });
    const ticks = await Promise.all(Array.from({ length: 6 }, () => tick()));
    expect(ticks.reduce((sum, { dispatched }) => sum + dispatched, 0)).toBe(2);
    const going = await stack.db('tasks').where({ mode: 'supervised' });
    expect(going).toHaveLength(2);
  });

  it('gives tasks to members with an address that were heard of, and to nobody with one who is none', async () => {
    const url = 'http://worker.test:5000';
    await stack.db('agents').insert({ id: 'addressed', hostname: 'worker', delivery: 'url', address: url });
    await stack.db('url_agents').insert({ agent_id: 'addressed', url, role: 'worker' });
    const heard = (seconds: number) =>
      stack.db.raw(
        `insert into agent_presence (agent_id, is_online, last_seen_at)
         values ('addressed', true, now() - make_interval(secs => ${seconds}))
         on conflict (agent_id) do update set last_seen_at = excluded.last_seen_at`,
      );
    await heard(0);
    const open = await makeTeam('Open');
    await makeTask(open.id);
    await startAutopilot(stack.deps, admin, {});
    expect(await tick()).toMatchObject({ dispatched: 0, reason: 'no_available_workers' });
    const [role] = await listTeamRoles(stack.deps, admin);
    const team = await makeTeam('Blue', { agentRefs: [`${url}/`], roleId: role?.id ?? '' });
    const id = await makeTask(team.id);
    await heard(301);
    expect(await tick()).toMatchObject({ dispatched: 0, reason: 'no_available_workers' });
    await heard(250);
    await stack.db.raw(`update url_agents set open_until = now() + interval '1 minute'`);
    expect(await tick()).toMatchObject({ dispatched: 0, reason: 'no_available_workers' });
    await stack.db.raw('update url_agents set open_until = null');
    expect(await tick()).toMatchObject({ dispatched: 1, reason: 'ok' });
    expect(await taskRow(id)).toMatchObject({ agent_id: 'addressed', mode: 'supervised' });
  });

  it('passes by what nobody can take now, however urgent it is', async () => {
    await addAgent('one');
    const team = await makeTeam('Blue');
    const stuck = await makeTask(team.id, { priority: 'critical', target: { tags: ['gpu'] } });
    const [next, last] = [await makeTask(team.id, { priority: 'high' }), await makeTask(team.id)];
    await startAutopilot(stack.deps, admin, { maxConcurrency: 1 });
    expect(await tick()).toMatchObject({ dispatched: 1, reason: 'ok', open: 1 });
    expect(await taskRow(next)).toMatchObject({ mode: 'supervised', agent_id: 'one' });
    for (const id of [stuck, last]) expect(await taskRow(id)).toMatchObject({ mode: 'manual' });
  });

  it('is done once for one Idempotency-Key', async () => {
    await addAgent('one');
    const team = await makeTeam('Blue');
    for (let i = 0; i < 2; i++) await makeTask(team.id);
    await startAutopilot(stack.deps, admin, { maxConcurrency: 1 });
    const key = { key: 'tick-once', bodySha256: 'x' };
    expect(await tickNow(stack.deps, admin, { teamId: null }, key)).toMatchObject({ dispatched: 1 });
    await startAutopilot(stack.deps, admin, { maxConcurrency: 5 });
    expect(await tickNow(stack.deps, admin, { teamId: null }, key)).toMatchObject({
      dispatched: 0,
      reason: 'repeated_request',
    });
  });
});

describe('the autopilot', () => {
  it('ticks when one is due, and not before', async () => {
    await addAgent('one');
    const team = await makeTeam('Blue');
    for (let i = 0; i < 2; i++) await makeTask(team.id);
    expect(await runDueTick(stack.deps)).toBe(0);
    await startAutopilot(stack.deps, admin, { intervalMs: 3_600_000, maxConcurrency: 1 });
    expect(await runDueTick(stack.deps)).toBe(1);
    await startAutopilot(stack.deps, admin, { maxConcurrency: 5 });
    expect(await runDueTick(stack.deps)).toBe(0);
    await stack.db('autopilot').update({ last_tick_at: new Date(Date.now() - 2 * 3_600_000) });
    expect(await runDueTick(stack.deps)).toBe(1);
    await stopAutopilot(stack.deps, admin);
    await stack.db('autopilot').update({ last_tick_at: null });
    expect(await runDueTick(stack.deps)).toBe(0);
    expect(await readAudit(stack.db, 'autopilot.tick')).toEqual([]);
  });

  it('keeps what it is not told, counts from each start, and forgets a deleted team', async () => {
    const team = await makeTeam('Blue', { isActive: false });
    const wish = { intervalMs: 5_000, maxConcurrency: 3, goal: 'ship it', teamId: team.id };
    const first = await startAutopilot(stack.deps, admin, { ...wish, securityLevel: 'Balanced' });
    expect(first).toMatchObject({ ...wish, running: true, securityLevel: 'balanced', session: 1 });
    await tick();
    const changed = await startAutopilot(stack.deps, admin, { securityLevel: 'reckless' });
    expect(changed).toMatchObject({ ...wish, session: 1, tickCount: 1, securityLevel: 'safe' });
    expect(await stopAutopilot(stack.deps, admin)).toMatchObject({ running: false, tickCount: 1 });
    await deleteTeam(stack.deps, admin, team.id);
    expect(await startAutopilot(stack.deps, admin, {})).toMatchObject({
      session: 2,
      tickCount: 0,
      teamId: null,
    });
    const missing = startAutopilot(stack.deps, admin, { teamId: team.id });
    await expect(missing).rejects.toMatchObject({ code: 'not_found' });
  });

  it('runs tasks in mode auto where the level says so', async () => {
    await addAgent('one');
    const team = await makeTeam('Blue');
    const id = await makeTask(team.id);
    await startAutopilot(stack.deps, admin, { securityLevel: 'aggressive' });
    await tick();
    expect(await taskRow(id)).toMatchObject({ mode: 'auto' });
  });

  it('obeys administrators only', async () => {
    for (const role of ['viewer', 'user', 'operator', 'system'] as const) {
      const actor = actorOf(role);
      await expect(startAutopilot(stack.deps, actor, {})).rejects.toMatchObject({ code: 'forbidden' });
      await expect(stopAutopilot(stack.deps, actor)).rejects.toMatchObject({ code: 'forbidden' });
      const asked = tickNow(stack.deps, actor, { teamId: null }, null);
      await expect(asked).rejects.toMatchObject({ code: 'forbidden' });
      expect(await getAutopilotStatus(stack.deps, actor)).toMatchObject({ running: false });
    }
  });

  it('takes amounts of dollars for limits, and other labels for words', () => {
    expect(['5', ' 2.50 ', '$3', '4 USD', '7 dollars', 'usd 1'].map(limitOf)).toEqual([5, 2.5, 3, 4, 7, 1]);
    expect(['', 'small', '5 tasks', '-1', '1e9'].map(limitOf)).toEqual([null, null, null, null, null]);
  });
});

describe('its statements', () => {
  /** The plan of a statement as it is sent. */
  async function planOf(send: (trx: Trx) => Promise<unknown>): Promise<string> {
    const sent: { text: string; values: unknown[] }[] = [];
    const driver = {
      async query(statement: { text: string; values: unknown[] }) {
        sent.push(statement);
        return { rows: [] };
      },
    };
    await send({ driver: driver as unknown as pg.ClientBase });
    const [statement] = sent;
    if (statement === undefined) throw new Error('nothing was sent');
    const client: pg.ClientBase = await stack.db.client.acquireConnection();
    try {
      const { rows } = await client.query<{ 'QUERY PLAN': string }>(
        `explain ${statement.text}`,
        statement.values,
      );
      return rows.map((row) => row['QUERY PLAN']).join('\n');
    } finally {
      stack.db.client.releaseConnection(client);
    }
  }

  it('read no more than the tasks of a team that wait, or those of a session', async () => {
    await stack.db.raw(
      `insert into tasks (id, public_id, title, goal, mode, state, creator_kind, creator_id, creator_name, target,
                          max_steps, deadline_at, approval_timeout_ms, command_timeout_ms, expiry_ms, team_id,
                          autopilot_session, ended_at)
       select gen_random_uuid(), n, n, n, case when n % 4 = 0 then 'manual' else 'supervised' end,
              case when n % 2 = 0 then 'created' else 'completed' end, 'user', 'x', 'x', '{"any": true}', 1,
              now() + interval '1 day', 1, 1, 1, 'team-' || n % 100, case when n % 4 <> 0 then n % 97 end,
              case when n % 2 = 1 then now() end
       from generate_series(1, 10000) as n`,
    );
    await stack.db.raw(
      `insert into llm_calls (at, purpose, principal_id, model, mock, input_tokens, output_tokens, cost_usd, outcome)
       select now() - n * interval '1 hour', 'chat', 'x', 'm', false, 1, 1, 0, 'ok' from generate_series(1, 10000) as n`,
    );
    await stack.db.raw('analyze tasks, llm_calls');
    expect(await planOf((trx) => takeCandidates(trx, 'team-4', 5))).toContain('tasks_team_waiting_idx');
    expect(await planOf((trx) => countSessionTasks(trx, 3))).toContain('tasks_autopilot_idx');
    expect(await planOf((trx) => listUsedModels(trx, 30))).toContain('llm_calls_day_idx');
  });
});
