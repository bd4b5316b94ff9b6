/** What an operator sees and does in Temporal: facts without secrets, and interventions that the rows survive. */
import type { Client } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TaskView } from '../../contracts/tasks.ts';
import { stubborn, survivorsOf } from '../support/survivors.ts';
import { type System, startSystem } from '../support/system.ts';
import { type Desk, deskOf, type EffectFile, openEffectFile } from '../support/tasks.ts';
import { connectTemporal } from '../support/temporal.ts';
import { readDetails } from '../workflows/scripted-worker.ts';

const MAX_PAYLOAD_BYTES = 64 * 1024;

let system: System;
let desk: Desk;
let client: Client;
let closeClient: () => Promise<void>;
let effects: EffectFile;

beforeAll(async () => {
  const temporal = await connectTemporal();
  client = temporal.client;
  closeClient = temporal.close;
  effects = openEffectFile();
  system = await startSystem();
  desk = deskOf(system);
  await system.startAgent({ agentId: 'here', kill: { graceMs: 200 } });
  await system.enrol('away');
});
afterAll(async () => {
  await system.close();
  await closeClient();
  effects.close();
});

const create = (body: Record<string, unknown>) => desk.create({ target: { agentId: 'here' }, ...body });
const workflow = (task: TaskView) => client.workflow.getHandle(desk.workflowId(task.id));
const countLines = (line: string) => effects.lines().filter((each) => each === line).length;

/** The reconciler looks at tasks without progress for five minutes: make it so. */
const age = (task: TaskView) =>
  desk.sql("update tasks set progress_at = now() - interval '1 hour' where id = cast(:id as uuid)", {
    id: task.id,
  });

/** Go back to before the first activity: everything is asked again, signals are applied again. */
async function reset(task: TaskView): Promise<void> {
  const { runId } = await workflow(task).describe();
  await client.workflowService.resetWorkflowExecution({
    namespace: client.options.namespace,
    workflowExecution: { workflowId: desk.workflowId(task.id), runId },
    workflowTaskFinishEventId: 4 as never, // its type wants a Long; a number is encoded alike
    requestId: `reset-${runId}`,
    reason: 'a test',
  });
}

describe('what is seen', () => {
  it('title, step and phase, before and after the end', async () => {
    const task = await create({ goal: 'run `true`', title: 'Tidy the café ☕' });
    await desk.untilProposed(task.id, 1);
    const handle = workflow(task);
    expect(await (await handle.describe()).staticSummary()).toBe('Tidy the café ☕');
    await system.until(
      () => readDetails(handle),
      (details) => details === 'step 1 of at most 25: awaiting decision',
      'the details',
    );
    await desk.approve(task.id, 1);
    await desk.untilEnded(task.id);
    expect(await handle.result()).toEqual({ end: 'completed', steps: 2 });
  });

  it('no goal, no command, no output, no reason; small payloads; one activity for a step', async () => {
    const secret = 'hunter2-in-the-command';
    const goal = `run \`printf 'the-output-of-%s\\n' ${secret}; ${'#'.repeat(15_000)}\``;
    const task = await create({ goal, title: 'plain' });
    const step = await desk.untilProposed(task.id, 1);
    const edited = `${step.text}\necho second-secret`;
    await desk.edit(task.id, step, { command: edited, environment: { TOKEN: 'env-secret' } }, 'why-secret');
    await desk.untilEnded(task.id);
    await workflow(task).result();
    const [command] = (await desk.step(task.id, 1)).commands;
    expect(command).toMatchObject({ state: 'succeeded' });
    const history = await workflow(task).fetchHistory();
    const payloads: Buffer[] = [];
    const json = JSON.parse(historyToJSON(history), (key, value: unknown) => {
      if (key === 'data' && typeof value === 'string') payloads.push(Buffer.from(value, 'base64'));
      return value;
    });
    const text = `${JSON.stringify(json)}\n${payloads.map((payload) => payload.toString()).join('\n')}`;
    for (const word of [secret, 'the-output-of', 'second-secret', 'env-secret', 'why-secret', '####'])
      expect(text.includes(word), word).toBe(false);
    expect(text).toContain('plain'); // the summary
    expect(Math.max(...payloads.map((payload) => payload.length))).toBeLessThan(MAX_PAYLOAD_BYTES);
    const kinds = (history.events ?? []).map((event) => ({
      activity: event.activityTaskScheduledEventAttributes?.activityType?.name,
      signal: event.workflowExecutionSignaledEventAttributes?.signalName,
    }));
    expect(kinds.flatMap(({ activity }) => activity ?? [])).toEqual(['propose', 'propose']);
    const signals = kinds.flatMap(({ signal }) => signal ?? []); // the drainer may have repeated one
    expect([...new Set(signals)].sort()).toEqual(['batchFinished', 'decided']);
  });
});

