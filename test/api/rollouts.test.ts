/** `/v1/rollouts` without a worker: what is taken, fixed, refused and listed; and the engine called by hand. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RolloutBatchView, RolloutTargetView, RolloutView } from '../../contracts/rollouts.ts';
import { query } from '../../db/database.ts';
import { listBatchesSql } from '../../db/rollout-batches.ts';
import { listTargetsSql } from '../../db/rollout-targets.ts';
import { listRolloutsSql } from '../../db/rollouts.ts';
import { advanceRollout } from '../../domain/rollouts/advance.ts';
import { canarySize, cutIntoBatches, stopReason } from '../../domain/rollouts/batches.ts';
import { type RequestOptions, type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const path = '/v1/rollouts';
const NOBODY = '01890000-0000-7000-8000-000000000000';
const run = { act: { command: 'uptime' } };
const digest = 'a'.repeat(64);

let system: System;
beforeAll(async () => {
  system = await startSystem({ worker: false });
  await system.api.parts.db('agents').insert(
    Array.from({ length: 12 }, (_, index) => ({
      id: `t-${String(index).padStart(2, '0')}`,
      hostname: `t-${index}`,
      os: 'linux',
      shells: ['sh'],
      default_shell: 'sh',
      tags: index % 2 === 0 ? ['even'] : ['odd'],
    })),
  );
});
afterAll(() => system.close());

const post = (body: object, options?: RequestOptions) =>
  system.request<RolloutView & { code: string; errors?: { pointer: string }[] }>(
    'POST',
    path,
    { agents: { all: true }, run, ...body },
    options,
  );
const make = async (body: object = {}): Promise<RolloutView> => {
  const { status, body: made } = await post(body);
  if (status !== 201) throw new Error(JSON.stringify(made));
  return made;
};
const targets = (id: string, search = '') =>
  system.call<{ items: RolloutTargetView[]; nextCursor: string | null }>(
    'GET',
    `${path}/${id}/targets${search}`,
  );
const advance = (id: string) => advanceRollout(system.api.parts.domain, id);
const explain = async (sql: string, bindings: Record<string, unknown>): Promise<string> => {
  const { db } = system.api.parts;
  const rows = await db.transaction(async (trx) => {
    await query(trx, 'set local enable_seqscan = off');
    return query<{ 'QUERY PLAN': string }>(trx, `explain ${sql}`, bindings);
  });
  return rows.map((row) => row['QUERY PLAN']).join('\n');
};

describe('making a rollout', () => {
  it('fixes who it is for, by ids, tags or all', async () => {
    const named = await make({ agents: { ids: ['t-03', 't-01', 't-03'] } });
    expect((await targets(named.id)).items.map(({ agentId }) => agentId)).toEqual(['t-03', 't-01']);
    const tagged = await make({ agents: { tags: 'even and not old' }, canary: { count: 1 }, batchSize: 2 });
    expect(tagged).toMatchObject({
      ...{ state: 'created', agents: { by: 'tags', tags: 'even and not old' }, batchNo: 0, batchCount: 4 },
      counts: { total: 6, pending: 6, out: 0 },
      nextBatch: { batchNo: 1, size: 1, approvedBy: null },
    });
    // Who gets the tag later is no target.
    await system.call('PATCH', '/v1/agents/t-01', { tags: ['even'] });
    expect((await targets(tagged.id)).items).toHaveLength(6);
    await system.call('PATCH', '/v1/agents/t-01', { tags: ['odd'] });
    expect((await make()).counts.total).toBe(12);
    expect((await make({ name: ' two words ' })).name).toBe('two words');
  });

  it.each([
    ['an unknown agent', { agents: { ids: ['nobody'] } }, 404],
    ['nobody at all', { agents: { tags: 'nothing' } }, 409],
    ['a broken expression', { agents: { tags: 'a and' } }, 422],
    ['an unknown saved command', { run: { savedCommandId: NOBODY } }, 404],
    ['an expiry of its own', { run: { act: { command: 'x', expiryMs: 5_000 } } }, 422],
    ['both shares of a canary', { canary: { percent: 5, count: 2 } }, 422],
    ['a stop without a limit', { stopAfter: {} }, 422],
    ['a pause that is too short', { between: { kind: 'pause', pauseMs: 1 } }, 422],
    ['unknown fields', { speed: 'fast' }, 422],
    ['a control character', { run: { act: { command: 'ls \u001b[2J' } } }, 422],
    ['a timeout above the limit', { run: { act: { command: 'ls', timeoutMs: 86_400_000 } } }, 422],
  ])('refuses %s', async (_what, body, status) => {
    expect((await post(body)).status).toBe(status);
  });

  it('points to what is wrong', async () => {
    const { body } = await post({ run: { act: { command: 'ls \u001b[2J' } } });
    expect(body.errors?.[0]?.pointer).toBe('/run/act/command');
  });

  it('is done once for one Idempotency-Key, and recorded with what was decided', async () => {
    const headers = { 'idempotency-key': 'rollout-1' };
    const first = await post({ name: 'once' }, { headers });
    const again = await post({ name: 'once' }, { headers });
    expect([first.status, again.status]).toEqual([201, 200]);
    expect(again.body.id).toBe(first.body.id);
    expect((await post({ name: 'other' }, { headers })).body.code).toBe('idempotency_conflict');
    expect(first.headers.get('location')).toBe(`${path}/${first.body.id}`);
    const audits = await query<{ details: Record<string, unknown> }>(
      system.api.parts.db,
      `select details from audit_events where action = 'rollout.create' and target_id = :id`,
      { id: first.body.id },
    );
    expect(audits).toMatchObject([{ details: { targets: 12, digests: [expect.any(String)] } }]);
  });

  it('takes the right to run commands', async () => {
    const desk = deskOf(system);
    const viewer = await desk.addUser('viewer', 'rollout-viewer');
    expect((await post({}, { token: viewer })).status).toBe(403);
    expect((await system.request('GET', path, undefined, { token: viewer })).status).toBe(200);
    const user = await desk.addUser('user', 'rollout-user');
    expect((await system.request('GET', path, undefined, { token: user })).status).toBe(403);
  });
});

describe('the engine', () => {
  it('can be asked again at any time: a batch begins once', async () => {
    const { id } = await make({ agents: { ids: ['t-00', 't-01', 't-02'] }, batchSize: 2, offline: queue });
    const outcomes = await Promise.all(Array.from({ length: 6 }, () => advance(id)));
    const [first] = outcomes;
    expect(outcomes.every((one) => JSON.stringify(one) === JSON.stringify(first))).toBe(true);
    expect(first).toMatchObject({
      kind: 'running',
      batchNo: 1,
      batchCount: 2,
      batchIds: [expect.any(String)],
    });
    expect((await targets(id, '?state=queued')).items.map(({ agentId }) => agentId)).toEqual([
      't-00',
      't-01',
    ]);
    expect(await system.call('GET', `${path}/${id}`)).toMatchObject({ counts: { out: 2, pending: 1 } });
    expect(await system.call('POST', `${path}/${id}/cancel`, {})).toMatchObject({
      counts: { canceled: 2, pending: 1 },
    });
    expect(await advance(id)).toEqual({ kind: 'ended', end: 'canceled', batchNo: 1 });
    expect((await targets(id, '?state=not_run')).items).toMatchObject([{ agentId: 't-02', batchNo: 2 }]);
    expect(await advance(NOBODY)).toMatchObject({ kind: 'ended' });
  });

  it('goes through many batches of which nobody is there, a few at a time', async () => {
    const { id } = await make({ agents: { tags: 'even' }, batchSize: 1 });
    expect(await advance(id)).toEqual({ kind: 'ended', end: 'completed', batchNo: 6 });
    expect(await system.call('GET', `${path}/${id}`)).toMatchObject({ counts: { skipped: 6 } });
  });

  it('runs nothing but what was fixed', async () => {
    const { id } = await make({ agents: { ids: ['t-00', 't-01'] }, batchSize: 1, offline: queue });
    await query(
      system.api.parts.db,
      `update rollout_targets set batch_no = 1 where rollout_id = :id and agent_id = 't-01'`,
      { id },
    );
    expect(await advance(id)).toMatchObject({ kind: 'ended', end: 'failed' });
    expect(await system.call('GET', `${path}/${id}`)).toMatchObject({ reason: 'digest_mismatch' });
    expect((await targets(id)).items.every(({ commandId }) => commandId === null)).toBe(true);
  });

  it('runs no act that is not what its digest says', async () => {
    const { db } = system.api.parts;
    const { id } = await make({ agents: { ids: ['t-00'] }, offline: queue });
    await db.transaction(async (trx) => {
      await query(trx, 'alter table acts disable trigger acts_write_once');
      await query(
        trx,
        `update acts set act = jsonb_set(act, '{script}', '"rm -rf /"') where task_run = :run`,
        { run: `rollout/${id}` },
      );
      await query(trx, 'alter table acts enable trigger acts_write_once');
    });
    expect(await advance(id)).toMatchObject({ kind: 'ended', end: 'failed' });
    expect((await targets(id)).items).toMatchObject([{ commandId: null, state: 'not_run' }]);
    const rerun = await system.request('POST', `${path}/${id}/rerun`, { outcomes: ['not_run'] });
    expect(rerun.status).toBe(409);
  });

  it('runs nothing more in the name of somebody who may no longer', async () => {
    const desk = deskOf(system);
    const token = await desk.addUser('operator', 'rollout-maker');
    const wish = { agents: { ids: ['t-00', 't-01'] }, batchSize: 1, offline: queue };
    const made = (await post(wish, { token })).body;
    expect(await advance(made.id)).toMatchObject({ kind: 'running', batchNo: 1 });
    await system.api.parts.db('users').where({ username: 'rollout-maker' }).update({ role: 'viewer' });
    const [batchId] = (
      await system.call<{ items: { batchIds: string[] }[] }>('GET', `${path}/${made.id}/batches`)
    ).items.flatMap((batch) => batch.batchIds);
    await system.call('POST', `/v1/batches/${batchId}/cancel`, {});
    expect(await advance(made.id)).toMatchObject({ kind: 'ended', end: 'failed', batchNo: 1 });
    expect(await system.call('GET', `${path}/${made.id}`)).toMatchObject({ reason: 'maker_not_allowed' });
  });

  it('leaves out who is asked at an address only where nobody has heard of it', async () => {
    const { db } = system.api.parts;
    for (const [id, ago] of [
      ['url-near', '1 minute'],
      ['url-gone', '6 minutes'],
    ]) {
      await db('agents').insert({ id, hostname: id, delivery: 'url', address: `http://${id}` });
      await db('url_agents').insert({ agent_id: id, url: `http://${id}`, role: 'worker' });
      await db.raw(
        `insert into agent_presence (agent_id, is_online, last_seen_at) values (?, true, now() - cast(? as interval))`,
        [id ?? '', ago ?? ''],
      );
    }
    const { id } = await make({ agents: { ids: ['url-near', 'url-gone'] }, offline: { kind: 'skip' } });
    await advance(id);
    expect((await targets(id)).items).toMatchObject([
      { agentId: 'url-near', state: 'queued' },
      { agentId: 'url-gone', state: 'skipped', reason: 'agent_offline' },
    ]);
    await system.call('POST', `${path}/${id}/cancel`, {});
    await db('agents').update({ revoked_at: new Date() }).whereIn('id', ['url-near', 'url-gone']);
  });

  it('leaves out who was revoked meanwhile', async () => {
    await system.api.parts.db('agents').insert({ id: 't-gone', hostname: 'gone', shells: ['sh'] });
    const { id } = await make({ agents: { ids: ['t-gone'] }, offline: queue });
    await system.call('POST', '/v1/agents/t-gone/revoke');
    expect(await advance(id)).toMatchObject({ kind: 'ended', end: 'completed' });
    expect((await targets(id)).items).toMatchObject([{ state: 'skipped', reason: 'agent_revoked' }]);
  });
});

const queue = { kind: 'queue', expiryMs: 60_000 };

describe('what people do', () => {
  it('is refused for what is not there, has ended, or is not asked for', async () => {
    for (const [verb, body] of [
      ['pause', undefined],
      ['resume', undefined],
      ['cancel', {}],
      ['approve', { batchNo: 1, digest }],
      ['rerun', {}],
    ] as const) {
      expect((await system.request('POST', `${path}/${NOBODY}/${verb}`, body)).status, verb).toBe(404);
    }
    const open = await make({ batchSize: 1 });
    expect((await system.request('POST', `${path}/${open.id}/rerun`, {})).status).toBe(409);
    expect((await system.request('POST', `${path}/${open.id}/approve`, { batchNo: 2, digest })).status).toBe(
      409,
    );
    await advance(open.id);
    for (const verb of ['pause', 'resume', 'cancel']) {
      const body = verb === 'cancel' ? {} : undefined;
      expect((await system.request('POST', `${path}/${open.id}/${verb}`, body)).status, verb).toBe(409);
    }
  });

  it('holds a rollout before its first batch, and is done once', async () => {
    const { id } = await make({ agents: { ids: ['t-00'] }, offline: queue });
    const headers = { 'idempotency-key': 'pause-1' };
    const pause = () => system.request<RolloutView>('POST', `${path}/${id}/pause`, undefined, { headers });
    expect(await pause()).toMatchObject({ status: 200, body: { state: 'paused' } });
    expect(await advance(id)).toMatchObject({ kind: 'paused', rev: 1 });
    expect(await system.call('POST', `${path}/${id}/resume`)).toMatchObject({
      state: 'created',
      pausedAt: null,
    });
    expect(await pause()).toMatchObject({ status: 200, body: { pausedAt: null } });
    expect(await advance(id)).toMatchObject({ kind: 'running', rev: 2 });
    await system.call('POST', `${path}/${id}/cancel`, {});
  });

  it('is canceled at once over all the batches that its shells took', async () => {
    await system.api.parts.db('agents').insert({
      ...{ id: 't-bash', hostname: 't-bash', os: 'linux', tags: ['shell'] },
      ...{ shells: ['bash', 'sh'], default_shell: 'bash' },
    });
    const { id } = await make({ agents: { ids: ['t-00', 't-bash', 't-01'] }, offline: queue });
    expect(await advance(id)).toMatchObject({
      kind: 'running',
      batchIds: [expect.any(String), expect.any(String)],
    });
    expect(await system.call('POST', `${path}/${id}/cancel`)).toMatchObject({
      counts: { canceled: 3, out: 0 },
    });
    expect(await advance(id)).toEqual({ kind: 'ended', end: 'canceled', batchNo: 1 });
    await system.api.parts.db('rollout_targets').where({ agent_id: 't-bash' }).del();
    await system.api.parts.db('commands').where({ agent_id: 't-bash' }).del();
    await system.api.parts.db('agents').where({ id: 't-bash' }).del();
  });

  it('is canceled with the outcomes of a batch that ended before the engine has looked', async () => {
    const { id } = await make({
      agents: { ids: ['t-02', 't-03', 't-04'] },
      batchSize: 2,
      offline: { kind: 'queue', expiryMs: 60_000 },
    });
    await advance(id);
    for (const { commandId } of (await targets(id)).items.slice(0, 2))
      await system.call('POST', `/v1/commands/${commandId}/cancel`, {});
    const ended = await system.call<RolloutView>('POST', `${path}/${id}/cancel`, {});
    expect(ended).toMatchObject({ state: 'canceled', counts: { canceled: 2, pending: 1, out: 0 } });
    const batches = await system.call<{ items: RolloutBatchView[] }>('GET', `${path}/${id}/batches`);
    expect(batches.items[0]).toMatchObject({ finishedAt: expect.any(String), counts: { canceled: 2 } });
    expect(await advance(id)).toMatchObject({ kind: 'ended', end: 'canceled' });
    expect((await system.call<RolloutView>('GET', `${path}/${id}`)).counts).toEqual(ended.counts);
  });

  it('is decided once by two who approve at the same time', async () => {
    const { id } = await make({ batchSize: 6, between: { kind: 'approval' } });
    expect(await advance(id)).toMatchObject({ kind: 'waiting', for: 'approval', batchNo: 1 });
    const { nextBatch } = await system.call<RolloutView>('GET', `${path}/${id}`);
    const tokens = [system.token(), await deskOf(system).addUser('operator', 'rollout-operator')];
    const body = { batchNo: 2, digest: nextBatch?.digest };
    const replies = await Promise.all(
      [...tokens, ...tokens].map((token) => system.request('POST', `${path}/${id}/approve`, body, { token })),
    );
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 200, 409, 409]);
    const audits = await query(
      system.api.parts.db,
      `select id from audit_events where action = 'rollout.approve' and target_id = :id`,
      { id },
    );
    expect(audits).toHaveLength(1);
    expect(await advance(id)).toMatchObject({ kind: 'ended', end: 'completed' });
  });
});

describe('lists', () => {
  it('are paged without gaps, narrowed by state', async () => {
    const seen: string[] = [];
    let cursor = '';
    do {
      const page = await system.call<{ items: RolloutView[]; nextCursor: string | null }>(
        'GET',
        `${path}?limit=3${cursor}`,
      );
      seen.push(...page.items.map(({ id }) => id));
      cursor = page.nextCursor === null ? '' : `&cursor=${page.nextCursor}`;
    } while (cursor !== '');
    expect(new Set(seen).size).toBe(seen.length);
    const [row] = await query<{ count: number }>(
      system.api.parts.db,
      'select count(*) as count from rollouts',
    );
    expect(seen).toHaveLength(row?.count ?? 0);
    const ended = await system.call<{ items: RolloutView[] }>('GET', `${path}?state=canceled`);
    expect(ended.items.length).toBeGreaterThan(0);
    expect(new Set(ended.items.map(({ state }) => state))).toEqual(new Set(['canceled']));
    expect((await system.request('GET', `${path}?cursor=x`)).status).toBe(422);
  });

  it('of targets and batches follow their turn', async () => {
    const { id } = await make({ batchSize: 5 });
    const first = await targets(id, '?limit=7');
    const rest = await targets(id, `?limit=7&cursor=${first.nextCursor}`);
    expect([...first.items, ...rest.items].map(({ batchNo }) => batchNo)).toEqual([
      1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3,
    ]);
    expect((await targets(id, '?batchNo=3')).items).toHaveLength(2);
    expect(rest.nextCursor).toBeNull();
    type Batches = { items: { batchNo: number; size: number }[]; nextCursor: string | null };
    const page = await system.call<Batches>('GET', `${path}/${id}/batches?limit=2`);
    const more = await system.call<Batches>('GET', `${path}/${id}/batches?limit=2&cursor=${page.nextCursor}`);
    expect([...page.items, ...more.items].map(({ size }) => size)).toEqual([5, 5, 2]);
    for (const list of ['targets', 'batches']) {
      expect((await system.request('GET', `${path}/${id}/${list}?cursor=x`)).status).toBe(422);
      expect((await system.request('GET', `${path}/${NOBODY}/${list}`)).status).toBe(404);
    }
  });

  it('are answered by an index', async () => {
    const page = { at: new Date(), id: NOBODY, limit: 10, state: 'failed' };
    expect(await explain(listRolloutsSql({ hasState: false, isLater: true }), page)).toContain(
      'rollouts_list_idx',
    );
    expect(await explain(listRolloutsSql({ hasState: true, isLater: true }), page)).toContain(
      'rollouts_state_idx',
    );
    const ofOne = { rolloutId: NOBODY, after: 3, limit: 10, state: 'failed', batchNo: 2 };
    const all = await explain(listTargetsSql({ hasState: true, hasBatch: false }), ofOne);
    expect(all).toContain('rollout_targets_pkey');
    expect(all).not.toContain('Seq Scan on rollout_targets');
    expect(await explain(listTargetsSql({ hasState: false, hasBatch: true }), ofOne)).toMatch(
      /rollout_targets_\w+/,
    );
    expect(await explain(listBatchesSql, ofOne)).toContain('rollout_batches_pkey');
  });
});

describe('the arithmetic', () => {
  const gate = { kind: 'none' } as const;
  const canary = (facts: object) => ({ stopOnFailure: true, then: gate, ...facts });
  const limited = (stopAfter: object | null, batchNo = 2) => ({
    plan: {
      canary: null,
      batchSize: 1,
      between: gate,
      stopAfter,
      offline: { kind: 'skip' },
      approvalTimeoutMs: 1,
    } as never,
    hasCanary: false,
    batchNo,
    targetCount: 40,
  });

  it('cuts canaries first, a share rounded up, never more than there are', () => {
    expect(canarySize({ canary: canary({ percent: 10 }) }, 11)).toBe(2);
    expect(canarySize({ canary: canary({ percent: 1 }) }, 5)).toBe(1);
    expect(canarySize({ canary: canary({ count: 9 }) }, 5)).toBe(5);
    expect(canarySize({ canary: null }, 5)).toBe(0);
    const list = Array.from({ length: 7 }, (_, index) => ({ agentId: `a${index}`, digest }));
    const cut = cutIntoBatches({ canary: canary({ count: 1 }), batchSize: 3 }, list);
    expect(cut.batches.map(({ size }) => size)).toEqual([1, 3, 3]);
    expect(cut.targets.map(({ batchNo }) => batchNo)).toEqual([1, 2, 2, 2, 3, 3, 3]);
    expect(new Set(cut.batches.map((batch) => batch.digest)).size).toBe(3);
    expect(cutIntoBatches({ canary: canary({ count: 7 }), batchSize: 3 }, list).batches).toHaveLength(1);
  });

  it('stops at the first limit that is reached', () => {
    expect(stopReason(limited({ failures: 3 }), { failed: 2 })).toBeUndefined();
    expect(stopReason(limited({ failures: 3 }), { failed: 3 })).toBe('failure_limit');
    expect(stopReason(limited({ percent: 10 }), { failed: 3 })).toBeUndefined();
    expect(stopReason(limited({ percent: 10 }), { failed: 4 })).toBe('failure_limit');
    expect(stopReason(limited({ percent: 1, failures: 9 }), { failed: 1 })).toBe('failure_limit');
    expect(stopReason(limited({ percent: 1 }), { failed: 0 })).toBeUndefined();
    expect(stopReason(limited(null), { failed: 40 })).toBeUndefined();
  });
});
