/** Cancel at every point of a task, from the API and from Temporal's side: nothing goes on, nothing stays behind. */
import type { Client } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TaskView } from '../../contracts/tasks.ts';
import { stubborn, survivorsOf } from '../support/survivors.ts';
import { type System, startSystem } from '../support/system.ts';
import { type Desk, deskOf } from '../support/tasks.ts';
import { connectTemporal } from '../support/temporal.ts';

let system: System;
let desk: Desk;
let client: Client;
let closeClient: () => Promise<void>;

beforeAll(async () => {
  const temporal = await connectTemporal();
  client = temporal.client;
  closeClient = temporal.close;
  system = await startSystem();
  desk = deskOf(system);
  await system.startAgent({ agentId: 'here', kill: { graceMs: 200 } });
  await system.enrol('away');
});
afterAll(async () => {
  await system.close();
  await closeClient();
});

const create = (body: Record<string, unknown>) => desk.create({ target: { agentId: 'here' }, ...body });
const workflow = (task: TaskView) => client.workflow.getHandle(desk.workflowId(task.id));
const untilClosed = (task: TaskView) =>
  system.until(
    async () => (await workflow(task).describe()).status.name,
    (status) => status !== 'RUNNING',
    'the end of the workflow',
  );

/** A running command whose grandchildren ignore TERM. */
async function startStubborn(): Promise<{ task: TaskView; commandId: string }> {
  const task = await create({ goal: 'run it' });
  const step = await desk.untilProposed(task.id, 1);
  await desk.edit(task.id, step, { command: stubborn });
  const running = await desk.untilCommand(task.id, 1, 'running');
  const commandId = running.commands[0]?.commandId ?? '';
  await system.until(
    async () => survivorsOf(commandId).length,
    (count) => count >= 3,
    'its processes',
  );
  return { task, commandId };
}

