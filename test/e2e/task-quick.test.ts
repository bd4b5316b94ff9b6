/** Steps that run undecided and are over in a moment stay within one activity; what takes longer is the workflow's. */
import { writeFileSync } from 'node:fs';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { TaskView } from '../../contracts/tasks.ts';
import { type System, startSystem, type TestAgent } from '../support/system.ts';
import { type Desk, deskOf, type EffectFile, openEffectFile } from '../support/tasks.ts';
import { TEMPORAL_NAMESPACE, temporalAddress } from '../support/temporal.ts';

let system: System;
let desk: Desk;
let agent: TestAgent;
let effects: EffectFile;
let connection: Connection;
let client: Client;

beforeAll(async () => {
  effects = openEffectFile();
  system = await startSystem();
  desk = deskOf(system);
  agent = await system.startAgent({ agentId: 'worker-1' });
  connection = await Connection.connect({ address: temporalAddress() });
  client = new Client({ connection, namespace: TEMPORAL_NAMESPACE });
});
afterAll(async () => {
  await connection.close();
  await system.close();
  effects.close();
});

const countLines = (line: string) => effects.lines().filter((each) => each === line).length;

const createAuto = (...commands: string[]): Promise<TaskView> =>
  desk.create({
    target: { agentId: agent.agentId },
    goal: `run ${commands.map((command) => `\`${command}\``).join(' then ')}`,
    mode: 'auto',
    preApproved: commands,
  });

const workflow = (task: TaskView) => client.workflow.getHandle(desk.workflowId(task.id));

/** Names of the activities and signals in the history, and the number of its workflow tasks. */
async function readRounds(task: TaskView) {
  const events = (await workflow(task).fetchHistory()).events ?? [];
  return {
    activities: events.flatMap(
      (event) => event.activityTaskScheduledEventAttributes?.activityType?.name ?? [],
    ),
    signals: events.flatMap((event) => event.workflowExecutionSignaledEventAttributes?.signalName ?? []),
    workflowTasks: events.filter((event) => event.workflowTaskCompletedEventAttributes != null).length,
  };
}

const readBells = async (task: TaskView): Promise<(string | null)[]> =>
  (
    await desk.sql<{ workflow_id: string | null }>('select workflow_id from batches where task_id = :id', {
      id: task.id,
    })
  ).map((row) => row.workflow_id);

/** A command that goes on until the file is there. */
const longCommand = (name: string) =>
  `${effects.mark(name)}; while [ ! -e ${effects.path}.${name} ]; do sleep 0.05; done`;
const letGo = (name: string): void => writeFileSync(`${effects.path}.${name}`, '');

// Quick is a matter of time: on a machine that has none, a step may be left to the workflow.
it('quick steps: one activity, no signal, everything on record', { retry: 3 }, async () => {
  const commands = [effects.mark('quick-1'), effects.mark('quick-2')];
  const before = [countLines('quick-1'), countLines('quick-2')];
  const task = await createAuto(...commands);
  expect((await desk.untilEnded(task.id)).state).toBe('completed');
  expect([countLines('quick-1'), countLines('quick-2')]).toEqual(before.map((count) => count + 1));
  expect(await workflow(task).result()).toEqual({ end: 'completed', steps: 3 });
  expect((await desk.timeline(task.id)).map((item) => item.type)).toEqual([
    'created',
    ...['proposed', 'approve', 'started', 'succeeded'],
    ...['proposed', 'approve', 'started', 'succeeded'],
    'completed',
  ]);
  expect(await readRounds(task)).toEqual({ activities: ['propose'], signals: [], workflowTasks: 2 });
});

it('a command that takes longer: the workflow waits, and hears of its end', async () => {
  const task = await createAuto(longCommand('long'), effects.mark('after-long'));
  await system.until(
    () => readBells(task),
    ([bell]) => bell === desk.workflowId(task.id),
    'the bell to hang',
  );
  letGo('long');
  expect((await desk.untilEnded(task.id)).state).toBe('completed');
  expect((await readRounds(task)).signals).toContain('batchFinished');
  expect([countLines('long'), countLines('after-long')]).toEqual([1, 1]);
});

it('canceled while the command runs: the workflow waits for its end, nothing follows', async () => {
  const task = await createAuto(longCommand('canceled'), effects.mark('after-cancel'));
  await desk.untilCommand(task.id, 1, 'running');
  await desk.cancel(task.id);
  expect((await desk.untilEnded(task.id)).state).toBe('canceled');
  expect(await workflow(task).result()).toMatchObject({ end: 'canceled' });
  expect([countLines('canceled'), countLines('after-cancel')]).toEqual([1, 0]);
});

it('many at once: all end, nothing runs twice', async () => {
  const command = effects.mark('many');
  const tasks = await Promise.all(Array.from({ length: 24 }, () => createAuto(command)));
  for (const task of tasks) expect((await desk.untilEnded(task.id, 30_000)).state).toBe('completed');
  expect(countLines('many')).toBe(24);
});
