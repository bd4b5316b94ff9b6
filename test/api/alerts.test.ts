/** `/v1/alerts` and `/v1/alert-rules`: shapes, rights, and an alert from a real command to its end. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AlertRuleView, MAX_ALERT_RULES } from '../../contracts/alert-rules.ts';
import type { AlertSummary, AlertView } from '../../contracts/alerts.ts';
import type { BatchView } from '../../contracts/commands.ts';
import { type System, startSystem, type TestAgent } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const NOBODY = '01890000-0000-7000-8000-000000000000';
const rules = '/v1/alert-rules';
const alerts = '/v1/alerts';

interface Page<T> {
  items: T[];
  nextCursor: string | null;
}

let system: System;
let agent: TestAgent;
beforeAll(async () => {
  system = await startSystem({ worker: false });
  agent = await system.startAgent();
});
afterAll(() => system.close());

let made = 0;
const addRule = (facts: object = {}, headers: Record<string, string> = {}) => {
  made += 1;
  return system.call<AlertRuleView>(
    'POST',
    rules,
    { name: `rule ${made}`, condition: { kind: 'agent_offline', forMs: 60_000 }, ...facts },
    { headers },
  );
};

describe('rules of alerts', () => {
  it('come with the system: some are on, the noisy ones are off', async () => {
    const { items } = await system.call<Page<AlertRuleView>>('GET', `${rules}?limit=200`);
    expect(Object.fromEntries(items.map(({ name, enabled }) => [name, enabled]))).toEqual({
      'Agent offline': true,
      'Disk almost full': true,
      'Outcome unknown': true,
      'Decision overdue': true,
      'Command failed': false,
      'Processor busy': false,
      'Memory almost full': false,
    });
  });

  it('are made with defaults, changed in part, listed, and deleted', async () => {
    const reply = await system.request<AlertRuleView>('POST', rules, {
      name: 'web offline',
      match: 'web and not test',
      condition: { kind: 'agent_offline', forMs: 300_000 },
    });
    expect(reply.status).toBe(201);
    const { id } = reply.body;
    expect(reply.headers.get('location')).toBe(`${rules}/${id}`);
    expect(reply.body).toMatchObject({
      ...{ description: null, severity: 'warning', clearMs: 60_000, enabled: true },
      editedBy: { kind: 'user', name: 'admin' },
    });
    const changed = await system.call<AlertRuleView>('PATCH', `${rules}/${id}`, {
      severity: 'critical',
      match: null,
      condition: { kind: 'agent_offline', forMs: 120_000 },
    });
    expect(changed).toMatchObject({ name: 'web offline', severity: 'critical', match: null });
    expect(await system.call('GET', `${rules}/${id}`)).toEqual(changed);
    expect((await system.request('DELETE', `${rules}/${id}`)).status).toBe(204);
    for (const [method, body] of [
      ['GET', undefined],
      ['PATCH', { name: 'x' }],
      ['DELETE', undefined],
    ] as const) {
      expect(await system.request(method, `${rules}/${id}`, body)).toMatchObject({
        status: 404,
        body: { code: 'alert_rule_not_found' },
      });
    }
    const actions = await deskOf(system).audit(id);
    expect(actions.map(({ action }) => action)).toEqual([
      'alert_rule.create',
      'alert_rule.update',
      'alert_rule.delete',
    ]);
  });

  it('refuse what makes no sense', async () => {
    const { id, name } = await addRule();
    for (const [status, body] of [
      [409, { name, condition: { kind: 'agent_offline', forMs: 0 } }],
      [422, { name: 'x', condition: { kind: 'agent_offline' } }],
      [422, { name: 'x', condition: { kind: 'disk_over', forMs: 0 } }],
      [422, { name: 'x', condition: { kind: 'moon_full', forMs: 0 } }],
      [422, { name: 'x', condition: { kind: 'command_ended', outcomes: ['succeeded'] } }],
      [422, { name: 'x', match: 'web and', condition: { kind: 'agent_offline', forMs: 0 } }],
      [422, { name: 'x', condition: { kind: 'agent_offline', forMs: -1 } }],
      [422, { name: 'x\u0007', condition: { kind: 'agent_offline', forMs: 0 } }],
      [422, { name: 'x', id: NOBODY, condition: { kind: 'agent_offline', forMs: 0 } }],
    ] as const) {
      expect([(await system.request('POST', rules, body)).status, body]).toEqual([status, body]);
    }
    const other = await addRule();
    for (const [status, body] of [
      [409, { name: other.name }],
      [409, { condition: { kind: 'approval_waiting', forMs: 0 } }],
      [422, { match: '(' }],
    ] as const) {
      expect([(await system.request('PATCH', `${rules}/${id}`, body)).status, body]).toEqual([status, body]);
    }
  });

  it('are made once for one Idempotency-Key', async () => {
    const headers = { 'idempotency-key': 'alert-rule-1' };
    const body = { name: 'once', condition: { kind: 'agent_offline', forMs: 0 } };
    const first = await system.call<AlertRuleView>('POST', rules, body, { headers });
    expect(await system.call('POST', rules, body, { headers })).toEqual(first);
    const other = await system.request('POST', rules, { ...body, name: 'twice' }, { headers });
    expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_conflict' } });
  });

  it('are paged without gaps, and are not more than the limit', async () => {
    const missing = MAX_ALERT_RULES - (await count());
    await Promise.all(Array.from({ length: missing + 3 }, () => addRule().catch(() => undefined)));
    expect(await count()).toBe(MAX_ALERT_RULES);
    await system.api.parts.db('alert_rules').where('name', 'like', 'rule %').delete();
  });

  async function count(): Promise<number> {
    const seen = new Set<string>();
    let search = '';
    for (;;) {
      const page = await system.call<Page<AlertRuleView>>('GET', `${rules}?limit=7${search}`);
      for (const { id } of page.items) seen.add(id);
      if (page.nextCursor === null) return seen.size;
      search = `&cursor=${page.nextCursor}`;
    }
  }
});

describe('alerts', () => {
  it('are opened by the worker, told to listeners, taken, and resolved', async () => {
    const rule = await addRule({
      severity: 'info',
      condition: { kind: 'command_ended', outcomes: ['failed'] },
    });
    const batch = await system.call<BatchView>('POST', '/v1/commands', {
      agentIds: [agent.agentId],
      act: { command: 'exit 3' },
      waitMs: 20_000,
    });
    expect(batch.commands[0]?.state).toBe('failed');
    await system.startWorker();
    const path = `${alerts}?ruleId=${rule.id}&state=active&severity=info&kind=command_ended&agentId=${agent.agentId}`;
    const { items } = await system.until(
      () => system.call<Page<AlertView>>('GET', path),
      (page) => page.items.length > 0,
      'an alert',
      60_000,
    );
    const [alert] = items;
    expect(alert).toMatchObject({
      ...{ state: 'open', agentId: agent.agentId, ruleName: rule.name, note: null, resolution: null },
      subject: { kind: 'agent', id: agent.agentId },
      details: { commandId: batch.commands[0]?.commandId, count: 1, outcome: 'failed' },
    });
    const one = `${alerts}/${alert?.id}`;
    expect(await system.call('GET', one)).toEqual(alert);
    expect((await system.call<AlertSummary>('GET', `${alerts}/summary`)).open.info).toBe(1);
    const taken = await system.call<AlertView>('POST', `${one}/acknowledge`, { note: 'looking' });
    expect(taken).toMatchObject({
      state: 'acknowledged',
      acknowledgedBy: { name: 'admin' },
      note: 'looking',
    });
    expect((await system.call<AlertSummary>('GET', `${alerts}/summary`)).acknowledged.info).toBe(1);
    expect(await system.call('PATCH', one, { note: 'known' })).toMatchObject({ note: 'known' });
    const resolved = await system.call<AlertView>('POST', `${one}/resolve`, {});
    expect(resolved).toMatchObject({
      state: 'resolved',
      resolution: 'person',
      resolvedBy: { name: 'admin' },
    });
    expect((await system.request('POST', `${one}/acknowledge`, {})).status).toBe(409);
    expect((await system.call<Page<AlertView>>('GET', path)).items).toEqual([]);
    const events = await deskOf(system).sql<{ type: string; agent_id: string }>(
      "select type, agent_id from events where data->>'alertId' = :id order by id",
      { id: alert?.id },
    );
    expect(events.map(({ type }) => type)).toEqual([
      'alert.opened',
      'alert.acknowledged',
      'alert.updated',
      'alert.resolved',
    ]);
    expect((await deskOf(system).audit(alert?.id ?? '')).map(({ action }) => action)).toEqual([
      'alert.acknowledge',
      'alert.note',
      'alert.resolve',
    ]);
  });

  it('that nobody has, and cursors that nobody gave out, are refused', async () => {
    for (const [method, path, body] of [
      ['GET', NOBODY, undefined],
      ['PATCH', NOBODY, { note: 'x' }],
      ['POST', `${NOBODY}/acknowledge`, {}],
      ['POST', `${NOBODY}/acknowledge`, undefined],
      ['POST', `${NOBODY}/resolve`, {}],
      ['POST', `${NOBODY}/resolve`, undefined],
    ] as const) {
      expect(await system.request(method, `${alerts}/${path}`, body)).toMatchObject({
        status: 404,
        body: { code: 'alert_not_found' },
      });
    }
    expect((await system.request('GET', `${alerts}?cursor=x`)).status).toBe(422);
    expect((await system.request('GET', `${alerts}?state=odd`)).status).toBe(422);
  });
});
