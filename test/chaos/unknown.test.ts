/** An agent dies between INTENT and result: nobody knows how its command ended, and everybody says so. */
import { readdirSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { CommandView } from '../../contracts/commands.ts';
import type { TaskView } from '../../contracts/tasks.ts';
import { findViolations, waitUntilQuiet } from './invariants.ts';
import { untilEnded, untilProposed } from './run.ts';
import { openStage, type Stage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

/** Leaves children that ignore TERM, one of them in a session of its own, and waits for them for ever. */
const stubborn = (): string =>
  `printf '%s\\n' "$STEELTHREAD_COMMAND_ID" >> ${stage.effects.file}; echo begun; ` +
  `setsid sh -c 'trap "" TERM; while :; do sleep 0.2; done' & ` +
  `sh -c 'trap "" TERM; while :; do sleep 0.2; done' & wait`;

test('the agent is killed while its command runs: unknown, survivors dead, and a person decides what next', async () => {
  const { installation, agent, model, effects } = stage;
  const again = effects.createQuick('second');
  const goal = model.plan('unknown', [stubborn(), again.script]);
  const task = await createTask({ goal });
  await approve(task.id, 1);
  const commandId = await untilRunning();
  await installation.until(
    async () => survivorsOf(commandId),
    (pids) => pids.length >= 3,
    'all its processes',
  );

  await agent.kill();
  expect(survivorsOf(commandId).length).toBeGreaterThanOrEqual(3); // the kill of the agent alone ends nothing
  await agent.start();
  expect(survivorsOf(commandId)).toEqual([]); // they are dead before the agent says hello

  const step = await untilProposed(stage, task.id, 2);
  expect(step.decision).toBeNull();
  expect(await commandsOf(task.id)).toMatchObject([
    { commandId, state: 'unknown', reason: 'agent_restarted', exitCode: null },
  ]);
  await approve(task.id, 2);
  expect(await untilEnded(stage, task.id)).toMatchObject({ state: 'completed' });
  await waitUntilQuiet(installation);
  expect((await commandsOf(task.id)).map((command) => command.state)).toEqual(['unknown', 'succeeded']);
  expect(effects.counts().get(commandId)).toBe(1);
  expect(await findViolations(installation, effects)).toEqual([]);
});

test('auto mode does not repeat a pre-approved command by itself after an unknown outcome', async () => {
  const { installation, agent, model, effects } = stage;
  const script = stubborn();
  const goal = model.plan('auto', [script, script]);
  const task = await createTask({ goal, mode: 'auto', preApproved: [script] });
  const commandId = await untilRunning();
  await agent.kill();
  await agent.start();
  expect(survivorsOf(commandId)).toEqual([]);

  await untilProposed(stage, task.id, 2);
  expect((await commandsOf(task.id)).map((command) => command.state)).toEqual(['unknown']);
  await installation.call('POST', `/v1/tasks/${task.id}/cancel`, { reason: 'seen enough' });
  expect(await untilEnded(stage, task.id)).toMatchObject({ state: 'canceled' });
  await waitUntilQuiet(installation);
  expect(await findViolations(installation, effects)).toEqual([]);
});

test('killed after INTENT with no STARTED on the medium: survivors are found by their mark alone', async () => {
  const { installation, agent, effects } = stage;
  const batch = await installation.call<{ commands: CommandView[] }>('POST', '/v1/commands', {
    agentIds: [agent.agentId],
    act: { command: stubborn() },
  });
  const commandId = batch.commands[0]?.commandId ?? '';
  await untilRunning();
  await installation.until(
    async () => survivorsOf(commandId),
    (pids) => pids.length >= 3,
    'all its processes',
  );
  await agent.kill();
  dropLastRecord(join(agent.home, 'journal.log'), commandId);
  await agent.start();
  expect(survivorsOf(commandId)).toEqual([]);
  await waitUntilQuiet(installation);
  const command = await installation.call<CommandView>('GET', `/v1/commands/${commandId}`);
  expect(command).toMatchObject({ state: 'unknown' });
  // A presence frame may have told the server of the record that is gone: then the journal reads as rolled back.
  expect(['agent_restarted', 'journal_lost']).toContain(command.reason);
  expect(effects.counts().get(commandId)).toBe(1);
  expect(await findViolations(installation, effects)).toEqual([]);
});

const createTask = (body: Record<string, unknown>): Promise<TaskView> =>
  stage.installation.call('POST', '/v1/tasks', { target: { agentId: stage.agent.agentId }, ...body });

async function approve(taskId: string, stepNo: number): Promise<void> {
  const { digest } = await untilProposed(stage, taskId, stepNo);
  const body = { decision: 'approve', step: stepNo, digest };
  await stage.installation.call('POST', `/v1/tasks/${taskId}/decide`, body);
}

async function untilRunning(): Promise<string> {
  const { items } = await stage.installation.until(
    () => stage.installation.call<{ items: CommandView[] }>('GET', '/v1/commands?state=running'),
    (page) => page.items.length === 1,
    'one running command',
  );
  return items[0]?.commandId ?? '';
}

async function commandsOf(taskId: string): Promise<CommandView[]> {
  const path = `/v1/commands?taskId=${taskId}`;
  const { items } = await stage.installation.call<{ items: CommandView[] }>('GET', path);
  return items.sort((a, b) => (a.step ?? 0) - (b.step ?? 0));
}

/** Processes that carry the command's mark in their environment. */
function survivorsOf(commandId: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        if (/\) [ZX] /.test(readFileSync(`/proc/${name}/stat`, 'utf8'))) return false;
        return readFileSync(`/proc/${name}/environ`, 'utf8').includes(`STEELTHREAD_COMMAND_ID=${commandId}`);
      } catch {
        return false; // it ended meanwhile
      }
    })
    .map(Number);
}

/** As if the medium had lost what was written last: the STARTED of the command. */
function dropLastRecord(file: string, commandId: string): void {
  const text = readFileSync(file, 'utf8');
  const start = text.lastIndexOf('\n', text.length - 2) + 1;
  const last = text.slice(start);
  if (!last.includes('"started"') || !last.includes(commandId))
    throw new Error(`unexpected last record: ${last}`);
  truncateSync(file, statSync(file).size - Buffer.byteLength(last));
}
