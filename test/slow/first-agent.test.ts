/** A task from before there was any agent finds the first one by itself, when it looks again after ten seconds. */
import { expect, it } from 'vitest';
import { startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

it('none enrolled: waits and says so, goes on when there is one', async () => {
  const system = await startSystem();
  try {
    const desk = deskOf(system);
    const task = await desk.create({ goal: 'run `echo x`' });
    await system.untilTask(task.id, (row) => row.waitingReason === 'no_agent');
    await system.startAgent({ agentId: 'first' });
    const step = await desk.untilProposed(task.id, 1);
    expect(step.agentIds).toEqual(['first']);
    expect(await desk.get(task.id)).toMatchObject({ agentId: 'first', waitingReason: null });
    await desk.approve(task.id, 1);
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
  } finally {
    await system.close();
  }
});
