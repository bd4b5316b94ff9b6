/** Rounds over the rules of alerts: what opens one, what ends it, and that nothing is written while nothing changes. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type AlertCondition,
  type AlertRuleContent,
  createAlertRuleBodySchema,
} from '../../contracts/alert-rules.ts';
import { conditionChangesSql } from '../../db/alert-conditions.ts';
import { deleteOldAlerts, listAlertsSql } from '../../db/alerts.ts';
import { execute, query } from '../../db/database.ts';
import { heartbeatOf, recordPresence } from '../../domain/agents/presence.ts';
import { conditionOfTags } from '../../domain/agents/tag-expression.ts';
import { getAlert, listAlertPage, noteAlert, resolveAlert, takeAlert } from '../../domain/alerts/alerts.ts';
import { evaluateAlerts } from '../../domain/alerts/evaluate.ts';
import { changeAlertRule, createAlertRule, removeAlertRule } from '../../domain/alerts/rules.ts';
import { actorOf, type IdentityStack, startIdentity } from '../support/identity.ts';

const operator = actorOf('operator');
const MINUTE_MS = 60_000;

let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity({ withAdmin: false });
  await execute(stack.db, 'delete from alert_rules');
});
afterAll(() => stack.close());
afterEach(async () => {
  await execute(stack.db, 'truncate alert_rules, alerts, agents, tasks, rollouts, commands, batches cascade');
  stack.events.length = 0;
});

const round = () => evaluateAlerts(stack.deps, new AbortController().signal);

function addRule(condition: AlertCondition, facts: Partial<AlertRuleContent> = {}) {
  const content = createAlertRuleBodySchema.parse({ name: `rule ${randomUUID()}`, condition, ...facts });
  return createAlertRule(stack.deps, operator, content, null);
}

const active = async () => (await listAlertPage(stack.deps, operator, { limit: 200, state: 'active' })).items;
const all = async () => (await listAlertPage(stack.deps, operator, { limit: 200 })).items;
const told = () => stack.events.map((event) => event.type).filter((type) => type.startsWith('alert.'));

async function addAgent(tags: string[] = []): Promise<string> {
  const id = `agent-${randomUUID()}`;
  await stack.db('agents').insert({ id, hostname: `host of ${id}`, tags });
  return id;
}

/** Last heard of so long ago, and told to be offline or not. */
async function setSeen(agentId: string, agoMs: number, isOnline: boolean): Promise<void> {
  await execute(
    stack.db,
    `insert into agent_presence (agent_id, is_online, last_seen_at)
     values (:id, :online, now() - make_interval(secs => :seconds))
     on conflict (agent_id) do update set is_online = excluded.is_online, last_seen_at = excluded.last_seen_at`,
    { id: agentId, online: isOnline, seconds: agoMs / 1_000 },
  );
}

const report = (agentId: string, disk: number) =>
  recordPresence(stack.deps, randomUUID(), [
    heartbeatOf(agentId, { cpu_usage: 10, memory_usage: 20, disk_usage: { '/': disk } }),
  ]);

/** As if all that is remembered of conditions had happened earlier. */
const backdate = (ms: number) =>
  execute(
    stack.db,
    `update alert_conditions set since = since - make_interval(secs => :seconds),
            ended_at = ended_at - make_interval(secs => :seconds)`,
    { seconds: ms / 1_000 },
  );

/** Samples of the ring as of so many steps ago. */
const ageSamples = (agentId: string, steps: number) =>
  execute(
    stack.db,
    `update agent_metrics_fine set bucket = bucket - :steps, slot = (bucket - :steps) % 60 where agent_id = :id`,
    { id: agentId, steps },
  );

