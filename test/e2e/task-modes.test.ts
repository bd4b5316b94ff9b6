/** A task from words to an outcome, in each mode, over HTTP, Temporal and a real agent. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StepView, TaskView, TimelineItem } from '../../contracts/tasks.ts';
import { type System, startSystem, type TestAgent } from '../support/system.ts';

let system: System;
let agent: TestAgent;

beforeAll(async () => {
  system = await startSystem();
  agent = await system.startAgent({ agentId: 'worker-1' });
});
afterAll(() => system.close());

const create = (body: Record<string, unknown>) =>
  system.call<TaskView>('POST', '/v1/tasks', { target: { agentId: agent.agentId }, ...body });
const steps = async (id: string) =>
  (await system.call<{ items: StepView[] }>('GET', `/v1/tasks/${id}/steps`)).items;
const waitForProposal = async (id: string, step: number) => {
  await system.untilTask(id, (task) => task.state === 'awaiting_decision' && task.step === step);
  const found = (await steps(id)).find((candidate) => candidate.step === step);
  if (found === undefined) throw new Error(`no step ${step}`);
  return found;
};

describe('supervised', () => {
  it('waits for a decision, runs exactly what was approved, and ends with the model’s judgement', async () => {
    const task = await create({ goal: 'run `echo hello` then `echo done`' });
    const first = await waitForProposal(task.id, 1);
    expect(first).toMatchObject({ text: 'echo hello', origin: 'model', mock: true, risk: { label: 'safe' } });
    await system.call('POST', `/v1/tasks/${task.id}/decide`, {
      decision: 'approve',
      step: 1,
      digest: first.digest,
    });
    const second = await waitForProposal(task.id, 2);
    await system.call('POST', `/v1/tasks/${task.id}/decide`, {
      decision: 'approve',
      step: 2,
      digest: second.digest,
    });
    const ended = await system.untilTask(task.id, (row) => row.endedAt !== null);
    expect(ended).toMatchObject({ state: 'completed', result: { success: true } });
    expect(ended.seal).toMatch(/^[0-9a-f]{64}$/);
    const timeline = await system.call<{ items: TimelineItem[] }>('GET', `/v1/tasks/${task.id}/timeline`);
    expect(timeline.items.map((item) => item.type)).toEqual([
      'created',
      'proposed',
      'approve',
      'started',
      'succeeded',
      'proposed',
      'approve',
      'started',
      'succeeded',
      'completed',
    ]);
  });
});

describe('auto', () => {
  it('runs a literally pre-approved command undecided', async () => {
    const task = await create({ goal: 'run `true`', mode: 'auto', preApproved: ['true'] });
    const ended = await system.untilTask(task.id, (row) => row.endedAt !== null);
    expect(ended.state).toBe('completed');
    const [step] = await steps(task.id);
    expect(step).toMatchObject({
      decision: 'approve',
      decidedBy: { name: 'admin' },
      commands: [{ state: 'succeeded', exitCode: 0 }],
    });
  });

  it('waits for a decision on anything else', async () => {
    const task = await create({ goal: 'run `id`', mode: 'auto', preApproved: ['true'] });
    const proposal = await waitForProposal(task.id, 1);
    expect(proposal.decision).toBeNull();
    await system.call('POST', `/v1/tasks/${task.id}/cancel`, {});
    await system.untilTask(task.id, (row) => row.state === 'canceled');
  });
});

describe('manual', () => {
  it('does each phase only when asked', async () => {
    const task = await create({ goal: 'run `echo by hand`', mode: 'manual' });
    const { step } = await system.call<{ step: StepView }>('POST', `/v1/tasks/${task.id}/propose`, {});
    expect(step).toMatchObject({ step: 1, text: 'echo by hand', decision: null });
    await system.call('POST', `/v1/tasks/${task.id}/decide`, {
      decision: 'approve',
      step: 1,
      digest: step.digest,
    });
    expect((await steps(task.id))[0]).toMatchObject({ decision: 'approve', batchId: null });
    await system.call('POST', `/v1/tasks/${task.id}/execute`, {});
    await system.until(
      () => steps(task.id),
      (all) => all[0]?.commands[0]?.state === 'succeeded',
      'the command',
    );
    await system.call('POST', `/v1/tasks/${task.id}/propose`, {});
    const ended = await system.untilTask(task.id, (row) => row.endedAt !== null);
    expect(ended.state).toBe('completed');
  });

  it('runs a person’s own act as proposal and approval by that person', async () => {
    const task = await create({ goal: 'look around', mode: 'manual' });
    await system.call('POST', `/v1/tasks/${task.id}/execute`, { act: { argv: ['echo', 'mine'] } });
    const all = await system.until(
      () => steps(task.id),
      (list) => list[0]?.commands[0]?.state === 'succeeded',
      'the command',
    );
    expect(all[0]).toMatchObject({
      origin: 'person',
      author: { name: 'admin' },
      decision: 'approve',
      text: 'echo mine',
    });
    await system.call('POST', `/v1/tasks/${task.id}/cancel`, {});
  });
});