describe('an operator terminates the workflow', () => {
  it('while a decision is waited for: the task has failed and its proposal is closed', async () => {
    const task = await create({ goal: 'run `echo x`' });
    const step = await desk.untilProposed(task.id, 1);
    await workflow(task).terminate('a test');
    await age(task);
    expect(await desk.untilEnded(task.id)).toMatchObject({
      state: 'failed',
      result: { success: false, reason: 'workflow_lost' },
    });
    expect(await desk.step(task.id, 1)).toMatchObject({ decision: 'cancel', commands: [] });
    const late = await desk.decide(task.id, { decision: 'approve', step: 1, digest: step.digest });
    expect(late.status).toBe(409);
  });

  it('and somebody approves before that is noticed: the command runs once, the task fails', async () => {
    const task = await create({ goal: `run \`${effects.mark('orphan')}\`` });
    await desk.untilProposed(task.id, 1);
    await workflow(task).terminate('a test');
    await desk.approve(task.id, 1);
    await desk.untilCommand(task.id, 1, 'succeeded');
    await age(task);
    expect(await desk.untilEnded(task.id)).toMatchObject({ result: { reason: 'workflow_lost' } });
    expect(countLines('orphan')).toBe(1);
  });

  it('while commands wait or run: what waits is canceled, what runs is stopped', async () => {
    const queued = await create({ goal: 'run `echo x`', target: { agentId: 'away' } });
    await desk.approve(queued.id, 1);
    const running = await create({ goal: 'run it' });
    await desk.edit(running.id, await desk.untilProposed(running.id, 1), { command: stubborn });
    const commandId = (await desk.untilCommand(running.id, 1, 'running')).commands[0]?.commandId ?? '';
    await Promise.all([workflow(queued).terminate('a test'), workflow(running).terminate('a test')]);
    await Promise.all([age(queued), age(running)]);
    expect(await desk.untilEnded(queued.id)).toMatchObject({ result: { reason: 'workflow_lost' } });
    expect(await desk.untilEnded(running.id)).toMatchObject({ result: { reason: 'workflow_lost' } });
    expect((await desk.step(queued.id, 1)).commands[0]).toMatchObject({
      state: 'canceled',
      reason: 'workflow_lost',
    });
    await desk.untilCommand(running.id, 1, 'canceled');
    expect(survivorsOf(commandId)).toEqual([]);
  });
});

describe('an operator resets the workflow', () => {
  it('while a decision is waited for: the same proposal under the same digest', async () => {
    const task = await create({ goal: `run \`${effects.mark('reset-waiting')}\`` });
    const before = await desk.untilProposed(task.id, 1);
    await reset(task);
    await desk.approve(task.id, 1);
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
    const after = await desk.step(task.id, 1);
    expect([after.digest, after.proposalId]).toEqual([before.digest, before.proposalId]);
    expect(await desk.counts(task.id)).toEqual({ batches: 1, commands: 1 });
    expect(countLines('reset-waiting')).toBe(1);
  });

  it('while the command runs, and after a step: nothing runs twice', async () => {
    const goal = `run \`${effects.mark('reset-1')}; sleep 1\` then \`${effects.mark('reset-2')}\``;
    const task = await create({ goal });
    await desk.approve(task.id, 1);
    await desk.untilCommand(task.id, 1, 'running');
    await reset(task);
    await desk.untilProposed(task.id, 2);
    await reset(task);
    await desk.approve(task.id, 2);
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
    expect([countLines('reset-1'), countLines('reset-2')]).toEqual([1, 1]);
    expect(await desk.counts(task.id)).toEqual({ batches: 2, commands: 2 });
  });

  it('after the end: the row stands, the new run ends at once', async () => {
    const task = await create({ goal: 'run `true`', mode: 'auto', preApproved: ['true'] });
    const ended = await desk.untilEnded(task.id);
    await workflow(task).result();
    await reset(task);
    expect(await workflow(task).result()).toMatchObject({ end: 'completed' });
    expect(await desk.get(task.id)).toEqual(ended);
    expect(await desk.counts(task.id)).toEqual({ batches: 1, commands: 1 });
  });

  it('a signal that somebody forges changes nothing', async () => {
    const task = await create({ goal: `run \`${effects.mark('forged')}\`` });
    await desk.untilProposed(task.id, 1);
    const handle = workflow(task);
    await handle.signal('decided', { step: 1, then: 'run', batchId: null });
    await handle.signal('decided', { step: 1 });
    await handle.signal('decided', { step: 'x', then: 'again' });
    await handle.signal('batchFinished', { batchId: 'no-such-batch' });
    await system.until(
      async () => (await handle.fetchHistory()).events ?? [],
      (events) => {
        const last = events.findLastIndex((event) => event.workflowExecutionSignaledEventAttributes != null);
        return events.slice(last).some((event) => event.workflowTaskCompletedEventAttributes != null);
      },
      'the signals to be heard',
    );
    expect(await desk.get(task.id)).toMatchObject({ state: 'awaiting_decision', step: 1 });
    await desk.approve(task.id, 1);
    await desk.untilEnded(task.id);
    const activities = ((await handle.fetchHistory()).events ?? []).flatMap(
      (event) => event.activityTaskScheduledEventAttributes?.activityType?.name ?? [],
    );
    expect(activities).toEqual(['propose', 'propose']);
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
    expect(countLines('forged')).toBe(1);
  });
});