async function addCommand(agentId: string, state: string, agoMs = 0): Promise<string> {
  const digest = randomUUID().replaceAll('-', '').repeat(2);
  const batchId = randomUUID();
  const commandId = randomUUID();
  await execute(
    stack.db,
    "insert into acts (digest, act, task_run, step_no, proposal_id) values (:digest, '{}', 'x', 0, 'x')",
    { digest },
  );
  await execute(
    stack.db,
    'insert into batches (id, digest, size, pending) values (:batchId, :digest, 1, 0)',
    {
      batchId,
      digest,
    },
  );
  await execute(
    stack.db,
    `insert into commands (command_id, batch_id, agent_id, digest, state, creator_kind, creator_id, creator_name,
                           owner_id, timeout_ms, output_cap_bytes, expires_at, finished_at)
     values (:commandId, :batchId, :agentId, :digest, :state, 'user', 'ada', 'ada', 'ada', 1, 1, now(),
             clock_timestamp() - make_interval(secs => :seconds))`,
    { commandId, batchId, agentId, digest, state, seconds: agoMs / 1_000 },
  );
  return commandId;
}

async function addWaitingTask(facts: { creatorId?: string; agentId?: string; agoMs?: number } = {}) {
  const id = randomUUID();
  const digest = randomUUID().replaceAll('-', '').repeat(2);
  await execute(
    stack.db,
    `insert into tasks (id, public_id, title, goal, mode, state, creator_kind, creator_id, creator_name, target,
                        agent_id, step_no, max_steps, deadline_at, approval_timeout_ms, command_timeout_ms, expiry_ms)
     values (:id, :publicId, 'clean up', 'x', 'supervised', 'awaiting_decision', 'user', :creatorId, 'ada',
             '{"any": true}', :agentId, 1, 25, now(), 1, 1, 1)`,
    { id, publicId: `public-${id}`, creatorId: facts.creatorId ?? 'ada', agentId: facts.agentId ?? null },
  );
  await execute(
    stack.db,
    "insert into acts (digest, act, task_run, step_no, proposal_id) values (:digest, '{}', 'x', 1, 'x')",
    { digest },
  );
  await addStep(id, 1, digest, facts.agoMs ?? 0);
  return { id, digest, publicId: `public-${id}` };
}

const addStep = (taskId: string, step: number, digest: string, agoMs: number) =>
  execute(
    stack.db,
    `insert into steps (task_id, run_no, step_no, proposal_id, origin, author_kind, author_id, author_name, digest,
                        agent_ids, batch_digest, reason, risk_label, proposed_at, expires_at)
     values (:taskId, 1, :step, gen_random_uuid(), 'model', 'system', 'x', 'x', :digest, '{}', 'x', 'x', 'caution',
             now() - make_interval(secs => :seconds), now())`,
    { taskId, step, digest, seconds: agoMs / 1_000 },
  );

