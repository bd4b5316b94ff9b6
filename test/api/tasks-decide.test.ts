import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StepView, TaskView, TimelineItem } from '../../contracts/tasks.ts';
import { expireApproval } from '../../domain/tasks/engine.ts';
import { done, type House, startHouse } from '../support/house.ts';
import { readAudit } from '../support/identity.ts';

let house: House;
beforeAll(async () => {
  house = await startHouse();
});
afterAll(() => house.close());

type Problem = { code?: string };
const post = <Body = TaskView>(path: string, body?: unknown, options = {}) =>
  house.ask<Body & Problem>('POST', `/v1/tasks/${path}`, body, options);
const decide = (taskId: string, body: object, options = {}) =>
  post<StepView>(`${taskId}/decide`, body, options);
const steps = async (taskId: string) =>
  (await house.ask<{ items: StepView[] }>('GET', `/v1/tasks/${taskId}/steps`)).body.items;
const signalsTo = async (taskId: string) =>
  (
    await house
      .db('outbox')
      .where({ workflow_id: `task/${taskId}/1`, kind: 'signal' })
      .orderBy('id')
  ).map(({ payload }) => payload);

/** A task on an agent of its own with an undecided first step. */
async function proposed(wish: object = {}): Promise<{ task: TaskView; step: StepView; agentId: string }> {
  const agentId = await house.addAgent();
  const task = await house.createTask({ target: { agentId }, ...wish });
  await house.propose(task.id, 1);
  const [step] = await steps(task.id);
  if (step === undefined) throw new Error('no step');
  return { task, step, agentId };
}

describe('approve', () => {
  it('runs exactly what was approved, and repeats the answer to the same principal', async () => {
    const { task, step, agentId } = await proposed();
    const approval = { decision: 'approve', step: 1, digest: step.digest, reason: 'fine' };
    const first = await decide(task.id, approval);
    expect(first.status).toBe(200);
    expect(first.body).toMatchObject({
      decision: 'approve',
      decisionReason: 'fine',
      decidedBy: { id: 'ada' },
      digest: step.digest,
      commands: [{ agentId, state: 'queued', text: 'ls -l', shell: 'sh', taskId: task.id, step: 1 }],
    });
    expect(await decide(task.id, approval)).toMatchObject({ status: 200, body: first.body });
    expect(await decide(task.id, approval, { as: 'admin:eve' })).toMatchObject({
      status: 409,
      body: { code: 'already_decided' },
    });
    expect(await signalsTo(task.id)).toEqual([
      { name: 'decided', arg: { step: 1, then: 'run', batchId: first.body.batchId } },
    ]);
  });

  it('is refused for another digest, and the denial is on record', async () => {
    const { task, step } = await proposed();
    const stale = { decision: 'approve', step: 1, digest: 'f'.repeat(64) };
    expect(await decide(task.id, stale)).toMatchObject({ status: 409, body: { code: 'stale_digest' } });
    const denials = await readAudit(house.db, 'step.approve');
    expect(denials).toContainEqual(
      expect.objectContaining({ outcome: 'denied', target_id: `${task.id}/1/1`, principal_id: 'ada' }),
    );
    expect((await steps(task.id))[0]).toMatchObject({ decision: null, commands: [] });
    expect(await decide(task.id, { ...stale, step: 2 })).toMatchObject({ body: { code: 'step_not_found' } });
    expect((await decide(task.id, { ...stale, digest: step.digest.toUpperCase() })).status).toBe(422);
    expect((await decide(task.id, stale, { as: 'user:uma' })).status).toBe(403);
  });

  it('twenty parallel approvals make one batch', async () => {
    const { task, step } = await proposed();
    const approval = { decision: 'approve', step: 1, digest: step.digest };
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        decide(task.id, approval, { as: index % 2 === 0 ? 'admin:ada' : `operator:op${index}` }),
      ),
    );
    const winners = new Set(
      answers.filter(({ status }) => status === 200).map(({ body }) => body.decidedBy?.id),
    );
    expect(winners.size).toBe(1);
    expect(
      answers.filter(({ status }) => status === 409).every(({ body }) => body.code === 'already_decided'),
    ).toBe(true);
    expect(answers.filter(({ status }) => status === 200).length).toBe(winners.has('ada') ? 10 : 1);
    const batches = await house.db('batches').where({ task_id: task.id });
    const commands = await house.db('commands').where({ task_id: task.id });
    expect([batches.length, commands.length, (await signalsTo(task.id)).length]).toEqual([1, 1, 1]);
    const audits = await readAudit(house.db, 'step.approve');
    expect(
      audits.filter((row) => row.target_id === `${task.id}/1/1` && row.outcome === 'success'),
    ).toHaveLength(1);
  });

  it('comes too late when the time is over, whoever notices first', async () => {
    const { task, step } = await proposed();
    const approval = { decision: 'approve', step: 1, digest: step.digest };
    await house
      .db('steps')
      .update({ expires_at: new Date(0) })
      .where({ task_id: task.id });
    expect(await decide(task.id, approval)).toMatchObject({
      status: 409,
      body: { code: 'approval_expired' },
    });
    const ref = { taskId: task.id, runNo: 1, step: 1 };
    expect(await expireApproval(house.deps, ref)).toEqual({ kind: 'ended', end: 'expired' });
    expect(await decide(task.id, approval)).toMatchObject({
      status: 409,
      body: { code: 'approval_expired' },
    });
    expect((await house.ask<TaskView>('GET', `/v1/tasks/${task.id}`)).body).toMatchObject({
      state: 'expired',
      result: { reason: 'approval_timeout' },
    });
  });
});

