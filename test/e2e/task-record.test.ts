/** What a task leaves behind: who may see it, audit rows of every decision, the timeline, events and the seal. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CommandView } from '../../contracts/commands.ts';
import type { StepView, TaskView } from '../../contracts/tasks.ts';
import { type System, startSystem } from '../support/system.ts';
import { type Desk, deskOf } from '../support/tasks.ts';

let system: System;
let desk: Desk;
/** Access tokens by name. */
let tokens: Record<'uma' | 'ugo' | 'olga' | 'vera', string>;

beforeAll(async () => {
  system = await startSystem();
  desk = deskOf(system);
  await system.startAgent({ agentId: 'here' });
  tokens = {
    uma: await desk.addUser('user', 'uma'),
    ugo: await desk.addUser('user', 'ugo'),
    olga: await desk.addUser('operator', 'olga'),
    vera: await desk.addUser('viewer', 'vera'),
  };
});
afterAll(() => system.close());

const create = (body: Record<string, unknown>, token?: string) =>
  desk.create({ target: { agentId: 'here' }, ...body }, token === undefined ? {} : { token });

describe('who may see and do what', () => {
  it('a user states a task, an operator decides it, others do not see it', async () => {
    const task = await create({ goal: 'run `echo private`' }, tokens.uma);
    const { digest } = await desk.untilProposed(task.id, 1);
    const approval = { decision: 'approve', step: 1, digest };
    const read = (token: string) =>
      system.request<TaskView>('GET', `/v1/tasks/${task.id}`, undefined, { token });
    expect((await read(tokens.uma)).status).toBe(200);
    expect((await read(tokens.vera)).status).toBe(200);
    expect((await read(tokens.ugo)).status).toBe(404);
    expect((await desk.decide(task.id, approval, { token: tokens.uma })).status).toBe(403);
    expect((await desk.decide(task.id, approval, { token: tokens.vera })).status).toBe(403);
    expect((await desk.decide(task.id, approval, { token: tokens.ugo })).status).toBe(403);
    expect((await desk.decide(task.id, approval, { token: tokens.olga })).status).toBe(200);
    expect((await desk.untilEnded(task.id)).state).toBe('completed');
    expect(await desk.step(task.id, 1)).toMatchObject({ decidedBy: { name: 'olga' } });
    const [command] = (await desk.step(task.id, 1)).commands;
    const output = (token: string) =>
      fetch(`${system.url}/v1/commands/${command?.commandId}/output/stdout`, {
        headers: { authorization: `Bearer ${token}` },
      });
    const [own, foreign] = await Promise.all([output(tokens.uma), output(tokens.ugo)]);
    expect([own.status, await own.text(), foreign.status]).toEqual([200, 'private\n', 404]);
    await foreign.body?.cancel();
    const list = await system.call<{ items: TaskView[] }>('GET', '/v1/tasks', undefined, {
      token: tokens.ugo,
    });
    expect(list.items).toEqual([]);
  });

  it('only who may decide can pre-approve', async () => {
    const body = { goal: 'run `true`', mode: 'auto', preApproved: ['true'] };
    const reply = await system.request('POST', '/v1/tasks', body, { token: tokens.uma });
    expect(reply).toMatchObject({ status: 403, body: { code: 'forbidden' } });
  });
});