describe('an agent that is offline', () => {
  it('is told after the time of the rule, once, and is over when it is back for long enough', async () => {
    const agentId = await addAgent();
    const rule = await addRule({ kind: 'agent_offline', forMs: 5 * MINUTE_MS }, { severity: 'critical' });
    await setSeen(agentId, 4 * MINUTE_MS, false);
    expect(await round()).toBe(0);
    await setSeen(agentId, 6 * MINUTE_MS, false);
    expect(await round()).toBe(1);
    expect(await round()).toBe(0);
    const [alert] = await active();
    expect(alert).toMatchObject({
      ...{ ruleId: rule.id, kind: 'agent_offline', severity: 'critical', state: 'open', agentId },
      ...{ subjectKind: 'agent', subjectId: agentId, occurrences: 1 },
      title: `Agent host of ${agentId} is offline`,
      details: { lastSeenAt: expect.any(String) },
    });
    await setSeen(agentId, 0, true);
    expect(await round()).toBe(0);
    expect(await active()).toHaveLength(1);
    await backdate(2 * MINUTE_MS);
    expect(await round()).toBe(1);
    expect(await all()).toMatchObject([
      { state: 'resolved', resolution: 'condition_ended', resolvedId: null },
    ]);
    expect(told()).toEqual(['alert.opened', 'alert.resolved']);
    expect(stack.events[0]).toMatchObject({ agentId, data: { alertId: alert?.id, severity: 'critical' } });
  });

  it('that comes and goes keeps one alert, which counts', async () => {
    const agentId = await addAgent();
    await addRule({ kind: 'agent_offline', forMs: MINUTE_MS });
    for (let i = 0; i < 3; i++) {
      await setSeen(agentId, 2 * MINUTE_MS, false);
      await round();
      await setSeen(agentId, 0, true);
      await round();
    }
    expect(await all()).toMatchObject([{ state: 'open', occurrences: 3 }]);
    expect(told()).toEqual(['alert.opened']);
  });

  it('that a person resolved is not opened again until it was back', async () => {
    const agentId = await addAgent();
    await addRule({ kind: 'agent_offline', forMs: MINUTE_MS }, { clearMs: 0 });
    await setSeen(agentId, 2 * MINUTE_MS, false);
    await round();
    const [alert] = await active();
    await resolveAlert(stack.deps, operator, alert?.id ?? '', 'it is being repaired');
    expect(await round()).toBe(0);
    expect(await active()).toEqual([]);
    await setSeen(agentId, 0, true);
    await round();
    await setSeen(agentId, 2 * MINUTE_MS, false);
    expect(await round()).toBe(1);
    expect((await all()).map(({ state }) => state).sort()).toEqual(['open', 'resolved']);
  });

  it('that a person resolved stays so, however long it is away', async () => {
    await addRule({ kind: 'agent_offline', forMs: MINUTE_MS });
    const agentId = await addAgent();
    await setSeen(agentId, 10 * MINUTE_MS, false);
    await round();
    const [alert] = await active();
    await resolveAlert(stack.deps, operator, alert?.id ?? '', undefined);
    await execute(stack.db, "update alerts set resolved_at = now() - interval '1 year'");
    expect(await deleteOldAlerts(stack.db, new Date(), 10)).toBe(0);
    await round();
    expect(await active()).toEqual([]);
    // Back for long enough: nothing is to be remembered of it any more.
    await setSeen(agentId, 0, true);
    await round();
    await backdate(60 * MINUTE_MS);
    await round();
    expect(await deleteOldAlerts(stack.db, new Date(), 10)).toBe(1);
  });

  it('is told only where its tags fit, and no more once it is revoked or never was there', async () => {
    const [web, test, old, silent] = await Promise.all([
      addAgent(['web']),
      addAgent(['web', 'test']),
      addAgent(['old']),
      addAgent(['web']),
    ]);
    for (const agentId of [web, test, old]) await setSeen(agentId ?? '', 2 * MINUTE_MS, false);
    await addRule({ kind: 'agent_offline', forMs: MINUTE_MS }, { match: 'web and not test', clearMs: 0 });
    await round();
    expect((await active()).map(({ subjectId }) => subjectId)).toEqual([web]);
    expect(silent).toBeDefined();
    await execute(stack.db, 'update agents set revoked_at = now() where id = :web', { web });
    await round();
    expect(await active()).toEqual([]);
  });
});

