/** Temporal is away: every request is answered at once, and when it is back everything runs, in order and once. */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type System, startSystem } from '../support/system.ts';
import { type Desk, deskOf, type EffectFile, openEffectFile } from '../support/tasks.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { connectTemporal, temporalAddress, withTemporal } from '../support/temporal.ts';

/** A request never waits for Temporal, whose calls may take 10 s here; this much is Postgres on a busy machine. */
const AT_ONCE_MS = 5_000;

let proxy: TcpProxy;
let system: System;
let desk: Desk;
let effects: EffectFile;

beforeAll(async () => {
  effects = openEffectFile();
  proxy = await startTcpProxy(temporalAddress());
  system = await startSystem({ env: { TEMPORAL_ADDRESS: proxy.address } });
  desk = deskOf(system);
  await system.startAgent({ agentId: 'worker-1' });
});
afterEach(() => proxy.restore());
afterAll(async () => {
  await proxy.restore();
  await system.close();
  await proxy.close();
  effects.close();
});

const create = (body: Record<string, unknown>) => desk.create({ target: { agentId: 'worker-1' }, ...body });

async function atOnce<T>(run: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  const answer = await run();
  expect(performance.now() - startedAt).toBeLessThan(AT_ONCE_MS);
  return answer;
}

const outboxOf = (id: string) =>
  desk.sql<{ kind: string }>('select kind from outbox where workflow_id = :id order by id', {
    id: desk.workflowId(id),
  });

/** Runs of this workflow id that the server has ever had. */
const runsOf = (id: string) =>
  withTemporal(async (client) => {
    const runs = new Set<string>();
    for await (const run of client.workflow.list({ query: `WorkflowId = '${desk.workflowId(id)}'` }))
      runs.add(run.runId);
    return runs.size;
  });

it.each(['refuse', 'blackhole'] as const)('at create (%s)', async (how) => {
  await proxy[how]();
  const line = `create-${how}`;
  const goal = `run \`${effects.mark(line)}\``;
  const key = { headers: { 'idempotency-key': line } };
  const body = { goal, mode: 'auto', preApproved: [effects.mark(line)] };
  const first = await atOnce(() => create(body));
  const keyed = await atOnce(() => desk.create({ target: { agentId: 'worker-1' }, goal: 'run `true`' }, key));
  const again = await atOnce(() => desk.create({ target: { agentId: 'worker-1' }, goal: 'run `true`' }, key));
  expect(again.id).toBe(keyed.id);
  expect(await outboxOf(first.id)).toEqual([{ kind: 'start_task' }]);
  expect((await desk.get(first.id)).state).toBe('created');
  expect((await system.request('GET', '/livez')).status).toBe(200);
  await proxy.restore();
  expect((await desk.untilEnded(first.id)).state).toBe('completed');
  await desk.cancel(keyed.id);
  expect(effects.lines().filter((each) => each === line)).toHaveLength(1);
  await system.until(
    () => runsOf(first.id),
    (runs) => runs > 0,
    'the run in visibility',
  );
  expect(await runsOf(first.id)).toBe(1);
  expect(await outboxOf(first.id)).toEqual([]);
});

it('at approve: the command runs at once, the task goes on later', async () => {
  const task = await create({ goal: `run \`${effects.mark('approved')}\`` });
  const step = await desk.untilProposed(task.id, 1);
  await proxy.blackhole();
  const body = { decision: 'approve', step: 1, digest: step.digest };
  expect(await atOnce(() => desk.decide(task.id, body))).toMatchObject({ status: 200 });
  expect(await atOnce(() => desk.decide(task.id, body))).toMatchObject({ status: 200 });
  await desk.untilCommand(task.id, 1, 'succeeded');
  expect((await desk.get(task.id)).state).toBe('running');
  await proxy.restore();
  expect((await desk.untilEnded(task.id)).state).toBe('completed');
  expect(effects.lines().filter((each) => each === 'approved')).toHaveLength(1);
  expect(await desk.counts(task.id)).toEqual({ batches: 1, commands: 1 });
});

it('from create to cancel: the messages arrive in order, the workflow ends where the row says', async () => {
  await proxy.refuse();
  const task = await create({ goal: 'run `echo x`', mode: 'manual' });
  await atOnce(() => system.call('POST', `/v1/tasks/${task.id}/propose`, { waitMs: 0 }));
  await atOnce(() =>
    system.call('POST', `/v1/tasks/${task.id}/execute`, { act: { command: effects.mark('offline') } }),
  );
  await desk.untilCommand(task.id, 1, 'succeeded');
  expect((await atOnce(() => desk.cancel(task.id))).state).toBe('canceled');
  expect((await outboxOf(task.id)).map(({ kind }) => kind)).toEqual([
    'start_task',
    'signal',
    'signal',
    'signal',
    'signal',
  ]);
  await proxy.restore();
  await system.until(
    () => outboxOf(task.id),
    (rows) => rows.length === 0,
    'the outbox',
  );
  const { client, close } = await connectTemporal();
  await system.until(
    async () => (await client.workflow.getHandle(desk.workflowId(task.id)).describe()).status.name,
    (status) => status === 'COMPLETED',
    'the end of the workflow',
  );
  await close();
  expect(effects.lines().filter((each) => each === 'offline')).toHaveLength(1);
  expect((await desk.get(task.id)).state).toBe('canceled');
});

/**
 * What a cut costs: Temporal gives a task whose answer was lost to nobody else before its time is over (a workflow task
 * 10 s, an activity of ours up to 30 s), and a cut may hit both.
 */
const CUT_COST_MS = 45_000;

it('connections that break under way lose nothing', { timeout: 5 * CUT_COST_MS }, async () => {
  const lines = ['cut-1', 'cut-2', 'cut-3', 'cut-4'];
  const preApproved = lines.map((line) => effects.mark(line));
  const goal = `run ${preApproved.map((command) => `\`${command}\``).join(' then ')}`;
  const task = await create({ goal, mode: 'auto', preApproved });
  for (const line of lines) {
    await system.until(
      async () => effects.lines(),
      (all) => all.includes(line),
      line,
      CUT_COST_MS,
    );
    proxy.cut();
  }
  expect((await desk.untilEnded(task.id, CUT_COST_MS)).state).toBe('completed');
  expect(effects.lines().filter((each) => each.startsWith('cut-'))).toEqual(lines);
});