describe('reject', () => {
  it('asks for another proposal, or ends the task', async () => {
    const { task, step } = await proposed();
    expect((await decide(task.id, { decision: 'reject', step: 1, digest: step.digest })).status).toBe(422);
    const rejection = { decision: 'reject', step: 1, digest: step.digest, reason: 'too broad' };
    expect((await decide(task.id, rejection)).body).toMatchObject({
      decision: 'reject',
      decisionReason: 'too broad',
      commands: [],
    });
    expect((await decide(task.id, rejection)).status).toBe(200);
    // Ending the task is another decision.
    expect((await decide(task.id, { ...rejection, final: true })).body.code).toBe('already_decided');
    expect(await signalsTo(task.id)).toEqual([
      { name: 'decided', arg: { step: 1, then: 'again', batchId: null } },
    ]);

    await house.propose(task.id, 2, { command: 'ls src' });
    const second = (await steps(task.id))[1];
    const final = { decision: 'reject', step: 2, digest: second?.digest, reason: 'enough', final: true };
    expect((await decide(task.id, final)).status).toBe(200);
    expect((await decide(task.id, final)).status).toBe(200);
    expect((await decide(task.id, { ...final, final: false })).body.code).toBe('already_decided');
    expect((await house.ask<TaskView>('GET', `/v1/tasks/${task.id}`)).body).toMatchObject({
      state: 'canceled',
      result: { summary: 'enough', reason: 'rejected' },
    });
    expect(await house.propose(task.id, 3)).toEqual({ kind: 'ended', end: 'canceled' });
  });
});

describe('edit', () => {
  it('runs the edited bytes, by the editor, under a new digest and label', async () => {
    const { task, step } = await proposed();
    const act = { command: 'rm -rf / # boom', environment: { A: '1' } };
    const change = { decision: 'edit', step: 1, digest: step.digest, act, reason: 'mine' };
    const edited = await decide(task.id, change);
    expect(edited.status).toBe(200);
    expect(edited.body).toMatchObject({
      decision: 'edit',
      text: 'rm -rf / # boom',
      originalText: 'ls -l',
      author: { id: 'ada' },
      origin: 'person',
      shell: 'sh',
      timeoutMs: step.timeoutMs,
      risk: { label: 'dangerous' },
      commands: [{ text: 'rm -rf / # boom' }],
    });
    expect(edited.body.digest).not.toBe(step.digest);

    expect(await decide(task.id, change)).toMatchObject({ status: 200, body: edited.body });
    const another = await decide(task.id, { ...change, act: { ...act, command: 'ls' } });
    expect(another).toMatchObject({ status: 409, body: { code: 'already_decided' } });
    expect((await decide(task.id, { ...change, digest: edited.body.digest })).body.code).toBe(
      'already_decided',
    );

    const { body } = await house.ask<{ items: TimelineItem[] }>('GET', `/v1/tasks/${task.id}/timeline`);
    expect(body.items.slice(0, 3)).toMatchObject([
      { type: 'created', actor: { id: 'ada' } },
      { type: 'proposed', actor: { kind: 'model', id: 'scripted' }, summary: 'ls -l' },
      { type: 'edit', actor: { id: 'ada' }, summary: 'rm -rf / # boom' },
    ]);
  });

  it('points into the act when it cannot be', async () => {
    const { task, step } = await proposed();
    const change = (act: object) => decide(task.id, { decision: 'edit', step: 1, digest: step.digest, act });
    const pointers = async (act: object) =>
      ((await change(act)).body as unknown as { errors: { pointer: string }[] }).errors.map(
        ({ pointer }) => pointer,
      );
    expect(await pointers({ command: 'ls', argv: ['ls'] })).toEqual(['/act/command']);
    expect(await pointers({ command: 'ls', timeoutMs: 300_001 })).toEqual(['/act/timeoutMs']);
    expect(await pointers({ command: ' ' })).toEqual(['/act/command']);
    expect(await pointers({ argv: ['ls'], environment: { 'a-b': '1' } })).toEqual(['/act/environment/a-b']);
    expect((await steps(task.id))[0]?.decision).toBeNull();
  });
});