describe('a disk over the limit', () => {
  it('is told when it has lasted, not before; a dip begins anew', async () => {
    const agentId = await addAgent();
    await addRule({ kind: 'disk_over', limitPercent: 90, forMs: 10 * MINUTE_MS }, { clearMs: 5 * MINUTE_MS });
    await report(agentId, 95);
    expect(await round()).toBe(0);
    await backdate(9 * MINUTE_MS);
    expect(await round()).toBe(0);
    await report(agentId, 50);
    await round();
    await report(agentId, 95);
    await round();
    await backdate(9 * MINUTE_MS);
    await report(agentId, 95);
    expect(await round()).toBe(0);
    await backdate(2 * MINUTE_MS);
    await report(agentId, 96);
    expect(await round()).toBe(1);
    expect(await active()).toMatchObject([
      { title: `A disk of host of ${agentId} is over 90 %`, details: { value: 96, limit: 90 } },
    ]);
    // Below for a moment, and back: the same alert.
    await report(agentId, 80);
    await round();
    await report(agentId, 97);
    await round();
    expect(await active()).toMatchObject([{ occurrences: 2, details: { value: 97 } }]);
    await report(agentId, 80);
    await round();
    await backdate(6 * MINUTE_MS);
    await report(agentId, 80);
    expect(await round()).toBe(1);
    expect(await active()).toEqual([]);
  });

  it('stays told while the agent says nothing: silence is no room', async () => {
    const agentId = await addAgent();
    await addRule({ kind: 'disk_over', limitPercent: 90, forMs: 0 }, { clearMs: 0 });
    await report(agentId, 95);
    await round();
    expect(await active()).toHaveLength(1);
    await ageSamples(agentId, 10);
    await setSeen(agentId, 5 * MINUTE_MS, false);
    expect(await round()).toBe(0);
    expect(await active()).toHaveLength(1);
    await report(agentId, 10);
    expect(await round()).toBe(1);
    expect(await active()).toEqual([]);
  });

  it.each([
    ['cpu_over', 'cpu_percent', 'The processor of'],
    ['memory_over', 'memory_percent', 'The memory of'],
  ] as const)('%s looks at its own sample', async (kind, column, words) => {
    const agentId = await addAgent();
    await addRule({ kind, limitPercent: 90, forMs: 0 });
    await report(agentId, 99);
    expect(await round()).toBe(0);
    await execute(stack.db, `update agent_metrics_fine set ${column} = 99 where agent_id = :id`, {
      id: agentId,
    });
    expect(await round()).toBe(1);
    expect(await active()).toMatchObject([{ kind, title: expect.stringContaining(words) }]);
  });
});

describe('commands that ended badly', () => {
  const condition = (facts: object = {}): AlertCondition => ({
    ...{ kind: 'command_ended', outcomes: ['failed', 'unknown'], count: 1, withinMs: 60 * MINUTE_MS },
    ...facts,
  });

  it('are one alert an agent, which names the newest and counts', async () => {
    const agentId = await addAgent();
    await addRule(condition());
    await addCommand(agentId, 'succeeded');
    await addCommand(agentId, 'timed_out');
    await addCommand(agentId, 'failed', 2 * 60 * MINUTE_MS);
    expect(await round()).toBe(0);
    const first = await addCommand(agentId, 'failed', 1_000);
    expect(await round()).toBe(1);
    expect(await active()).toMatchObject([
      { details: { count: 1, commandId: first, outcome: 'failed' }, occurrences: 1 },
    ]);
    const second = await addCommand(agentId, 'unknown');
    expect(await round()).toBe(0);
    expect(await active()).toMatchObject([
      { details: { count: 2, commandId: second, outcome: 'unknown' }, occurrences: 2 },
    ]);
    expect(await round()).toBe(0);
    expect(told()).toEqual(['alert.opened']);
  });

  it('are told from the count of the rule on', async () => {
    const agentId = await addAgent();
    await addRule(condition({ count: 3 }));
    await addCommand(agentId, 'failed');
    await addCommand(agentId, 'failed');
    expect(await round()).toBe(0);
    await addCommand(agentId, 'failed');
    expect(await round()).toBe(1);
  });

  it('are over when none is left within the time, or evidence of the unknown came', async () => {
    const agentId = await addAgent();
    await addRule(condition(), { clearMs: 0 });
    const commandId = await addCommand(agentId, 'unknown');
    await round();
    expect(await active()).toHaveLength(1);
    await execute(stack.db, "update commands set state = 'succeeded' where command_id = :commandId", {
      commandId,
    });
    expect(await round()).toBe(1);
    expect(await all()).toMatchObject([{ resolution: 'condition_ended' }]);
  });

  it('that a person resolved are opened again by the next one, not by those before', async () => {
    const agentId = await addAgent();
    await addRule(condition(), { clearMs: 60_000 });
    await addCommand(agentId, 'failed', 1_000);
    await round();
    const [alert] = await active();
    await resolveAlert(stack.deps, operator, alert?.id ?? '', undefined);
    expect(await round()).toBe(0);
    expect(await active()).toEqual([]);
    const next = await addCommand(agentId, 'failed', -10);
    expect(await round()).toBe(1);
    expect(await active()).toMatchObject([{ details: { count: 1, commandId: next } }]);
  });
});

