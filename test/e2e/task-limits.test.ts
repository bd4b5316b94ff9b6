/** A task ends at its limits: steps and deadline. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type System, startSystem } from '../support/system.ts';
import { type Desk, deskOf } from '../support/tasks.ts';

let system: System;
let desk: Desk;

beforeAll(async () => {
  system = await startSystem();
  desk = deskOf(system);
  await system.startAgent({ agentId: 'web-1' });
});
afterAll(() => system.close());

describe('limits', () => {
  it('fails when its steps are used up', async () => {
    const task = await desk.create({
      goal: 'run `true` then `true` then `true`',
      mode: 'auto',
      preApproved: ['true'],
      maxSteps: 2,
      target: { agentId: 'web-1' },
    });
    expect(await desk.untilEnded(task.id)).toMatchObject({
      state: 'failed',
      step: 2,
      result: { success: false, reason: 'max_steps', summary: 'not finished after 2 steps' },
    });
  });

  it('expires at its deadline while it waits for a decision, and while it waits for an agent', async () => {
    const [waiting, placeless] = await Promise.all([
      desk.create({ goal: 'run `true`', deadlineMs: 2_000, target: { agentId: 'web-1' } }),
      desk.create({ goal: 'run `true`', deadlineMs: 2_000, target: { tags: ['mars'] } }),
    ]);
    for (const task of [waiting, placeless]) {
      expect(await desk.untilEnded(task.id)).toMatchObject({
        state: 'expired',
        result: { success: false, reason: 'deadline', summary: 'the deadline of the task has passed' },
      });
    }
    const step = await desk.step(waiting.id, 1);
    expect(step).toMatchObject({ decision: 'expire', expiresAt: waiting.deadlineAt });
  });

  it('at its deadline a running command is stopped first', async () => {
    const task = await desk.create({
      goal: 'run `sleep 30`',
      mode: 'auto',
      preApproved: ['sleep 30'],
      deadlineMs: 2_000,
      target: { agentId: 'web-1' },
    });
    expect(await desk.untilEnded(task.id)).toMatchObject({
      state: 'expired',
      result: { success: false, reason: 'deadline' },
    });
    expect((await desk.step(task.id, 1)).commands[0]?.state).toBe('canceled');
  });
});
