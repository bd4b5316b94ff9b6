/** Registration without an enrolment token: whose host name, whose id, whose credential. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findAgentsToDisconnect } from '../../db/agents.ts';
import { listAlertRules } from '../../db/alert-rules.ts';
import { createEnrolment, enrolAgent, listEnrolments } from '../../domain/agents/enrol.ts';
import { listGroupPage } from '../../domain/agents/groups.ts';
import { heartbeat } from '../../domain/agents/heartbeat.ts';
import type { PresenceReport } from '../../domain/agents/presence.ts';
import { registerAgent } from '../../domain/agents/register.ts';
import {
  changeAgent,
  drainAgent,
  getAgent,
  listAgentPage,
  listUsableAgents,
  revokeAgent,
} from '../../domain/agents/registry.ts';
import { resolveAgentRef } from '../../domain/agents/resolve-ref.ts';
import { seedDemoAgents } from '../../domain/agents/seed.ts';
import { rotateAgentToken } from '../../domain/agents/tokens.ts';
import { encodeCursor } from '../../domain/cursor.ts';
import { bodySha256 } from '../../domain/idempotency.ts';
import { identify } from '../../domain/identity/identify.ts';
import { actorOf, type IdentityStack, readAudit, startIdentity, testOrigin } from '../support/identity.ts';

let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity({ withAdmin: false });
});
afterAll(() => stack.close());

const operator = actorOf('operator');
const shared = actorOf('system', 'agent-token');
const register = (wish: Parameters<typeof registerAgent>[2], actor = shared) =>
  registerAgent(stack.deps, actor, wish);
const connect = (agentId: string, epoch = 1) =>
  stack
    .db('agent_connections')
    .insert({ agent_id: agentId, epoch, bridge_id: randomUUID(), connected_at: stack.db.fn.now() });
const eventsOf = (agentId: string) => stack.events.filter((event) => event.agentId === agentId);
async function enrol(hostname: string, agentId?: string) {
  const { enrolmentToken } = await createEnrolment(stack.deps, operator, {
    tags: [],
    maxUses: 1,
    ttlMs: 60_000,
  });
  return enrolAgent(stack.deps, testOrigin, { enrolmentToken, hostname, agentId });
}

describe('a registration by host name', () => {
  it('finds the same agent again, however the name is spelt, and changes what it says', async () => {
    const first = await register({ hostname: 'WIN-7', os: 'Windows 11', tags: ['office', 'office'] });
    expect(first).toMatchObject({
      isNew: true,
      agent: { hostname: 'WIN-7', tags: ['office'], status: 'offline' },
    });
    const again = await register({
      hostname: 'win-7',
      os: 'Windows 12',
      systemInfo: { cpu_percent: 3 },
      tags: [],
    });
    expect(again).toMatchObject({
      isNew: false,
      agent: { id: first.agent.id, os: 'Windows 12', tags: ['office'], systemInfo: { cpu_percent: 3 } },
    });
    expect(eventsOf(first.agent.id).map((event) => event.type)).toEqual(['agent.enrolled']);
    const audit = (await readAudit(stack.db, 'agent.register')).filter(
      (row) => row.target_id === first.agent.id,
    );
    expect(audit).toMatchObject([
      { principal_id: 'agent-token', details: { hostname: 'WIN-7', tags: ['office'] } },
    ]);
  });

  it('gives it other tags, on record; one with its own token keeps those it was given', async () => {
    const { agent } = await register({ hostname: 'tagged', tags: ['a'] });
    await register({ hostname: 'tagged', tags: ['a', 'a'] });
    expect((await register({ hostname: 'tagged', tags: ['b', 'c'] })).agent.tags).toEqual(['b', 'c']);
    const changes = (await readAudit(stack.db, 'agent.update')).filter((row) => row.target_id === agent.id);
    expect(changes).toMatchObject([{ principal_id: 'agent-token', details: { tags: ['b', 'c'] } }]);
    expect(eventsOf(agent.id)).toMatchObject([
      { type: 'agent.enrolled' },
      { type: 'agent.updated', data: { tags: ['b', 'c'] } },
    ]);
    const { agentId } = await enrol('tagged-own');
    const own = await register(
      { hostname: 'tagged-own', os: 'BSD', tags: ['prod'] },
      actorOf('agent', agentId),
    );
    expect(own.agent).toMatchObject({ id: agentId, os: 'BSD', tags: [] });
  });

  it('makes one agent of twenty at once', async () => {
    const made = await Promise.all(Array.from({ length: 20 }, () => register({ hostname: 'crowd' })));
    expect(new Set(made.map(({ agent }) => agent.id)).size).toBe(1);
    expect(made.filter(({ isNew }) => isNew)).toHaveLength(1);
  });

  it('never takes an agent that has its own token, is connected, or was revoked: a new id, and an event', async () => {
    const enrolled = await enrol('twin');
    const second = await register({ hostname: 'twin' });
    expect(second.isNew).toBe(true);
    expect(eventsOf(second.agent.id)).toMatchObject([
      { type: 'agent.enrolled' },
      { type: 'agent.duplicate_hostname', data: { hostname: 'twin', others: [enrolled.agentId] } },
    ]);
    await connect(second.agent.id);
    const third = await register({ hostname: 'twin' });
    expect(third.agent.id).not.toBe(second.agent.id);
    await revokeAgent(stack.deps, operator, third.agent.id);
    const fourth = await register({ hostname: 'twin' });
    expect([enrolled.agentId, second.agent.id, third.agent.id]).not.toContain(fourth.agent.id);
    expect((await register({ hostname: 'twin' })).agent.id).toBe(fourth.agent.id);
  });

  it('is idempotent by its key, also when the agent has connected meanwhile', async () => {
    const wish = { hostname: 'keyed' };
    const key = { key: 'k1', bodySha256: bodySha256(wish) };
    const first = await registerAgent(stack.deps, shared, wish, key);
    await connect(first.agent.id);
    expect((await registerAgent(stack.deps, shared, wish, key)).agent.id).toBe(first.agent.id);
    await expect(
      registerAgent(stack.deps, shared, wish, { ...key, bodySha256: bodySha256({}) }),
    ).rejects.toMatchObject({ code: 'idempotency_conflict' });
  });

  it('stores hostile texts as plain ones', async () => {
    const { agent } = await register({
      hostname: 'a\u001b[2Jb',
      os: '\u202Eexe',
      tags: ['x\u0007'],
      address: '\u0000',
    });
    expect(agent).toMatchObject({
      hostname: 'a\uFFFD[2Jb',
      os: '\uFFFDexe',
      tags: ['x\uFFFD'],
      address: '\uFFFD',
    });
  });
});

describe('a registration by id', () => {
  it('makes or finds that agent, whatever its host name', async () => {
    expect(await register({ agentId: 'chosen-1', hostname: 'h1' })).toMatchObject({
      isNew: true,
      agent: { id: 'chosen-1' },
    });
    expect(await register({ agentId: 'chosen-1', hostname: 'h2' })).toMatchObject({
      isNew: false,
      agent: { hostname: 'h2' },
    });
  });

  it('is refused for an agent with its own token, a revoked one, and ids that routes use', async () => {
    await enrol('h', 'has-token');
    await expect(register({ agentId: 'has-token', hostname: 'h' })).rejects.toMatchObject({
      code: 'agent_exists',
    });
    await register({ agentId: 'was-revoked', hostname: 'h' });
    await revokeAgent(stack.deps, operator, 'was-revoked');
    await expect(register({ agentId: 'was-revoked', hostname: 'h' })).rejects.toMatchObject({
      code: 'agent_revoked',
    });
    for (const agentId of ['connected', 'Offline', 'status', 'register', 'seed']) {
      await expect(register({ agentId, hostname: 'h' })).rejects.toMatchObject({ code: 'validation_failed' });
    }
  });

  it('by the own token is of that agent and no other', async () => {
    const { agentId } = await enrol('own-host');
    const { agent } = await register(
      { agentId: 'someone-else', hostname: 'own-host', os: 'BSD' },
      actorOf('agent', agentId),
    );
    expect(agent).toMatchObject({ id: agentId, os: 'BSD' });
    for (const role of ['viewer', 'user'] as const) {
      await expect(register({ hostname: 'x' }, actorOf(role))).rejects.toMatchObject({ code: 'forbidden' });
    }
  });
});

describe('a heartbeat over HTTP', () => {
  const said: PresenceReport[] = [];
  const beat = (agentId: string, actor = shared) =>
    heartbeat({ ...stack.deps, presence: { add: (one) => void said.push(one) } }, actor, agentId, {
      cpu_percent: 1,
    });

  it('is the matter of the agent itself, of operators, and of the shared token for agents without a token', async () => {
    const { agentId } = await enrol('beating');
    const { agent: bootstrapped } = await register({ hostname: 'bootstrapped' });
    expect(await beat(agentId, actorOf('agent', agentId))).toMatchObject({
      isAlive: true,
      secondsSinceSeen: 0,
    });
    await beat(bootstrapped.id);
    await beat(agentId, operator);
    expect(said).toMatchObject([{ agentId, epoch: null }, { agentId: bootstrapped.id }, { agentId }]);
    await expect(beat(agentId)).rejects.toMatchObject({ code: 'forbidden' });
    await expect(beat(agentId, actorOf('agent', 'other'))).rejects.toMatchObject({ code: 'forbidden' });
    await expect(beat('nobody')).rejects.toMatchObject({ code: 'agent_not_found' });
    await revokeAgent(stack.deps, operator, bootstrapped.id);
    await expect(beat(bootstrapped.id)).rejects.toMatchObject({ code: 'agent_not_found' });
  });
});

describe('the life of a credential', () => {
  it('overlaps with its successor as long as was said, and ends the socket that it opened', async () => {
    const { agentId, agentToken } = await enrol('rotating');
    const { credentialId: oldId } = await identify(stack.deps, agentToken);
    const next = await rotateAgentToken(stack.deps, operator, agentId, null, 60_000);
    const { credentialId: newId } = await identify(stack.deps, next);
    expect((await identify(stack.deps, agentToken)).id).toBe(agentId);
    expect(eventsOf(agentId).at(-1)?.data).toEqual({ tokenOverlapMs: 60_000 });
    // It came again with the old one, during the overlap.
    await connect(agentId);
    await stack.db('agent_connections').where({ agent_id: agentId }).update({ token_id: oldId });
    expect(await findAgentsToDisconnect(stack.db, [agentId])).toEqual([]);
    await stack
      .db('agent_tokens')
      .where({ id: oldId })
      .update({ expires_at: new Date(0) });
    expect(await findAgentsToDisconnect(stack.db, [agentId])).toEqual([agentId]);
    await expect(identify(stack.deps, agentToken)).rejects.toMatchObject({ code: 'invalid_token' });
    await stack.db('agent_connections').where({ agent_id: agentId }).update({ token_id: newId });
    expect(await findAgentsToDisconnect(stack.db, [agentId])).toEqual([]);
  });

  it('of its own ends a connection that the shared token opened', async () => {
    const { agent } = await register({ hostname: 'upgraded' });
    await connect(agent.id);
    expect(await findAgentsToDisconnect(stack.db, [agent.id])).toEqual([]);
    await rotateAgentToken(stack.deps, operator, agent.id, null, 60_000);
    expect(await findAgentsToDisconnect(stack.db, [agent.id])).toEqual([agent.id]);
    // Also one that was let in just before, and stored just after.
    await stack
      .db('agent_connections')
      .where({ agent_id: agent.id })
      .update({ connected_at: stack.db.raw("now() + interval '1 second'") });
    expect(await findAgentsToDisconnect(stack.db, [agent.id])).toEqual([agent.id]);
    await expect(register({ agentId: agent.id, hostname: 'upgraded' })).rejects.toMatchObject({
      code: 'agent_exists',
    });
  });
});

describe('the registry', () => {
  it('changes what is named and nothing else', async () => {
    const { agent } = await register({ hostname: 'changing', os: 'A', tags: ['t'] });
    await changeAgent(stack.deps, operator, agent.id, { hostname: 'changed\u0007', systemInfo: { a: 1 } });
    expect(await getAgent(stack.deps, operator, agent.id)).toMatchObject({
      ...{ hostname: 'changed\uFFFD', os: 'A', tags: ['t'], systemInfo: { a: 1 } },
    });
    expect((await readAudit(stack.db, 'agent.update')).at(-1)?.details).toEqual({
      ...{ hostname: 'changed\uFFFD', systemInfo: true },
    });
  });

  it('lets an agent drain and work again, once each', async () => {
    const { agent } = await register({ hostname: 'draining' });
    await connect(agent.id);
    await stack.db('agent_presence').insert({ agent_id: agent.id, last_seen_at: stack.db.fn.now() });
    for (const isHeld of [true, true]) {
      expect(await drainAgent(stack.deps, operator, agent.id, isHeld)).toMatchObject({ status: 'draining' });
    }
    expect(await drainAgent(stack.deps, operator, agent.id, false)).toMatchObject({
      ...{ status: 'online', drainRequestedAt: null },
    });
    expect(eventsOf(agent.id).map((event) => event.data.drain)).toEqual([undefined, true, false]);
    await expect(drainAgent(stack.deps, actorOf('viewer'), agent.id, true)).rejects.toMatchObject({
      code: 'forbidden',
    });
    await expect(drainAgent(stack.deps, operator, 'nobody', true)).rejects.toMatchObject({
      code: 'agent_not_found',
    });
  });

  it('lists by tag expression', async () => {
    const tagged = async (hostname: string, tags: string[]) => (await register({ hostname, tags })).agent.id;
    const [a, b, c] = [
      await tagged('x1', ['xweb', 'xlinux']),
      await tagged('x2', ['xweb', 'xold']),
      await tagged('x3', ['x lab']),
    ];
    const idsOf = async (match: string) =>
      (await listAgentPage(stack.deps, operator, { limit: 50, match })).items.map((agent) => agent.id);
    expect(await idsOf('xweb and not xold')).toEqual([a]);
    expect((await idsOf('xweb or "x lab"')).toSorted()).toEqual([a, b, c].toSorted());
    await expect(idsOf('xweb and')).rejects.toMatchObject({ code: 'validation_failed' });
  });

  it('seeds the same three demonstration agents', async () => {
    const first = await seedDemoAgents(stack.deps, operator);
    expect(first).toHaveLength(3);
    expect((await seedDemoAgents(stack.deps, operator)).map((agent) => agent.id)).toEqual(
      first.map((agent) => agent.id),
    );
  });

  it('lists by an index, also of a large fleet', async () => {
    await stack.db.raw(`insert into agents (id, hostname, tags, created_at)
      select 'fleet-' || n, 'host-' || n, array['t' || n % 50], now() - n * interval '1 second'
      from generate_series(1, 20000) n`);
    await stack.db.raw(
      `insert into agent_connections (agent_id, epoch, bridge_id)
      select 'fleet-' || n, 1, case when n % 100 = 0 then cast(:id as uuid) end from generate_series(1, 20000) n`,
      {
        id: randomUUID(),
      },
    );
    await stack.db.raw(`insert into agent_presence (agent_id, last_seen_at)
      select 'fleet-' || n, now() from generate_series(1, 20000) n`);
    for (const table of ['agents', 'agent_connections', 'agent_presence', 'agent_tokens']) {
      await stack.db.raw('analyze ??', [table]);
    }
    const explained = await explainNext(() => listAgentPage(stack.deps, operator, { limit: 50 }));
    expect(explained).toContain('agents_created_idx');
    expect(
      await explainNext(() => listAgentPage(stack.deps, operator, { limit: 50, match: 't7 and t8' })),
    ).toContain('agents_tags_idx');
    expect(
      await explainNext(() => listUsableAgents(stack.deps, operator, { isConnected: true }, 10_000)),
    ).toContain('agent_connections_bridge_idx');
    expect(await explainNext(() => listUsableAgents(stack.deps, operator, { isAlive: false }, 50))).toContain(
      'agents_created_idx',
    );
    expect(await explainNext(() => register({ hostname: 'host-77' }), 'lower(a.hostname)')).toContain(
      'agents_hostname_idx',
    );
    expect(await explainNext(() => getAgent(stack.deps, operator, 'fleet-1'))).toContain('agents_pkey');
  });

  it('lists groups, enrolment tokens and alert rules by an index', async () => {
    const many = 'generate_series(1, 5000) n';
    await stack.db.raw(`insert into agent_groups (id, name, expression, created_by, created_at)
      select gen_random_uuid(), 'group-' || n, 'web', 'x', now() - n * interval '1 second' from ${many}`);
    await stack.db.raw(`insert into enrolment_tokens (id, token_hash, created_by, created_at, expires_at)
      select gen_random_uuid(), cast('t' || n as bytea), 'x', now() - n * interval '1 second', now() from ${many}`);
    await stack.db.raw(`insert into alert_rules (id, name, severity, condition, clear_ms, enabled, editor_kind,
        editor_id, editor_name, created_at)
      select gen_random_uuid(), 'rule-' || n, 'info', json_build_object('kind', 'approval_waiting', 'forMs', 0), 0, false,
             'user', 'x', 'x', now() - n * interval '1 second'
      from ${many}`);
    for (const table of ['agent_groups', 'enrolment_tokens', 'alert_rules'])
      await stack.db.raw('analyze ??', [table]);
    const page = { limit: 50 };
    expect(await explainNext(() => listGroupPage(stack.deps, operator, page), 'from agent_groups')).toContain(
      'agent_groups_created_idx',
    );
    expect(
      await explainNext(() => listEnrolments(stack.deps, operator, page), 'from enrolment_tokens'),
    ).toContain('enrolment_tokens_list_idx');
    const rules = { before: { at: new Date(), id: randomUUID() }, limit: 50 };
    expect(await explainNext(() => listAlertRules(stack.db, rules), 'from alert_rules')).toContain(
      'alert_rules_list_idx',
    );
  });
});

describe('a machine by its host name', () => {
  it('is the one that can be used, however many of its forerunners were revoked', async () => {
    const before = await enrol('reborn');
    await revokeAgent(stack.deps, operator, before.agentId);
    expect(await resolveAgentRef(stack.db, 'reborn')).toBe(before.agentId);
    const { agentId } = await enrol('reborn');
    expect(await resolveAgentRef(stack.db, 'Reborn')).toBe(agentId);
    expect(await resolveAgentRef(stack.db, before.agentId)).toBe(before.agentId);
    await enrol('reborn');
    await expect(resolveAgentRef(stack.db, 'reborn')).rejects.toMatchObject({ code: 'conflict' });
  });
});

it('lists enrolment tokens, and refuses the cursor of another list', async () => {
  const cursor = encodeCursor(new Date(), 'an-agent');
  await expect(listEnrolments(stack.deps, operator, { limit: 1, cursor })).rejects.toMatchObject({
    code: 'invalid_cursor',
  });
});

/** The plan of the statement that `work` sends (the one that holds `part`, where it sends several). */
async function explainNext(work: () => Promise<unknown>, part = 'from agents a'): Promise<string> {
  const connection = await stack.db.client.acquireConnection();
  const prototype = Object.getPrototypeOf(connection);
  stack.db.client.releaseConnection(connection);
  const { query } = prototype;
  const sent: { text: string; values: unknown[] }[] = [];
  prototype.query = function record(config: unknown, ...rest: unknown[]) {
    if (typeof config === 'object' && config !== null && 'text' in config && 'name' in config)
      sent.push(config as unknown as { text: string; values: unknown[] });
    return query.call(this, config, ...rest);
  };
  await work().finally(() => {
    prototype.query = query;
  });
  const statement = sent.find(({ text }) => text.includes(part));
  if (statement === undefined) throw new Error(`no statement with ${part} was sent`);
  const bindings: unknown[] = [];
  const text = statement.text.replaceAll(/\$(\d+)/g, (_, number: string) => {
    bindings.push(statement.values[Number(number) - 1]);
    return '?';
  });
  const { rows } = await stack.db.raw(`explain ${text}`, bindings as never);
  return rows.map((row: Record<string, string>) => row['QUERY PLAN']).join('\n');
}