describe('a proposal that waits', () => {
  it('is told of the task and to its creator, and over with the decision', async () => {
    const task = await addWaitingTask({ creatorId: 'ada', agoMs: 10 * MINUTE_MS });
    await addWaitingTask({ agoMs: MINUTE_MS });
    await addRule({ kind: 'approval_waiting', forMs: 5 * MINUTE_MS }, { clearMs: 0 });
    expect(await round()).toBe(1);
    const ada = actorOf('user', 'ada');
    const [alert] = (await listAlertPage(stack.deps, ada, { limit: 10 })).items;
    expect(alert).toMatchObject({
      ...{ subjectKind: 'task', title: 'Task “clean up” waits for a decision' },
      details: { taskId: task.publicId, step: 1, risk: 'caution' },
    });
    const bob = actorOf('user', 'bob');
    expect((await listAlertPage(stack.deps, bob, { limit: 10 })).items).toEqual([]);
    await expect(getAlert(stack.deps, bob, alert?.id ?? '')).rejects.toMatchObject({
      code: 'alert_not_found',
    });
    await expect(takeAlert(stack.deps, ada, alert?.id ?? '', undefined)).rejects.toMatchObject({
      code: 'forbidden',
    });
    // The next step waits as long: the same alert, of another step.
    await execute(
      stack.db,
      `update steps set decision = 'approve', decided_at = now() where task_id = cast(:id as uuid)`,
      { id: task.id },
    );
    await addStep(task.id, 2, task.digest, 6 * MINUTE_MS);
    await execute(stack.db, 'update tasks set step_no = 2 where id = cast(:id as uuid)', { id: task.id });
    expect(await round()).toBe(0);
    expect(await active()).toMatchObject([{ details: { step: 2 }, occurrences: 2 }]);
    await execute(stack.db, "update tasks set state = 'running' where id = cast(:id as uuid)", {
      id: task.id,
    });
    expect(await round()).toBe(1);
    expect(await active()).toEqual([]);
  });

  it('of a rollout, whatever its agents, where the rule is about all', async () => {
    const id = randomUUID();
    await execute(
      stack.db,
      `insert into rollouts (id, name, state, creator_kind, creator_id, creator_name, selection, run, plan,
                             target_count, batch_count, has_canary, batch_no, updated_at)
       values (:id, 'patch', 'awaiting_approval', 'user', 'ada', 'ada', '{}', '{}', '{}', 4, 4, true, 1,
               now() - interval '1 hour')`,
      { id },
    );
    await addRule({ kind: 'approval_waiting', forMs: MINUTE_MS }, { match: 'not web' });
    expect(await round()).toBe(0);
    await addRule({ kind: 'approval_waiting', forMs: MINUTE_MS }, { clearMs: 0 });
    expect(await round()).toBe(1);
    expect(await active()).toMatchObject([
      { subjectKind: 'rollout', subjectId: id, title: 'Rollout “patch” waits for the approval of batch 2' },
    ]);
    await execute(stack.db, "update rollouts set state = 'running'");
    expect(await round()).toBe(1);
  });

  it('of a task whose agent the tags fit', async () => {
    const agentId = await addAgent(['web']);
    const task = await addWaitingTask({ agentId, agoMs: MINUTE_MS });
    await addWaitingTask({ agoMs: MINUTE_MS });
    await addRule({ kind: 'approval_waiting', forMs: 0 }, { match: 'web' });
    await round();
    expect(await active()).toMatchObject([{ subjectId: task.id, agentId }]);
  });
});

