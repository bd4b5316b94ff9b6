/** Worker, API and agent come and go between the phases of a task: it goes on where it was, and nothing runs twice. */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
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
  await system.close();
  effects.close();
});

const create = (body: Record<string, unknown>) =>
  desk.create({ target: { agentId: agent.agentId }, ...body });
const goalOf = (...lines: string[]) =>
  `run ${lines.map((line) => `\`${effects.mark(line)}\``).join(' then ')}`;
const countLines = (line: string) => effects.lines().filter((each) => each === line).length;

it('no worker at create, none at approve, a new one for each phase', async () => {
  await system.worker?.close();
  const task = await create({ goal: goalOf('worker-1', 'worker-2') });
  expect((await desk.get(task.id)).state).toBe('created');
  const first = await system.startWorker();
  await desk.untilProposed(task.id, 1);
  await first.close();
  await desk.approve(task.id, 1);
  await desk.untilCommand(task.id, 1, 'succeeded');
  expect(await desk.get(task.id)).toMatchObject({ state: 'running', step: 1 });
  await system.startWorker();
  await desk.approve(task.id, 2);
  expect((await desk.untilEnded(task.id)).state).toBe('completed');
  expect([countLines('worker-1'), countLines('worker-2')]).toEqual([1, 1]);
});

it('the API restarts while a proposal waits and while the command runs', async () => {
  const task = await create({ goal: 'run it' });
  const step = await desk.untilProposed(task.id, 1);
  await system.restartApi();
  const command = `${effects.mark('api')}; while [ ! -e ${effects.path}.go ]; do sleep 0.05; done; echo late`;
  await desk.edit(task.id, step, { command });
  await desk.untilCommand(task.id, 1, 'running');
  await system.restartApi();
  expect((await desk.step(task.id, 1)).commands[0]?.state).toBe('running');
  await agent.agent.ready;
  await system.call('GET', '/v1/tasks'); // the session outlives the process
  writeFileSync(`${effects.path}.go`, '');
  await desk.untilEnded(task.id);
  const [finished] = (await desk.step(task.id, 1)).commands;
  expect(finished).toMatchObject({ state: 'succeeded', exitCode: 0, stdout: { totalBytes: 5 } });
  expect(countLines('api')).toBe(1);
});

it('the agent restarts while a proposal waits', async () => {
  const task = await create({ goal: goalOf('agent') });
  await desk.untilProposed(task.id, 1);
  await agent.close();
  await desk.approve(task.id, 1);
  agent = await system.startAgent({ agentId: agent.agentId, token: agent.agentToken, home: agent.home });
  expect((await desk.untilEnded(task.id)).state).toBe('completed');
  expect(countLines('agent')).toBe(1);
});

it('a worker that stops while the batch is out hears of its end from the next one', async () => {
  const commands = [effects.mark('m-1'), effects.mark('m-2')];
  const goal = `run \`${commands[0]}\` then \`${commands[1]}\``;
  const tasks = await Promise.all(
    Array.from({ length: 4 }, () => create({ goal, mode: 'auto', preApproved: commands })),
  );
  await system.worker?.close();
  await system.startWorker();
  for (const task of tasks) {
    expect((await desk.untilEnded(task.id, 25_000)).state).toBe('completed');
    expect(await desk.counts(task.id)).toEqual({ batches: 2, commands: 2 });
  }
  expect([countLines('m-1'), countLines('m-2')]).toEqual([4, 4]);
});