describe('from the API', () => {
  it('while it waits for a decision', async () => {
    const task = await create({ goal: 'run `echo x`' });
    const step = await desk.untilProposed(task.id, 1);
    expect(await desk.cancel(task.id, 'changed my mind')).toMatchObject({
      state: 'canceled',
      result: { success: false, reason: 'canceled', summary: 'changed my mind' },
    });
    expect(await desk.step(task.id, 1)).toMatchObject({ decision: 'cancel', decidedBy: { name: 'admin' } });
    const late = await desk.decide(task.id, { decision: 'approve', step: 1, digest: step.digest });
    expect(late).toMatchObject({ status: 409, body: { code: 'already_decided' } });
    expect(await untilClosed(task)).toBe('COMPLETED');
  });

  it('before any step, and while nobody asked for one', async () => {
    const [fresh, manual] = await Promise.all([
      create({ goal: 'run `echo x`' }),
      create({ goal: 'run `echo x`', mode: 'manual' }),
    ]);
    const canceled = await Promise.all([desk.cancel(fresh.id), desk.cancel(manual.id)]);
    expect(canceled.map(({ state }) => state)).toEqual(['canceled', 'canceled']);
    expect(await Promise.all([untilClosed(fresh), untilClosed(manual)])).toEqual(['COMPLETED', 'COMPLETED']);
    expect(await desk.counts(fresh.id)).toEqual({ batches: 0, commands: 0 });
    expect((await desk.get(fresh.id)).state).toBe('canceled');
  });

  it('while its command waits for an agent that is away: it never starts', async () => {
    const task = await create({ goal: 'run `echo x`', target: { agentId: 'away' } });
    await desk.approve(task.id, 1);
    expect((await desk.step(task.id, 1)).commands[0]?.state).toBe('queued');
    expect((await desk.cancel(task.id, 'no longer needed')).state).toBe('canceled');
    expect((await desk.step(task.id, 1)).commands[0]).toMatchObject({
      state: 'canceled',
      reason: 'no longer needed',
      startedAt: null,
      exitCode: null,
    });
    expect(await untilClosed(task)).toBe('COMPLETED');
  });

  it('while it runs: the whole tree is dead, and the task ends with the outcome on record', async () => {
    const { task, commandId } = await startStubborn();
    const first = await desk.cancel(task.id, 'stop it');
    expect(first).toMatchObject({ state: 'running', cancelRequestedAt: expect.any(String) });
    const second = await desk.cancel(task.id, 'stop it twice');
    expect(second.cancelRequestedAt).toBe(first.cancelRequestedAt);
    expect(await desk.untilEnded(task.id)).toMatchObject({
      state: 'canceled',
      result: { reason: 'canceled', summary: 'stop it' },
    });
    expect(survivorsOf(commandId)).toEqual([]);
    expect((await desk.step(task.id, 1)).commands[0]).toMatchObject({ state: 'canceled' });
    expect(await untilClosed(task)).toBe('COMPLETED');
    expect((await desk.cancel(task.id)).state).toBe('canceled');
    const audits = (await desk.audit(task.id)).map(({ action }) => action);
    expect(audits.filter((action) => action === 'task.cancel')).toHaveLength(1);
    expect(audits.filter((action) => action === 'task.canceled')).toHaveLength(1);
  });

  it('an ended task cannot be canceled', async () => {
    const task = await create({ goal: 'run `true`', mode: 'auto', preApproved: ['true'] });
    await desk.untilEnded(task.id);
    const reply = await system.request('POST', `/v1/tasks/${task.id}/cancel`, {});
    expect(reply).toMatchObject({ status: 409, body: { code: 'task_not_open' } });
  });

  it('cancel and approve at once: it either runs and is stopped, or never starts', async () => {
    for (let round = 0; round < 4; round++) {
      const task = await create({ goal: 'run `sleep 30`' });
      const { digest } = await desk.untilProposed(task.id, 1);
      const [approval, cancel] = await Promise.all([
        desk.decide(task.id, { decision: 'approve', step: 1, digest }),
        system.request('POST', `/v1/tasks/${task.id}/cancel`, {}),
      ]);
      expect(cancel.status).toBe(200);
      expect((await desk.untilEnded(task.id)).state).toBe('canceled');
      const [command] = (await desk.step(task.id, 1)).commands;
      if (approval.status === 200) expect(command?.state).toBe('canceled');
      else expect([approval.status, command]).toEqual([409, undefined]);
    }
  });
});

describe('from the side of Temporal', () => {
  it('while it waits for a decision', async () => {
    const task = await create({ goal: 'run `echo x`' });
    const step = await desk.untilProposed(task.id, 1);
    await workflow(task).cancel();
    expect(await desk.untilEnded(task.id)).toMatchObject({
      state: 'canceled',
      result: { reason: 'canceled', summary: 'canceled in Temporal' },
    });
    expect(await untilClosed(task)).toBe('CANCELLED');
    const late = await desk.decide(task.id, { decision: 'approve', step: 1, digest: step.digest });
    expect(late.status).toBe(409);
  });

  it('while it runs: the tree is dead before the workflow says so', async () => {
    const { task, commandId } = await startStubborn();
    await workflow(task).cancel();
    expect(await untilClosed(task)).toBe('CANCELLED');
    expect(survivorsOf(commandId)).toEqual([]);
    expect(await desk.get(task.id)).toMatchObject({ state: 'canceled' });
    expect((await desk.step(task.id, 1)).commands[0]).toMatchObject({ state: 'canceled' });
  });

  it('while its command waits for an agent that is away, and while nobody asked for a step', async () => {
    const queued = await create({ goal: 'run `echo x`', target: { agentId: 'away' } });
    const manual = await create({ goal: 'run `echo x`', mode: 'manual' });
    await desk.approve(queued.id, 1);
    await Promise.all([workflow(queued).cancel(), workflow(manual).cancel()]);
    expect((await desk.untilEnded(queued.id)).state).toBe('canceled');
    expect((await desk.untilEnded(manual.id)).state).toBe('canceled');
    expect((await desk.step(queued.id, 1)).commands[0]?.state).toBe('canceled');
  });
});
