/** Tasks with a model behind the real SDK: what it is told, and every way in which it can fail. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LlmStub, type StubAnswer, startLlmStub } from '../support/llm-stub.ts';
import { connectScriptedAgent, startedFrame } from '../support/scripted-agent.ts';
import { type System, startSystem } from '../support/system.ts';
import { type Desk, deskOf, type EffectFile, openEffectFile } from '../support/tasks.ts';
import { withTemporal } from '../support/temporal.ts';

let stub: LlmStub;
let system: System;
let desk: Desk;
let effects: EffectFile;

beforeAll(async () => {
  effects = openEffectFile();
  stub = await startLlmStub();
  system = await startSystem({
    env: {
      ANTHROPIC_API_KEY: 'test-key',
      ANTHROPIC_BASE_URL: stub.url,
      ANTHROPIC_MODEL: 'claude-under-test',
      LLM_BUDGET_TASK_USD: '1',
      LLM_BUDGET_USER_DAY_USD: '1000',
      LLM_BUDGET_DAY_USD: '1000',
    },
  });
  desk = deskOf(system);
  await system.startAgent({ agentId: 'worker-1' });
});
afterAll(async () => {
  expect(stub.violations).toEqual([]);
  await system.close();
  await stub.close();
  effects.close();
});

const create = (body: Record<string, unknown> = {}) =>
  desk.create({ goal: 'tidy up', title: 'a chore', target: { agentId: 'worker-1' }, ...body });
const propose = (command: string): StubAnswer => ({ type: 'command', command });
const done: StubAnswer = { type: 'done', success: true, summary: 'all tidy' };
const lastQuestion = () => stub.requests.at(-1)?.body.messages[0]?.content ?? '';

describe('what the model is told', () => {
  it('that a person edited its command, and what ran instead', async () => {
    stub.enqueue(propose('echo from the model'), done);
    const task = await create();
    const step = await desk.untilProposed(task.id, 1);
    expect(step).toMatchObject({
      mock: false,
      author: { kind: 'model' },
      usage: { inputTokens: 100, outputTokens: 20 },
    });
    await desk.edit(task.id, step, { command: `${effects.mark('by hand')}; echo printed` }, 'gentler');
    const ended = await desk.untilEnded(task.id);
    expect(ended).toMatchObject({ state: 'completed', result: { success: true, summary: 'all tidy' } });
    expect(effects.lines()).toEqual(['by hand']);
    const question = lastQuestion();
    expect(question).toContain('edited by a person');
    expect(question).toContain('The person wrote: gentler');
    expect(question).toMatch(/your own command, replaced[^]*echo from the model[^]*echo by hand/);
    expect(question).toMatch(/Result: succeeded, exit code 0[^]*printed/);
  });

  it('why its command was rejected', async () => {
    stub.enqueue(propose('echo first'), done);
    const task = await create();
    const { digest } = await desk.untilProposed(task.id, 1);
    await desk.decide(task.id, { decision: 'reject', step: 1, digest, reason: 'wrong folder' });
    await desk.untilEnded(task.id);
    expect(lastQuestion()).toMatch(/REJECTED by a person[^]*wrong folder/);
  });
});

describe('a model that fails for a while', () => {
  it('is asked again after 429 (when it said), 529, 500 and a broken connection', async () => {
    const before = stub.requests.length;
    const startedAt = performance.now();
    stub.enqueue({ type: 'rate-limited', retryAfter: '1' }, { type: 'overloaded' }, done);
    const task = await create();
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
    expect(stub.requests.length - before).toBe(3);
    expect(performance.now() - startedAt).toBeGreaterThan(2_000);
    expect(await desk.counts(task.id)).toEqual({ batches: 0, commands: 0 });
  });

  it('is asked again at once when its answer is of no use', async () => {
    const before = stub.requests.length;
    stub.enqueue({ type: 'bad-json' }, { type: 'text', text: 'I would rather talk' }, done);
    const task = await create();
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
    expect(stub.requests.length - before).toBe(3);
  });

  it('hangs: the task can be canceled at once', async () => {
    const before = stub.requests.length;
    stub.enqueue({ type: 'hang' });
    const task = await create();
    await stub.waitForRequests(before + 1);
    expect((await desk.get(task.id)).state).toBe('proposing');
    const startedAt = performance.now();
    expect((await desk.cancel(task.id)).state).toBe('canceled');
    await withTemporal((client) => client.workflow.getHandle(desk.workflowId(task.id)).result());
    expect(performance.now() - startedAt).toBeLessThan(8_000);
  });

  it('is still away at the deadline: the task has expired', async () => {
    stub.enqueue(...Array.from({ length: 4 }, (): StubAnswer => ({ type: 'reset' })));
    const task = await create({ deadlineMs: 1_500 });
    expect(await desk.untilEnded(task.id)).toMatchObject({
      state: 'expired',
      result: { success: false, reason: 'deadline' },
    });
  });
});

describe('a model that fails for good', () => {
  it('refuses: the task has failed and says so', async () => {
    stub.drop();
    const before = stub.requests.length;
    stub.enqueue({ type: 'refusal' });
    const task = await create();
    expect(await desk.untilEnded(task.id)).toMatchObject({
      state: 'failed',
      result: {
        success: false,
        reason: 'llm_refused',
        summary: 'the model refused to plan this task',
      },
    });
    expect(stub.requests.length - before).toBe(1);
  });

  it('keeps giving answers of no use: three are enough', async () => {
    const before = stub.requests.length;
    const bad: StubAnswer = { type: 'tool-input', input: { command: '' } };
    stub.enqueue(bad, { type: 'max-tokens' }, bad);
    const task = await create();
    const ended = await desk.untilEnded(task.id);
    expect(ended).toMatchObject({ state: 'failed', result: { success: false, reason: 'llm_bad_answer' } });
    expect(ended.result?.summary).toContain('cannot be used');
    expect(stub.requests.length - before).toBe(3);
  });

  it('says that the request is wrong', async () => {
    stub.enqueue({ type: 'status', status: 403, errorType: 'permission_error', message: 'no such model' });
    const task = await create();
    const ended = await desk.untilEnded(task.id);
    expect(ended).toMatchObject({ state: 'failed', result: { reason: 'llm_auth' } });
    expect(ended.result?.summary).toContain('answered 403: no such model');
  });

  it('has cost what the task may cost: it is not asked again', async () => {
    stub.enqueue({ ...propose('true'), usage: { input: 1_000_000, output: 1_000 } } as StubAnswer, done);
    const task = await create({ mode: 'auto', preApproved: ['true'] });
    const before = stub.requests.length;
    expect(await desk.untilEnded(task.id)).toMatchObject({
      state: 'failed',
      result: {
        success: false,
        reason: 'llm_budget_exceeded',
        summary: 'The task budget for the model is used up',
      },
    });
    expect(stub.requests.length - before).toBeLessThanOrEqual(1);
    expect((await desk.steps(task.id)).map(({ decision }) => decision)).toEqual(['approve']);
    stub.drop();
  });
});

it('a step that has its row is never asked for again, whoever runs the activity twice', async () => {
  const before = stub.requests.length;
  stub.enqueue(propose(effects.mark('once')), done);
  const task = await create();
  const step = await desk.untilProposed(task.id, 1);
  await withTemporal(async (client) => {
    const workflowId = desk.workflowId(task.id);
    const { runId } = await client.workflow.getHandle(workflowId).describe();
    await client.workflowService.resetWorkflowExecution({
      namespace: client.options.namespace,
      workflowExecution: { workflowId, runId },
      workflowTaskFinishEventId: 4 as never, // its type wants a Long; a number is encoded alike
      requestId: `reset-${runId}`,
      reason: 'a test',
    });
    await system.until(
      async () => (await client.workflow.getHandle(workflowId).fetchHistory()).events ?? [],
      (events) => events.some((event) => event.activityTaskCompletedEventAttributes != null),
      'the second attempt',
    );
  });
  expect(stub.requests.length - before).toBe(1);
  const after = await desk.step(task.id, 1);
  expect(after).toMatchObject({ digest: step.digest, proposalId: step.proposalId, decision: null });
  await desk.approve(task.id, 1);
  expect((await desk.untilEnded(task.id)).state).toBe('completed');
  expect(stub.requests.length - before).toBe(2);
  expect(effects.lines().filter((line) => line === 'once')).toHaveLength(1);
});

it('after an outcome nobody knows, auto mode waits for a person although the command is pre-approved', async () => {
  const { agentToken: token } = await system.enrol('shaky');
  const facts = { url: system.url, agentId: 'shaky', token };
  const first = await connectScriptedAgent(facts);
  await first.take('welcome');
  stub.enqueue(propose('true'), propose('true'), done);
  const task = await create({ mode: 'auto', preApproved: ['true'], target: { agentId: 'shaky' } });
  const run = await first.take('run');
  first.send(startedFrame(run));
  await desk.untilCommand(task.id, 1, 'running');
  first.cut();
  const second = await connectScriptedAgent(facts); // with another journal, which can vouch for nothing
  await desk.untilCommand(task.id, 1, 'unknown');
  const step = await desk.untilProposed(task.id, 2);
  expect(step).toMatchObject({ text: 'true', decision: null });
  expect(lastQuestion()).toContain('Result: unknown, exit code none');
  expect(await desk.counts(task.id)).toEqual({ batches: 1, commands: 1 });
  await desk.decide(task.id, { decision: 'reject', step: 2, digest: step.digest, reason: 'look first' });
  expect((await desk.untilEnded(task.id)).state).toBe('completed');
  await second.close();
});