describe('rules', () => {
  it('that are switched off or deleted resolve their alerts, which stay', async () => {
    const agentId = await addAgent();
    await setSeen(agentId, 2 * MINUTE_MS, false);
    const off = await addRule({ kind: 'agent_offline', forMs: MINUTE_MS });
    const gone = await addRule({ kind: 'agent_offline', forMs: MINUTE_MS });
    expect(await round()).toBeGreaterThanOrEqual(2);
    await changeAlertRule(stack.deps, operator, off.id, { enabled: false });
    await removeAlertRule(stack.deps, operator, gone.id);
    const mine = (await all()).filter((alert) => alert.subjectId === agentId);
    expect(mine.map(({ state, resolution, ruleId }) => [state, resolution, ruleId === null]).sort()).toEqual([
      ['resolved', 'rule_deleted', true],
      ['resolved', 'rule_disabled', false],
    ]);
    expect(await round()).toBe(0);
    await changeAlertRule(stack.deps, operator, off.id, { enabled: true });
    expect(await round()).toBeGreaterThanOrEqual(1);
  });

  it('that change during a round write nothing by what they were', async () => {
    const agentId = await addAgent();
    await setSeen(agentId, 2 * MINUTE_MS, false);
    const rule = await addRule({ kind: 'agent_offline', forMs: MINUTE_MS });
    // Rounds and changes beside each other: at the end the alerts are those of a rule that is off.
    await Promise.all([
      ...Array.from({ length: 5 }, round),
      changeAlertRule(stack.deps, operator, rule.id, { enabled: false }),
    ]);
    expect(await active()).toEqual([]);
  });

  it('rounds beside each other open one alert a subject', async () => {
    const agents = await Promise.all(Array.from({ length: 20 }, () => addAgent(['beside'])));
    for (const agentId of agents) await setSeen(agentId, 2 * MINUTE_MS, false);
    await addRule({ kind: 'agent_offline', forMs: MINUTE_MS }, { match: 'beside' });
    await Promise.all(Array.from({ length: 6 }, round));
    expect((await all()).map(({ subjectId }) => subjectId).sort()).toEqual([...agents].sort());
    expect(await all()).toMatchObject(agents.map(() => ({ occurrences: 1 })));
  });

  it('are told by more than one round where much changes at once', async () => {
    await execute(
      stack.db,
      `insert into agents (id, hostname, tags) select 'many-' || n, 'many', '{many}' from generate_series(1, 2500) n`,
    );
    await execute(
      stack.db,
      `insert into agent_presence (agent_id, is_online, last_seen_at)
       select id, false, now() - interval '1 hour' from agents where tags @> '{many}'`,
    );
    await addRule({ kind: 'agent_offline', forMs: MINUTE_MS }, { match: 'many', clearMs: 0 });
    expect(await round()).toBe(2_500);
    expect(await round()).toBe(0);
    await execute(stack.db, "update agent_presence set is_online = true where agent_id like 'many-%'");
    expect(await round()).toBe(2_500);
  });
});

describe('a round in which nothing changes', () => {
  it('writes nothing, whatever is open', async () => {
    const agentId = await addAgent();
    await setSeen(agentId, 2 * MINUTE_MS, false);
    const other = await addAgent();
    await report(other, 95);
    await addCommand(agentId, 'failed');
    await addWaitingTask({ agoMs: 2 * MINUTE_MS });
    await addRule({ kind: 'agent_offline', forMs: MINUTE_MS });
    await addRule({ kind: 'disk_over', limitPercent: 90, forMs: 60 * MINUTE_MS });
    await addRule({ kind: 'command_ended', outcomes: ['failed'], count: 1, withinMs: 60 * MINUTE_MS });
    await addRule({ kind: 'approval_waiting', forMs: MINUTE_MS });
    await round();
    const wroteBy = async () =>
      query(
        stack.db,
        `select (select coalesce(max(cast(cast(xmin as text) as bigint)), 0) from alerts) as alerts,
                (select coalesce(max(cast(cast(xmin as text) as bigint)), 0) from alert_conditions) as conditions,
                (select count(*) from events) as events`,
      );
    const before = await wroteBy();
    expect(await round()).toBe(0);
    expect(await wroteBy()).toEqual(before);
  });
});

