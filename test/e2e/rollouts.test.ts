/** Rollouts on the real stack: real Postgres, real Temporal, real sockets. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RolloutBatchView, RolloutTargetView, RolloutView } from '../../contracts/rollouts.ts';
import { rolloutWorkflowId } from '../../contracts/workflow-io.ts';
import { query } from '../../db/database.ts';
import { reconcileRollouts } from '../../worker/duties/rollout-reconciler.ts';
import { type Crew, startCrew } from '../support/crew.ts';
import type { RequestOptions, System } from '../support/system.ts';
import { startSystem } from '../support/system.ts';
import { withTemporal } from '../support/temporal.ts';

const names = ['r1', 'r2', 'r3', 'r4', 'r5', 'r6'];

let system: System;
let crew: Crew;
beforeAll(async () => {
  system = await startSystem();
  crew = await startCrew(system, names, { r6: { shells: ['bash', 'sh'], defaultShell: 'bash' } });
});
afterAll(async () => {
  await crew.close();
  await system.close();
});
beforeEach(() => {
  for (const name of names) crew.set(name, 0);
  crew.runs.length = 0;
});

const create = (body: object, options?: RequestOptions): Promise<RolloutView> =>
  system.call(
    'POST',
    '/v1/rollouts',
    { agents: { ids: names }, run: { act: { command: 'true' } }, ...body },
    options,
  );
const get = (id: string): Promise<RolloutView> => system.call('GET', `/v1/rollouts/${id}`);
const act = (id: string, verb: string, body?: object) =>
  system.request<RolloutView & { code: string }>('POST', `/v1/rollouts/${id}/${verb}`, body);
const until = (id: string, fits: (rollout: RolloutView) => boolean, what = 'the rollout fits') =>
  system.until(() => get(id), fits, what, 15_000);
const untilEnded = (id: string) => until(id, ({ endedAt }) => endedAt !== null, 'the rollout has ended');
const untilState = (id: string, state: RolloutView['state']) =>
  until(id, (rollout) => rollout.state === state, `the rollout is ${state}`);
const targets = async (id: string, search = ''): Promise<RolloutTargetView[]> =>
  (await system.call<{ items: RolloutTargetView[] }>('GET', `/v1/rollouts/${id}/targets${search}`)).items;
const batches = async (id: string): Promise<RolloutBatchView[]> =>
  (await system.call<{ items: RolloutBatchView[] }>('GET', `/v1/rollouts/${id}/batches`)).items;
const statesOf = async (id: string): Promise<Record<string, string>> =>
  Object.fromEntries((await targets(id)).map(({ agentId, state }) => [agentId, state]));
const eventsOf = async (id: string): Promise<string[]> =>
  (
    await query<{ type: string }>(
      system.api.parts.db,
      `select type from events where data ->> 'rolloutId' = :id order by id`,
      { id },
    )
  ).map(({ type }) => type);

describe('a rollout', () => {
  it('goes batch after batch, the canaries first, and every target runs once', async () => {
    const made = await create({ canary: { count: 1 }, batchSize: 2 });
    expect(made).toMatchObject({ batchCount: 4, counts: { total: 6 }, rerunOf: null });
    const ended = await untilEnded(made.id);
    expect(ended).toMatchObject({
      state: 'completed',
      reason: null,
      batchNo: 4,
      counts: { total: 6, pending: 0, out: 0, succeeded: 6, failed: 0, canceled: 0, skipped: 0 },
      nextBatch: null,
    });
    const list = await batches(made.id);
    expect(list.map(({ size, isCanary }) => [size, isCanary])).toEqual([
      [1, true],
      [2, false],
      [2, false],
      [1, false],
    ]);
    for (const [index, batch] of list.entries()) {
      const before = list[index - 1]?.finishedAt;
      if (before) expect(Date.parse(batch.startedAt ?? '')).toBeGreaterThanOrEqual(Date.parse(before));
    }
    for (const name of names) expect(crew.runsOf(name), name).toBe(1);
    const order = crew.runs.map(({ agentId }) => agentId);
    expect(order[0]).toBe('r1');
    expect(new Set(order.slice(1, 3))).toEqual(new Set(['r2', 'r3']));
    // Agents with another default shell get an act of their own.
    const rows = await targets(made.id);
    expect(new Set(rows.map(({ digest }) => digest)).size).toBe(2);
    expect(rows.every(({ state, exitCode }) => state === 'succeeded' && exitCode === 0)).toBe(true);
    expect(await eventsOf(made.id)).toEqual([
      'rollout.created',
      ...Array.from({ length: 4 }, () => ['rollout.batch_started', 'rollout.batch_finished']).flat(),
      'rollout.completed',
    ]);
  });

  it('stops after a failed canary, and a new one can be made over who failed or did not run', async () => {
    crew.set('r1', 7);
    const made = await create({ canary: { percent: 10 }, batchSize: 5, stopAfter: null });
    expect(await untilEnded(made.id)).toMatchObject({ state: 'failed', reason: 'canary_failed', batchNo: 1 });
    expect(await statesOf(made.id)).toEqual({
      ...Object.fromEntries(names.map((name) => [name, 'not_run'])),
      r1: 'failed',
    });
    expect(await targets(made.id, '?state=failed')).toMatchObject([{ agentId: 'r1', exitCode: 7 }]);
    const batchId = (await batches(made.id))[0]?.batchIds[0] ?? '';
    // The rollout decides what runs next, not its batches.
    expect((await system.request('POST', `/v1/batches/${batchId}/rerun-failed`, {})).status).toBe(409);
    crew.set('r1', 0);
    const key = { 'idempotency-key': 'rerun-once' };
    const reply = await system.request<RolloutView>(
      'POST',
      `/v1/rollouts/${made.id}/rerun`,
      { outcomes: ['failed', 'not_run'] },
      { headers: key },
    );
    expect(reply).toMatchObject({
      status: 201,
      body: { rerunOf: made.id, agents: { by: 'rerun' }, counts: { total: 6 } },
    });
    const again = await system.request<RolloutView>(
      'POST',
      `/v1/rollouts/${made.id}/rerun`,
      { outcomes: ['failed', 'not_run'] },
      { headers: key },
    );
    expect(again).toMatchObject({ status: 200, body: { id: reply.body.id } });
    expect(await untilEnded(reply.body.id)).toMatchObject({ state: 'completed', counts: { succeeded: 6 } });
    expect(await act(reply.body.id, 'rerun')).toMatchObject({ status: 409 });
  });

  it('stops after so many failures, or such a share of all targets', async () => {
    for (const name of ['r1', 'r2', 'r3']) crew.set(name, 1);
    const count = await create({ batchSize: 1, stopAfter: { failures: 2 } });
    expect(await untilEnded(count.id)).toMatchObject({
      ...{ state: 'failed', reason: 'failure_limit', batchNo: 2 },
      counts: { failed: 2, pending: 4 },
    });
    const share = await create({ batchSize: 1, stopAfter: { percent: 50 } });
    expect(await untilEnded(share.id)).toMatchObject({ reason: 'failure_limit', batchNo: 3 });
    const never = await create({ batchSize: 3, stopAfter: null });
    expect(await untilEnded(never.id)).toMatchObject({
      state: 'completed',
      counts: { failed: 3, succeeded: 3 },
    });
  });

  it('waits for an approval, which is bound to the batch and its digest and given once', async () => {
    const made = await create({ batchSize: 3, between: { kind: 'approval' } });
    const first = await untilState(made.id, 'awaiting_approval');
    expect(first).toMatchObject({ batchNo: 1, nextBatch: { batchNo: 2, size: 3, approvedBy: null } });
    expect(first.approvalExpiresAt).not.toBeNull();
    const digest = first.nextBatch?.digest ?? '';
    expect(await act(made.id, 'approve', { batchNo: 2, digest: 'a'.repeat(64) })).toMatchObject({
      ...{ status: 409, body: { code: 'stale_digest' } },
    });
    expect(await act(made.id, 'approve', { batchNo: 1, digest })).toMatchObject({ status: 409 });
    expect(await act(made.id, 'approve', { batchNo: 3, digest })).toMatchObject({ status: 409 });
    expect(crew.runs).toHaveLength(3);
    expect(await act(made.id, 'approve', { batchNo: 2, digest })).toMatchObject({ status: 200 });
    expect(await untilEnded(made.id)).toMatchObject({ state: 'completed' });
    expect((await batches(made.id))[1]).toMatchObject({ approvedBy: { name: 'admin' } });
    expect(await act(made.id, 'approve', { batchNo: 2, digest })).toMatchObject({
      ...{ status: 409, body: { code: 'rollout_not_open' } },
    });
  });

  it('ends when nobody approves in time', async () => {
    const made = await create({ batchSize: 5, between: { kind: 'approval' }, approvalTimeoutMs: 1_000 });
    expect(await untilEnded(made.id)).toMatchObject({
      state: 'expired',
      reason: 'approval_timeout',
      batchNo: 1,
    });
  });

  it('pauses between batches', async () => {
    const made = await create({ batchSize: 3, between: { kind: 'pause', pauseMs: 1_500 } });
    expect(await untilEnded(made.id)).toMatchObject({ state: 'completed' });
    const [one, two] = await batches(made.id);
    const gapMs = Date.parse(two?.startedAt ?? '') - Date.parse(one?.finishedAt ?? '');
    expect(gapMs).toBeGreaterThanOrEqual(1_500);
    expect(await eventsOf(made.id)).toContain('rollout.waiting');
  });

  it('is held and let go on by a person, while a batch is out as well', async () => {
    crew.set('r2', 'hold');
    const made = await create({ batchSize: 2 });
    await system.until(
      async () => crew.runsOf('r2'),
      (runs) => runs === 1,
      'r2 runs',
    );
    expect(await act(made.id, 'pause')).toMatchObject({ status: 200, body: { state: 'running' } });
    crew.release('r2');
    expect(await untilState(made.id, 'paused')).toMatchObject({
      batchNo: 1,
      counts: { succeeded: 2, pending: 4 },
    });
    expect(await act(made.id, 'pause')).toMatchObject({ status: 200 });
    expect(crew.runs).toHaveLength(2);
    expect(await act(made.id, 'resume')).toMatchObject({ status: 200, body: { pausedAt: null } });
    expect(await untilEnded(made.id)).toMatchObject({ state: 'completed', counts: { succeeded: 6 } });
    expect(await act(made.id, 'resume')).toMatchObject({ status: 409, body: { code: 'rollout_not_open' } });
  });

  it('is canceled: what runs is told to stop, what waits never runs', async () => {
    crew.set('r1', 'hold');
    const made = await create({ batchSize: 2 });
    await system.until(
      async () => crew.runsOf('r1'),
      (runs) => runs === 1,
      'r1 runs',
    );
    expect(await act(made.id, 'cancel', { reason: 'enough' })).toMatchObject({ status: 200 });
    expect(await untilEnded(made.id)).toMatchObject({ state: 'canceled', reason: 'enough', batchNo: 1 });
    expect(await statesOf(made.id)).toMatchObject({ r1: 'canceled', r3: 'not_run' });
    expect(await act(made.id, 'cancel')).toMatchObject({ status: 200, body: { state: 'canceled' } });
    crew.set('r1', 0);
    const waiting = await create({ batchSize: 2, between: { kind: 'approval' } });
    await untilState(waiting.id, 'awaiting_approval');
    expect(await act(waiting.id, 'cancel')).toMatchObject({ status: 200, body: { state: 'canceled' } });
    await withTemporal(async (client) => {
      expect(await client.workflow.getHandle(rolloutWorkflowId(waiting.id)).result()).toMatchObject({
        end: 'canceled',
      });
    });
  });

  it('skips who is offline, or has its command wait for them', async () => {
    await crew.leave('r4');
    try {
      const skipping = await create({ batchSize: 3 });
      expect(await untilEnded(skipping.id)).toMatchObject({
        ...{ state: 'completed', counts: { succeeded: 5, skipped: 1 } },
      });
      expect(await targets(skipping.id, '?state=skipped')).toMatchObject([
        { agentId: 'r4', reason: 'agent_offline', commandId: null },
      ]);
      const alone = await create({ agents: { ids: ['r4'] } });
      expect(await untilEnded(alone.id)).toMatchObject({ state: 'completed', counts: { skipped: 1 } });
      const queueing = await create({ batchSize: 6, offline: { kind: 'queue', expiryMs: 60_000 } });
      await until(queueing.id, ({ counts }) => counts.succeeded === 5 && counts.out === 1, 'five are in');
      await crew.join('r4');
      expect(await untilEnded(queueing.id)).toMatchObject({ state: 'completed', counts: { succeeded: 6 } });
      await crew.leave('r4');
      const expiring = await create({
        agents: { ids: ['r4', 'r5'] },
        offline: { kind: 'queue', expiryMs: 4_000 },
      });
      expect(await untilEnded(expiring.id)).toMatchObject({
        ...{ state: 'failed', reason: 'failure_limit', counts: { succeeded: 1, failed: 1 } },
      });
      expect(await statesOf(expiring.id)).toEqual({ r4: 'expired', r5: 'succeeded' });
    } finally {
      await crew.join('r4');
    }
  });

  it('runs a saved command as it was when the rollout was made', async () => {
    const saved = await system.call<{ id: string }>('POST', '/v1/saved-commands', {
      name: 'greet',
      scripts: { sh: 'echo "$who"' },
      parameters: [{ name: 'who', required: true }],
    });
    const run = { savedCommandId: saved.id, parameters: { who: 'you' } };
    const made = await create({ run, batchSize: 3, between: { kind: 'approval' } });
    expect(made).toMatchObject({ name: 'greet', run: { savedCommandId: saved.id, revision: 1 } });
    const waiting = await untilState(made.id, 'awaiting_approval');
    await system.call('PATCH', `/v1/saved-commands/${saved.id}`, { scripts: { sh: 'echo other' } });
    await act(made.id, 'approve', { batchNo: 2, digest: waiting.nextBatch?.digest });
    await untilEnded(made.id);
    const texts = await query<{ text: string }>(
      system.api.parts.db,
      `select distinct a.act ->> 'script' as text from commands c join acts a on a.digest = c.digest
       where a.task_run = :run`,
      { run: rolloutWorkflowId(made.id) },
    );
    expect(texts).toEqual([{ text: 'who=\'you\'\necho "$who"' }]);
    const refused = await system.request<{ errors: { pointer: string }[] }>('POST', '/v1/rollouts', {
      agents: { all: true },
      run: { savedCommandId: saved.id, parameters: {} },
    });
    expect(refused.status).toBe(422);
    expect(refused.body.errors[0]?.pointer).toContain('/run/parameters');
  });

  it('ends with its workflow: canceled in Temporal, or lost', async () => {
    const options = { batchSize: 3, between: { kind: 'approval' } };
    const canceled = await create(options);
    await untilState(canceled.id, 'awaiting_approval');
    await withTemporal(async (client) => {
      const handle = client.workflow.getHandle(rolloutWorkflowId(canceled.id));
      await handle.cancel();
      expect(await untilEnded(canceled.id)).toMatchObject({
        ...{ state: 'canceled', reason: 'canceled in Temporal' },
      });
      await expect(handle.result()).rejects.toThrow();
      expect((await handle.describe()).status.name).toBe('CANCELLED');

      crew.set('r4', 'hold');
      const lost = await create({ batchSize: 6 });
      await system.until(
        async () => crew.runsOf('r4'),
        (runs) => runs === 2 || runs === 1,
        'r4 runs',
      );
      await client.workflow.getHandle(rolloutWorkflowId(lost.id)).terminate('by an operator');
      const { temporal } = await temporalOfDuties();
      try {
        await system.until(
          () => reconcileRollouts({ domain: system.api.parts.domain, temporal, idleMs: 0 }),
          (count) => count > 0,
          'the rollout is found lost',
        );
      } finally {
        await temporal.close();
      }
      expect(await get(lost.id)).toMatchObject({ state: 'failed', reason: 'workflow_lost' });
      await system.until(
        () => statesOf(lost.id),
        (states) => states.r4 === 'canceled',
        'r4 has stopped',
      );
    });
  });
});

async function temporalOfDuties() {
  const { createTemporalClient } = await import('../../temporal/connection.ts');
  const { temporalAddress, TEMPORAL_NAMESPACE } = await import('../support/temporal.ts');
  const nothing = (): void => undefined;
  const log = { debug: nothing, info: nothing, warn: nothing, error: nothing };
  const temporal = createTemporalClient({ address: temporalAddress(), namespace: TEMPORAL_NAMESPACE, log });
  await system.until(async () => temporal.ready(), Boolean, 'Temporal is ready');
  return { temporal };
}