describe('the record', () => {
  it('holds an audit row for each thing that was asked and decided, before its effect', async () => {
    const task = await create({ goal: 'count the lines of typescript files' });
    const first = await desk.untilProposed(task.id, 1);
    await desk.decide(
      task.id,
      { decision: 'reject', step: 1, digest: first.digest, reason: 'no' },
      { token: tokens.olga },
    );
    const second = await desk.untilProposed(task.id, 2);
    await desk.edit(task.id, second, { command: 'echo 7' });
    await desk.untilEnded(task.id);
    expect((await desk.audit(task.id)).map(({ action, principal }) => `${action} ${principal}`)).toEqual([
      'task.create admin',
      'step.reject olga',
      'step.edit admin',
      'task.completed engine',
    ]);
    const edited = await desk.step(task.id, 2);
    const [run] = await desk.sql<{ details: { digest: string; taskRun: string }; early: boolean }>(
      `select a.details, a.at <= c.started_at as early from audit_events a
       join commands c on cast(c.batch_id as text) = a.target_id
       where a.action = 'command.run' and a.target_id = :batch`,
      { batch: edited.batchId },
    );
    expect(run).toMatchObject({
      early: true,
      details: { taskRun: `${task.id}/1`, digest: edited.commands[0]?.digest },
    });
  });

  it('is told by the timeline from the goal to the seal', async () => {
    const task = await create({ goal: 'run `exit 3`' });
    const step = await desk.untilProposed(task.id, 1);
    await desk.edit(task.id, step, { command: 'echo one; exit 3' }, 'say something');
    const ended = await desk.untilEnded(task.id);
    const timeline = await desk.timeline(task.id);
    expect(timeline.map(({ type, actor, step: no }) => [type, actor?.name ?? null, no])).toEqual([
      ['created', 'admin', null],
      ['proposed', 'mock', 1],
      ['edit', 'admin', 1],
      ['started', null, 1],
      ['failed', null, 1],
      [ended.state, null, null],
    ]);
    expect(timeline[1]).toMatchObject({ summary: 'exit 3' });
    expect(timeline[2]).toMatchObject({ summary: 'echo one; exit 3', details: { reason: 'say something' } });
    expect(timeline[4]).toMatchObject({
      agentId: 'here',
      details: { exitCode: 3, durationMs: expect.any(Number), stdoutBytes: 4 },
    });
    expect(timeline[5]).toMatchObject({ details: { seal: ended.seal } });
    const times = timeline.map(({ at }) => Date.parse(at));
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  it('is sealed: anybody can compute the seal from what the API shows, and nothing changes it', async () => {
    const task = await create({ goal: 'run `echo one` then `ls /nowhere`' });
    await desk.approve(task.id, 1);
    await desk.approve(task.id, 2);
    const ended = await desk.untilEnded(task.id);
    expect(ended.seal).toBe(sealOf(ended, await desk.steps(task.id)));
    await system.call('POST', `/v1/tasks/${task.id}/archive`, {});
    await system.call('POST', `/v1/tasks/${task.id}/restore`, {});
    for (const [path, body] of [
      ['cancel', {}],
      ['assign', { agentId: 'here' }],
      ['execute', { act: { command: 'echo more' } }],
      ['propose', {}],
    ] as const) {
      const reply = await system.request('POST', `/v1/tasks/${task.id}/${path}`, body);
      expect(reply, path).toMatchObject({ status: 409, body: { code: 'task_not_open' } });
    }
    const after = await desk.get(task.id);
    expect([after.seal, after.endedAt, after.result]).toEqual([ended.seal, ended.endedAt, ended.result]);
    expect(sealOf(after, await desk.steps(task.id))).toBe(ended.seal);
  });

  it('is heard as events: each once, in the order of the task', async () => {
    const task = await create({ goal: 'run `true`', mode: 'auto', preApproved: ['true'] });
    await desk.untilEnded(task.id);
    const rows = await desk.sql<{ type: string }>(
      'select type from events where task_id = cast(:id as uuid) order by xid, id',
      { id: task.id },
    );
    expect(rows.map(({ type }) => type)).toEqual([
      'task.created',
      'task.assigned',
      'task.proposed',
      'task.decided',
      'command.queued',
      'task.step_started',
      'command.sent',
      'command.started',
      'command.finished',
      'task.step_finished',
      'task.completed',
    ]);
  });
});

/** The seal as the documents describe it: sha256 over JSON with the keys in this order. */
function sealOf(task: TaskView, steps: readonly StepView[]): string {
  const commandRecord = (command: CommandView) => ({
    id: command.commandId,
    agent: command.agentId,
    state: command.state,
    exitCode: command.exitCode,
    stdout: command.stdout.sha256,
    stderr: command.stderr.sha256,
  });
  const record = {
    task: { id: task.id, runNo: task.runNo, goal: task.goal, creator: task.createdBy.id },
    steps: steps.map((step) => ({
      step: step.step,
      digest: step.digest,
      decision: step.decision,
      decidedBy: step.decidedBy?.id ?? null,
      commands: step.commands.map(commandRecord),
    })),
    end: task.state,
    result: { success: task.result?.success, summary: task.result?.summary, reason: task.result?.reason },
  };
  return createHash('sha256').update(JSON.stringify(record)).digest('hex');
}