describe('people', () => {
  it('take, note and resolve an alert; twice changes nothing', async () => {
    const agentId = await addAgent();
    await setSeen(agentId, 2 * MINUTE_MS, false);
    await addRule({ kind: 'agent_offline', forMs: MINUTE_MS });
    await round();
    const id = (await active()).find((alert) => alert.subjectId === agentId)?.id ?? '';
    const taken = await takeAlert(stack.deps, operator, id, 'on my way');
    expect(taken).toMatchObject({ state: 'acknowledged', acknowledgedId: 'operator-1', note: 'on my way' });
    expect(await takeAlert(stack.deps, actorOf('admin'), id, 'mine')).toEqual(taken);
    expect(await noteAlert(stack.deps, operator, id, 'power is off')).toMatchObject({ note: 'power is off' });
    expect(await round()).toBe(0);
    const resolved = await resolveAlert(stack.deps, operator, id, undefined);
    expect(resolved).toMatchObject({ state: 'resolved', resolution: 'person', note: 'power is off' });
    expect(await resolveAlert(stack.deps, actorOf('admin'), id, undefined)).toEqual(resolved);
    await expect(takeAlert(stack.deps, operator, id, undefined)).rejects.toMatchObject({ code: 'conflict' });
    expect(await noteAlert(stack.deps, operator, id, '')).toMatchObject({ note: null });
    const mine = stack.events.filter((event) => event.data.alertId === id).map((event) => event.type);
    expect(mine).toEqual([
      'alert.opened',
      'alert.acknowledged',
      'alert.updated',
      'alert.resolved',
      'alert.updated',
    ]);
  });

  it('who resolve one all at once resolve it once', async () => {
    const agentId = await addAgent();
    await setSeen(agentId, 2 * MINUTE_MS, false);
    await addRule({ kind: 'agent_offline', forMs: MINUTE_MS });
    await round();
    const id = (await active()).find((alert) => alert.subjectId === agentId)?.id ?? '';
    await Promise.all(Array.from({ length: 5 }, () => resolveAlert(stack.deps, operator, id, undefined)));
    expect(told().filter((type) => type === 'alert.resolved')).toHaveLength(1);
  });
});

