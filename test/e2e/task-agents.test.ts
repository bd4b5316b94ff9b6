/** On which agent a task runs: by id, by tag, the least busy, none yet, another one. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type System, startSystem } from '../support/system.ts';
import { type Desk, deskOf } from '../support/tasks.ts';

let system: System;
let desk: Desk;

beforeAll(async () => {
  system = await startSystem();
  desk = deskOf(system);
});
afterAll(() => system.close());

const assign = (id: string, agentId: string) => system.request('POST', `/v1/tasks/${id}/assign`, { agentId });

describe('agents', () => {
  it('none enrolled: waits and says so, and can be canceled', async () => {
    const task = await desk.create({ goal: 'run `echo x`' });
    await system.untilTask(task.id, (row) => row.waitingReason === 'no_agent');
    await desk.cancel(task.id);
    expect((await desk.untilEnded(task.id)).state).toBe('canceled');
  });

  it('takes the only one there is', async () => {
    await system.startAgent({ agentId: 'first' });
    const task = await desk.create({ goal: 'run `echo x`' });
    const step = await desk.untilProposed(task.id, 1);
    expect(step.agentIds).toEqual(['first']);
    expect(await desk.get(task.id)).toMatchObject({ agentId: 'first', waitingReason: null });
    await desk.approve(task.id, 1);
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
  });

  it('takes the least busy of those that have all tags', async () => {
    for (const agentId of ['web-1', 'web-2', 'db-1']) await system.startAgent({ agentId });
    for (const [agentId, tags] of [
      ['web-1', ['web', 'eu']],
      ['web-2', ['web', 'eu']],
      ['db-1', ['eu']],
    ] as const)
      await system.call('PATCH', `/v1/agents/${agentId}`, { tags });
    const placed: (string | undefined)[] = [];
    for (let count = 0; count < 4; count++) {
      const task = await desk.create({ goal: 'run `echo x`', target: { tags: ['web', 'eu'] } });
      placed.push((await desk.untilProposed(task.id, 1)).agentIds[0]);
    }
    expect(placed.toSorted()).toEqual(['web-1', 'web-1', 'web-2', 'web-2']);
    const any = await desk.create({ goal: 'run `echo x`', target: { any: true } });
    const [chosen] = (await desk.untilProposed(any.id, 1)).agentIds;
    expect(['first', 'db-1']).toContain(chosen);
    const nobody = await desk.create({ goal: 'run `echo x`', target: { tags: ['web', 'mars'] } });
    await system.untilTask(nobody.id, (row) => row.waitingReason === 'no_agent');
    await desk.cancel(nobody.id);
  });

  it('a command for an agent that is away runs when it returns', async () => {
    const identity = await system.enrol('later');
    const task = await desk.create({ goal: 'run `echo x`', target: { agentId: 'later' } });
    await desk.approve(task.id, 1);
    expect((await desk.step(task.id, 1)).commands[0]?.state).toBe('queued');
    await system.startAgent({ agentId: 'later', token: identity.agentToken });
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
  });

  it('a command nobody fetched in time expires, and the model is told', async () => {
    await system.enrol('never');
    const task = await desk.create({ goal: 'run `echo x`', target: { agentId: 'never' }, expiryMs: 1_000 });
    await desk.approve(task.id, 1);
    const ended = await desk.untilEnded(task.id);
    expect((await desk.step(task.id, 1)).commands[0]).toMatchObject({ state: 'expired', startedAt: null });
    expect(ended).toMatchObject({ state: 'failed' });
    expect(ended.result?.summary).toContain('ended as expired');
  });
});

describe('reassign', () => {
  it('voids the open proposal; the next one is for the new agent', async () => {
    const task = await desk.create({ goal: 'run `echo x`', target: { agentId: 'web-1' } });
    const first = await desk.untilProposed(task.id, 1);
    expect(await assign(task.id, 'web-2')).toMatchObject({
      status: 200,
      body: { agentId: 'web-2', target: { agentId: 'web-2' } },
    });
    expect(await desk.step(task.id, 1)).toMatchObject({ decision: 'void', commands: [] });
    const late = await desk.decide(task.id, { decision: 'approve', step: 1, digest: first.digest });
    expect(late).toMatchObject({ status: 409, body: { code: 'already_decided' } });
    const second = await desk.untilProposed(task.id, 2);
    expect(second).toMatchObject({ agentIds: ['web-2'], text: 'echo x' });
    expect(second.digest).not.toBe(first.digest);
    await desk.approve(task.id, 2);
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
    expect((await desk.step(task.id, 2)).commands[0]).toMatchObject({ agentId: 'web-2', state: 'succeeded' });
  });

  it('is refused while a command is out, and for agents that are not there', async () => {
    const task = await desk.create({ goal: 'run `sleep 30`', target: { agentId: 'web-1' } });
    await desk.approve(task.id, 1);
    await desk.untilCommand(task.id, 1, 'running');
    expect(await assign(task.id, 'web-2')).toMatchObject({ status: 409, body: { code: 'command_running' } });
    expect(await assign(task.id, 'nobody')).toMatchObject({ status: 404, body: { code: 'agent_not_found' } });
    expect((await desk.get(task.id)).agentId).toBe('web-1');
    await desk.cancel(task.id);
    await desk.untilEnded(task.id);
    expect(await assign(task.id, 'web-2')).toMatchObject({ status: 409, body: { code: 'task_not_open' } });
  });

  it('against an approval at the same time: the command runs on the agent it was approved for, or not at all', async () => {
    for (let round = 0; round < 3; round++) {
      const task = await desk.create({ goal: 'run `echo x`', target: { agentId: 'web-1' } });
      const { digest } = await desk.untilProposed(task.id, 1);
      const [approval, assigned] = await Promise.all([
        desk.decide(task.id, { decision: 'approve', step: 1, digest }),
        assign(task.id, 'web-2'),
      ]);
      const agents = (await desk.step(task.id, 1)).commands.map(({ agentId }) => agentId);
      expect(agents).toEqual(approval.status === 200 ? ['web-1'] : []);
      if (approval.status !== 200) expect(assigned.status).toBe(200);
      await system.request('POST', `/v1/tasks/${task.id}/cancel`, {});
    }
  });
});

describe('an agent is revoked', () => {
  const revoke = (agentId: string) => system.call('POST', `/v1/agents/${agentId}/revoke`);

  it('while its proposal waits: it cannot be approved, and the next one fails the task', async () => {
    await system.enrol('gone-1');
    const task = await desk.create({ goal: 'run `echo x`', target: { agentId: 'gone-1' } });
    const { digest } = await desk.untilProposed(task.id, 1);
    await revoke('gone-1');
    const approval = await desk.decide(task.id, { decision: 'approve', step: 1, digest });
    expect(approval).toMatchObject({ status: 403, body: { code: 'agent_revoked' } });
    expect(await desk.step(task.id, 1)).toMatchObject({ decision: null, commands: [] });
    const rejection = { decision: 'reject', step: 1, digest, reason: 'it is gone' };
    expect((await desk.decide(task.id, rejection)).status).toBe(200);
    expect(await desk.untilEnded(task.id)).toMatchObject({
      state: 'failed',
      result: { reason: 'agent_revoked', summary: 'the agent of this task has been revoked' },
    });
  });

  it('while its proposal waits: the task can be moved to another', async () => {
    await system.enrol('gone-2');
    const task = await desk.create({ goal: 'run `echo x`', target: { agentId: 'gone-2' } });
    await desk.untilProposed(task.id, 1);
    await revoke('gone-2');
    expect((await assign(task.id, 'first')).status).toBe(200);
    await desk.approve(task.id, 2);
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
  });

  it('while its command is queued: the command is rejected, the task goes on to fail', async () => {
    await system.enrol('gone-3');
    const task = await desk.create({ goal: 'run `echo x`', target: { agentId: 'gone-3' } });
    await desk.approve(task.id, 1);
    await revoke('gone-3');
    expect(await desk.untilEnded(task.id)).toMatchObject({
      state: 'failed',
      result: { reason: 'agent_revoked' },
    });
    expect((await desk.step(task.id, 1)).commands[0]).toMatchObject({
      state: 'rejected',
      reason: 'agent_revoked',
    });
  });
});
