/** A task from words to an outcome, in each mode, over HTTP, Temporal and a real agent. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StepView } from '../../contracts/tasks.ts';
import { type System, startSystem, type TestAgent } from '../support/system.ts';
import { type Desk, deskOf, type EffectFile, openEffectFile } from '../support/tasks.ts';

let system: System;
let desk: Desk;
let agent: TestAgent;
let effects: EffectFile;

beforeAll(async () => {
  effects = openEffectFile();
  system = await startSystem();
  desk = deskOf(system);
  agent = await system.startAgent({ agentId: 'worker-1' });
});
afterAll(async () => {
  effects.close();
  await system.close();
});

const create = (body: Record<string, unknown>) =>
  desk.create({ target: { agentId: agent.agentId }, ...body });

describe('supervised', () => {
  it('waits for a decision, runs exactly what was approved, and ends with the model’s judgement', async () => {
    const task = await create({ goal: 'run `echo hello` then `echo done`' });
    expect(task).toMatchObject({ mode: 'supervised', state: 'created', step: 0, seal: null });
    const first = await desk.approve(task.id, 1);
    expect(first).toMatchObject({ text: 'echo hello', origin: 'model', mock: true, risk: { label: 'safe' } });
    await desk.approve(task.id, 2);
    const ended = await desk.untilEnded(task.id);
    expect(ended).toMatchObject({ state: 'completed', result: { success: true, reason: null } });
    expect(ended.result?.summary).toContain('"echo hello" ended with exit code 0 and printed "hello"');
    expect((await desk.timeline(task.id)).map((item) => item.type)).toEqual([
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

  it('shows the model what failed, and takes its judgement', async () => {
    const task = await create({ goal: 'run `ls /nowhere-at-all`' });
    await desk.approve(task.id, 1);
    const ended = await desk.untilEnded(task.id);
    expect(ended).toMatchObject({ state: 'failed', result: { success: false, reason: 'goal_not_reached' } });
    expect(ended.result?.summary).toContain('nowhere-at-all');
  });
});

describe('supervised, with a hand in it', () => {
  it('an own act overtakes the proposal of the model, which then looks at its outcome', async () => {
    const task = await create({ goal: 'run `echo theirs`' });
    await desk.untilProposed(task.id, 1);
    await system.call('POST', `/v1/tasks/${task.id}/execute`, { act: { command: effects.mark('own') } });
    const ended = await desk.untilEnded(task.id);
    const steps = await desk.steps(task.id);
    expect(steps.map(({ decision, origin }) => [decision, origin])).toEqual([
      ['void', 'model'],
      ['approve', 'person'],
    ]);
    expect(ended).toMatchObject({ state: 'completed', step: 2 });
    expect(effects.lines().filter((line) => line === 'own')).toHaveLength(1);
  });

  it('own acts one after the other: never two at once', async () => {
    const task = await create({ goal: 'look around', mode: 'manual' });
    const execute = (line: string) =>
      system.request<StepView>('POST', `/v1/tasks/${task.id}/execute`, {
        act: { command: `${effects.mark(line)}; sleep 0.5` },
      });
    const replies = await Promise.all(['p', 'q', 'r', 's'].map(execute));
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409]);
    await desk.untilCommand(task.id, 1, 'succeeded');
    expect((await execute('t')).body).toMatchObject({ step: 2, origin: 'person' });
    await desk.untilCommand(task.id, 2, 'succeeded');
    expect(effects.lines().filter((line) => 'pqrst'.includes(line))).toHaveLength(2);
    await desk.cancel(task.id);
  });
});

describe('auto', () => {
  it('runs literally pre-approved commands undecided', async () => {
    const commands = [effects.mark('a'), effects.mark('b')];
    const goal = `run \`${commands[0]}\` then \`${commands[1]}\``;
    const task = await create({ goal, mode: 'auto', preApproved: commands });
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
    expect(effects.lines().filter((line) => line === 'a' || line === 'b')).toEqual(['a', 'b']);
    const steps = await desk.steps(task.id);
    expect(steps).toHaveLength(2);
    expect(steps[0]).toMatchObject({
      decision: 'approve',
      decidedBy: { name: 'admin' },
      decisionReason: 'pre-approved on the task',
      commands: [{ state: 'succeeded', exitCode: 0 }],
    });
  });

  it('runs instances of saved commands that are marked so, byte for byte, and names them', async () => {
    await system.call('POST', '/v1/saved-commands', {
      name: 'greet',
      scripts: { sh: 'echo "$times"' },
      parameters: [{ name: 'times', type: 'integer' }],
      autoApprove: true,
    });
    const instance = `times='3'\necho "$times"`;
    const other = instance.replace('3', 'many');
    const task = await create({ goal: `run \`${instance}\` then \`${other}\``, mode: 'auto' });
    await desk.untilProposed(task.id, 2);
    const [first, second] = await desk.steps(task.id);
    expect(first).toMatchObject({ decision: 'approve', decidedBy: { name: 'admin' }, text: instance });
    expect(first?.decisionReason).toMatch(/^saved command greet \(.+, revision 1\)$/);
    expect(second).toMatchObject({ decision: null, text: other });
    await desk.cancel(task.id);
  });

  it('waits for a decision on anything else', async () => {
    const task = await create({ goal: 'run `true ` then `id`', mode: 'auto', preApproved: ['true'] });
    await desk.untilProposed(task.id, 2);
    const [first, second] = await desk.steps(task.id);
    expect(first).toMatchObject({ decision: 'approve' });
    expect(second).toMatchObject({ decision: null, commands: [] });
    await desk.cancel(task.id);
    expect((await desk.untilEnded(task.id)).state).toBe('canceled');
  });

  it('waits for a decision when the bytes differ from the pre-approved ones by a blank', async () => {
    const task = await create({ goal: 'run `echo  x`', mode: 'auto', preApproved: ['echo x'] });
    expect(await desk.untilProposed(task.id, 1)).toMatchObject({ text: 'echo  x', decision: null });
    await desk.cancel(task.id);
  });
});

describe('manual', () => {
  it('does each phase only when asked', async () => {
    const task = await create({ goal: 'run `echo by hand`', mode: 'manual' });
    const step = await system.call<StepView>('POST', `/v1/tasks/${task.id}/propose`, {});
    expect(step).toMatchObject({ step: 1, text: 'echo by hand', decision: null });
    await desk.approve(task.id, 1);
    expect(await desk.step(task.id, 1)).toMatchObject({ decision: 'approve', batchId: null });
    expect(await desk.counts(task.id)).toEqual({ batches: 0, commands: 0 });
    await system.call('POST', `/v1/tasks/${task.id}/execute`, { digest: step.digest });
    await desk.untilCommand(task.id, 1, 'succeeded');
    const last = await system.request('POST', `/v1/tasks/${task.id}/propose`, {});
    expect(last).toMatchObject({ status: 202, body: { state: 'completed' } });
  });

  it('runs a person’s own act as proposal and approval by that person, and goes on from there', async () => {
    const task = await create({ goal: 'run `echo theirs`', mode: 'manual' });
    await system.call('POST', `/v1/tasks/${task.id}/execute`, { act: { argv: ['echo', 'mine'] } });
    expect(await desk.untilCommand(task.id, 1, 'succeeded')).toMatchObject({
      origin: 'person',
      author: { name: 'admin' },
      decision: 'approve',
      text: 'echo mine',
    });
    // The mock takes the outcome of the first step as that of its own first command.
    const last = await system.request('POST', `/v1/tasks/${task.id}/propose`, {});
    expect(last).toMatchObject({ status: 202, body: { state: 'completed', step: 1 } });
  });

  it('an own act overtakes an open proposal, which is void', async () => {
    const task = await create({ goal: 'run `echo theirs`', mode: 'manual' });
    const proposal = await system.call<StepView>('POST', `/v1/tasks/${task.id}/propose`, {});
    await system.call('POST', `/v1/tasks/${task.id}/execute`, { act: { command: 'echo mine' } });
    await desk.untilCommand(task.id, 2, 'succeeded');
    expect(await desk.step(task.id, 1)).toMatchObject({ decision: 'void', commands: [] });
    const late = await desk.decide(task.id, { decision: 'approve', step: 1, digest: proposal.digest });
    expect(late).toMatchObject({ status: 409, body: { code: 'already_decided' } });
    await desk.cancel(task.id);
  });
});