describe('assign', () => {
  it('voids the open proposal: it was made for another machine', async () => {
    const { task, step } = await proposed();
    const target = await house.addAgent();
    const moved = await post(`${task.id}/assign`, { agentId: target });
    expect(moved.body).toMatchObject({ agentId: target, target: { agentId: target }, state: 'assigned' });
    expect((await post(`${task.id}/assign`, { agentId: target })).body).toEqual(moved.body);
    const voided = await decide(task.id, { decision: 'approve', step: 1, digest: step.digest });
    expect(voided).toMatchObject({ status: 409, body: { code: 'already_decided' } });
    expect(await signalsTo(task.id)).toEqual([
      { name: 'decided', arg: { step: 1, then: 'again', batchId: null } },
    ]);
    expect((await post(`${task.id}/assign`, { agentId: 'nobody' })).body.code).toBe('agent_not_found');

    await house.propose(task.id, 2);
    const next = (await steps(task.id))[1];
    await decide(task.id, { decision: 'approve', step: 2, digest: next?.digest });
    const running = await post(`${task.id}/assign`, { agentId: await house.addAgent() });
    expect(running).toMatchObject({ status: 409, body: { code: 'command_running' } });
  });

  it('wakes a task that waits for an agent, once', async () => {
    const task = await house.createTask({ target: { tags: ['on-the-moon'] } });
    expect(await house.propose(task.id, 1)).toMatchObject({ kind: 'waiting', reason: 'no_agent' });
    const agentId = await house.addAgent();
    await post(`${task.id}/assign`, { agentId });
    await post(`${task.id}/assign`, { agentId });
    expect(await signalsTo(task.id)).toEqual([{ name: 'assigned', arg: { agentId } }]);
    const given = await house.ask<TaskView>('GET', `/v1/tasks/${task.id}`);
    expect(given.body).toMatchObject({ agentId, waitingReason: null });
    expect(await house.propose(task.id, 1)).toMatchObject({ kind: 'awaiting', step: 1 });
  });
});

describe('manual mode', () => {
  it('propose waits for the proposal, and says when there is none yet', async () => {
    await house.addAgent();
    const task = await house.createTask({ mode: 'manual' });
    const early = await post(`${task.id}/propose`, { waitMs: 0 });
    expect(early).toMatchObject({ status: 202, body: { id: task.id, step: 0 } });
    const asking = post<StepView>(`${task.id}/propose`);
    await expect.poll(async () => (await signalsTo(task.id)).length).toBe(1);
    await house.propose(task.id, 1);
    expect(await asking).toMatchObject({ status: 200, body: { step: 1, text: 'ls -l', decision: null } });
    expect((await post<StepView>(`${task.id}/propose`)).body).toMatchObject({ step: 1 });
    expect(await signalsTo(task.id)).toEqual([{ name: 'proposeRequested', arg: { step: 1 } }]);
  });

  it('says no longer that it waits for an agent once an act of somebody is run on one', async () => {
    const tag = `late-${randomUUID()}`;
    const task = await house.createTask({ mode: 'manual', target: { tags: [tag] } });
    await post(`${task.id}/propose`, { waitMs: 0 });
    expect(await house.propose(task.id, 1)).toMatchObject({ kind: 'waiting', reason: 'no_agent' });
    await house.addAgent(undefined, { tags: [tag] });
    expect((await post(`${task.id}/execute`, { act: { command: 'ls' } })).status).toBe(200);
    const { body } = await house.ask<TaskView>('GET', `/v1/tasks/${task.id}`);
    expect(body).toMatchObject({ state: 'running', waitingReason: null });
  });

  it('propose ends its waiting when the task ends', async () => {
    const agentId = await house.addAgent();
    const task = await house.createTask({ mode: 'manual', target: { agentId } });
    const asking = post(`${task.id}/propose`);
    await expect.poll(async () => (await signalsTo(task.id)).length).toBe(1);
    await house.propose(task.id, 1, done(false, 'cannot'));
    expect(await asking).toMatchObject({
      status: 202,
      body: { state: 'failed', result: { summary: 'cannot' } },
    });
  });

  it('propose with one Idempotency-Key asks once', async () => {
    const { task, step } = await proposed({ mode: 'manual' });
    const headers = { 'Idempotency-Key': `propose-${task.id}` };
    expect((await post<StepView>(`${task.id}/propose`, undefined, { headers })).body.step).toBe(1);
    await decide(task.id, { decision: 'reject', step: 1, digest: step.digest, reason: 'no' });
    expect((await post<StepView>(`${task.id}/propose`, undefined, { headers })).body).toMatchObject({
      step: 1,
      decision: 'reject',
    });
    expect((await post(`${task.id}/propose`, { waitMs: 0 })).status).toBe(202);
    expect((await signalsTo(task.id)).at(-1)).toEqual({ name: 'proposeRequested', arg: { step: 2 } });
  });

  it('an approved step waits for execute', async () => {
    const { task, step } = await proposed({ mode: 'manual' });
    const approved = await decide(task.id, { decision: 'approve', step: 1, digest: step.digest });
    expect(approved.body).toMatchObject({ decision: 'approve', batchId: null, commands: [] });
    expect((await post(`${task.id}/propose`)).body.code).toBe('conflict');
    expect((await post(`${task.id}/assign`, { agentId: await house.addAgent() })).body.code).toBe('conflict');
    expect((await post(`${task.id}/execute`, { digest: 'f'.repeat(64) })).body.code).toBe('stale_digest');

    const executed = await post<StepView>(`${task.id}/execute`, { digest: step.digest });
    expect(executed).toMatchObject({ status: 200, body: { step: 1, commands: [{ state: 'queued' }] } });
    expect((await post(`${task.id}/execute`)).body.code).toBe('command_running');
    expect((await signalsTo(task.id)).map(({ arg }) => arg.then)).toEqual(['hold', 'run']);
  });
});

