/** Tasks that wait for other tasks, on the whole system: nothing begins before what it depends on has completed. */
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { TaskView } from '../../contracts/tasks.ts';
import { listIdleTasks } from '../../domain/tasks/lost.ts';
import { failureKind } from '../../temporal/failures.ts';
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
  agent = await system.startAgent({ agentId: 'dependent-1' });
  connection = await Connection.connect({ address: temporalAddress() });
  client = new Client({ connection, namespace: TEMPORAL_NAMESPACE });
});
afterAll(async () => {
  await connection.close();
  await system.close();
  effects.close();
});

const createAuto = (mark: string, dependsOn: string[] = []): Promise<TaskView> => {
  const command = effects.mark(mark);
  return desk.create({
    target: { agentId: agent.agentId },
    goal: `run \`${command}\``,
    mode: 'auto',
    preApproved: [command],
    dependsOn,
  });
};
const createManual = (wish: object = {}): Promise<TaskView> =>
  desk.create({ goal: 'a note', mode: 'manual', target: { agentId: agent.agentId }, ...wish });
const report = (id: string, status: string) => system.call('PATCH', `/tasks/${id}`, { status });

async function hasWorkflow(task: TaskView): Promise<boolean> {
  try {
    await client.workflow.getHandle(desk.workflowId(task.id)).describe();
    return true;
  } catch (error) {
    if (failureKind(error) === 'not_found') return false;
    throw error;
  }
}

it('runs a chain in order, each begun by the end of the one before', async () => {
  const gate = await createManual();
  const first = await createAuto('chain-1', [gate.id]);
  const second = await createAuto('chain-2', [first.id]);
  const third = await createAuto('chain-3', [first.id, second.id]);
  expect([first, second, third].map(({ state }) => state)).toEqual(['blocked', 'blocked', 'blocked']);
  expect(await hasWorkflow(first)).toBe(false);
  await report(gate.id, 'done');
  expect(await desk.untilEnded(third.id)).toMatchObject({ state: 'completed', waitingReason: null });
  expect(effects.lines().filter((line) => line.startsWith('chain'))).toEqual([
    'chain-1',
    'chain-2',
    'chain-3',
  ]);
});

it('lets a blocked task rest: it is never taken for lost, and a cancel ends it at once', async () => {
  const gate = await createManual();
  const waiting = await createAuto('never', [gate.id]);
  await desk.sql(`update tasks set progress_at = now() - interval '1 day' where public_id = :id`, {
    id: waiting.id,
  });
  const idle = await listIdleTasks(system.api.parts.domain, { idleMs: 60_000, limit: 100 });
  expect(idle.map(({ taskId }) => taskId)).not.toContain(waiting.id);
  expect(await desk.cancel(waiting.id)).toMatchObject({ state: 'canceled' });
  await report(gate.id, 'done');
  expect(await desk.get(waiting.id)).toMatchObject({ state: 'canceled' });
  expect(effects.lines()).not.toContain('never');
});

it('puts a task on hold whose workflow has begun, and lets it go on', async () => {
  const task = await createManual();
  await system.until(
    () => hasWorkflow(task),
    (isThere) => isThere,
    'the workflow',
  );
  await report(task.id, 'blocked');
  const refused = await system.request('POST', `/v1/tasks/${task.id}/propose`, { waitMs: 0 });
  expect(refused).toMatchObject({ status: 409, body: { code: 'task_blocked' } });
  await report(task.id, 'todo');
  const command = effects.mark('after-hold');
  await system.call('POST', `/v1/tasks/${task.id}/execute`, { act: { command } });
  await desk.untilCommand(task.id, 1, 'succeeded');
  expect(effects.lines()).toContain('after-hold');
});

it('ends the workflow of a task that was created as done', async () => {
  const made = await system.call<{ data: { id: string } }>('POST', '/tasks', {
    title: 'done',
    status: 'done',
  });
  const task = await desk.get(made.data.id);
  expect(task).toMatchObject({ state: 'completed', result: { success: true } });
  const result = await system.until(
    () =>
      client.workflow
        .getHandle(desk.workflowId(task.id))
        .describe()
        .catch(() => undefined),
    (seen) => seen?.status.name === 'COMPLETED',
    'the end of the workflow',
  );
  expect(result?.status.name).toBe('COMPLETED');
});