describe('lists of many', () => {
  const plan = async (sql: string, bindings: Record<string, unknown>): Promise<string> => {
    const rows = await query<{ 'QUERY PLAN': string }>(stack.db, `explain ${sql}`, bindings);
    return rows.map((row) => row['QUERY PLAN']).join('\n');
  };

  it('are answered by an index', async () => {
    const rule = await addRule({ kind: 'approval_waiting', forMs: 0 });
    await execute(
      stack.db,
      `insert into alerts (id, rule_id, rule_name, kind, severity, state, subject_kind, subject_id, agent_id, owner_id,
                           title, details, opened_at, resolved_at, resolution)
       select gen_random_uuid(), cast(:rule as uuid), 'x', case when n % 5000 = 0 then 'cpu_over' else 'disk_over' end,
              case when n % 5000 = 0 then 'critical' else 'info' end,
              case when n % 3000 = 1 then 'open' else 'resolved' end, 'agent', 'subject-' || n, 'agent-' || n % 500,
              'owner-' || n % 500, 'x', '{}', now() - n * interval '1 second',
              case when n % 3000 = 1 then null else now() end,
              case when n % 3000 = 1 then null else 'condition_ended' end
       from generate_series(1, 20000) as n`,
      { rule: rule.id },
    );
    await stack.db.raw('analyze alerts');
    const page = { limit: 51, before: { at: new Date(Date.now() - 5_000_000), id: randomUUID() } };
    for (const [filter, index] of [
      [{}, 'alerts_list_idx'],
      [{ state: 'active' }, 'alerts_open_idx'],
      [{ state: 'open' }, 'alerts_open_idx'],
      [{ agentId: 'agent-7' }, 'alerts_agent_idx'],
      [{ ownerId: 'owner-7' }, 'alerts_owner_idx'],
      [{ ruleId: randomUUID() }, 'alerts_rule_idx'],
      [{ severity: 'critical' }, 'alerts_severity_idx'],
      [{ kind: 'cpu_over' }, 'alerts_kind_idx'],
    ] as const) {
      for (const one of [page, { limit: 51 }]) {
        const { sql, bindings } = listAlertsSql({ ...filter, ...one });
        expect(await plan(sql, bindings), JSON.stringify(filter)).toContain(index);
      }
    }
  });

  it('commands that ended badly and tasks that wait are found by an index', async () => {
    const rule = (condition: AlertCondition) => ({ id: randomUUID(), condition, clearMs: 0 });
    const commands = conditionChangesSql(
      rule({ kind: 'command_ended', outcomes: ['failed'], count: 1, withinMs: 60_000 }),
      conditionOfTags('web'),
    );
    const everything = { sql: 'true', bindings: {} };
    const tasks = conditionChangesSql(rule({ kind: 'approval_waiting', forMs: 0 }), everything);
    await execute(
      stack.db,
      `with agents as (
         insert into agents (id, hostname) select 'plan-' || n, 'x' from generate_series(0, 199) n
       ), acts as (
         insert into acts (digest, act, task_run, step_no, proposal_id) values (repeat('0', 64), '{}', 'x', 0, 'x')
       ), batches as (
         insert into batches (id, digest, size, pending) values (:batchId, repeat('0', 64), 1, 0)
       ), tasks as (
         insert into tasks (id, public_id, title, goal, mode, state, creator_kind, creator_id, creator_name, target,
                            max_steps, deadline_at, approval_timeout_ms, command_timeout_ms, expiry_ms)
         select gen_random_uuid(), 'plan-' || n, 'x', 'x', 'manual',
                case when n % 1000 = 0 then 'awaiting_decision' else 'completed' end, 'user', 'ada', 'ada', '{}',
                25, now(), 1, 1, 1
         from generate_series(1, 20000) n returning id
       ), steps as (
         insert into steps (task_id, run_no, step_no, proposal_id, origin, author_kind, author_id, author_name, digest,
                            agent_ids, batch_digest, reason, risk_label, expires_at)
         select id, 1, 0, gen_random_uuid(), 'model', 'system', 'x', 'x', repeat('0', 64), '{}', 'x', 'x', 'safe', now()
         from tasks
       )
       insert into commands (command_id, batch_id, agent_id, digest, state, creator_kind, creator_id, creator_name,
                             owner_id, timeout_ms, output_cap_bytes, expires_at, finished_at)
       select gen_random_uuid(), :batchId, 'plan-' || n % 200, repeat('0', 64),
              case when n % 50 = 0 then 'failed' else 'succeeded' end, 'user', 'ada', 'ada', 'ada', 1, 1, now(),
              now() - n * interval '1 minute'
       from generate_series(1, 20000) n`,
      { batchId: randomUUID() },
    );
    await stack.db.raw('analyze');
    for (const [{ sql, bindings }, index] of [
      [commands, 'commands_trouble_idx'],
      [tasks, 'tasks_state_idx'],
    ] as const) {
      expect(await plan(sql, bindings)).toContain(index);
    }
  });
});