describe('execute', () => {
  it('approves the open proposal', async () => {
    const { task } = await proposed();
    const executed = await post<StepView>(`${task.id}/execute`, { reason: 'go' });
    expect(executed.body).toMatchObject({
      step: 1,
      decision: 'approve',
      decidedBy: { id: 'ada' },
      decisionReason: 'go',
      commands: [{ text: 'ls -l' }],
    });
  });

  it('runs an act of one’s own as proposal and approval, and once per Idempotency-Key', async () => {
    const { task, step, agentId } = await proposed();
    const own = { act: { argv: ['echo', 'a b'] }, reason: 'I know' };
    const headers = { 'Idempotency-Key': `execute-${task.id}` };
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => post<StepView>(`${task.id}/execute`, own, { headers })),
    );
    expect(answers.map(({ status, body }) => [status, body.step])).toEqual(Array(5).fill([200, 2]));
    expect(answers[0]?.body).toMatchObject({
      origin: 'person',
      author: { id: 'ada' },
      decidedBy: { id: 'ada' },
      text: "echo 'a b'",
      mode: 'argv',
      shell: null,
      model: null,
      agentIds: [agentId],
      commands: [{ text: "echo 'a b'" }],
    });
    expect((await steps(task.id))[0]).toMatchObject({ digest: step.digest, decision: 'void' });
    expect(await house.db('commands').where({ task_id: task.id })).toHaveLength(1);

    const agent = await house.connect(agentId);
    const [commandId = ''] = await agent.claim();
    await agent.start(commandId);
    await agent.finish(commandId);
    expect((await post<StepView>(`${task.id}/execute`, own, { headers })).body).toMatchObject({
      step: 2,
      commands: [{ state: 'succeeded' }],
    });
    expect((await post<StepView>(`${task.id}/execute`, own)).body).toMatchObject({ step: 3 });
  });

  it('says what is missing', async () => {
    const agentId = await house.addAgent();
    const task = await house.createTask({ target: { tags: ['no-such-tag'] } });
    expect((await post(`${task.id}/execute`)).body.code).toBe('no_proposal');
    expect(await post(`${task.id}/execute`, { act: { command: 'ls' } })).toMatchObject({
      status: 409,
      body: { code: 'no_agent' },
    });
    await house.db('agents').update({ revoked_at: new Date() }).where({ id: agentId });
    expect((await post(`${task.id}/assign`, { agentId })).body.code).toBe('agent_revoked');
  });
});

describe('cancel', () => {
  it('with a command out: told to stop now, ended when it has', async () => {
    const { task, step, agentId } = await proposed();
    await decide(task.id, { decision: 'approve', step: 1, digest: step.digest });
    const agent = await house.connect(agentId);
    const [commandId = ''] = await agent.claim();
    await agent.start(commandId);
    const asked = await post(`${task.id}/cancel`, { reason: 'stop it' });
    expect(asked.body).toMatchObject({ state: 'running', endedAt: null });
    expect(asked.body.cancelRequestedAt).not.toBeNull();
    expect((await post(`${task.id}/cancel`)).body).toEqual(asked.body);
    expect((await signalsTo(task.id)).at(-1)).toEqual({ name: 'ended', arg: { end: null } });

    await agent.finish(commandId, { exitCode: 1 });
    expect(await house.propose(task.id, 2)).toEqual({ kind: 'ended', end: 'canceled' });
    expect((await house.ask<TaskView>('GET', `/v1/tasks/${task.id}`)).body).toMatchObject({
      state: 'canceled',
      result: { summary: 'stop it', reason: 'canceled' },
    });
  });
});
