/** What ran for tasks, as ananta's clients read and follow it: logs, streams, the timeline. */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AnantaTask, AnantaTimelineItem } from '../../contracts/families/ananta/tasks.ts';
import type { StepView } from '../../contracts/tasks.ts';
import { MAX_HISTORY_OUTPUT_BYTES } from '../../domain/tasks/step-history.ts';
import { transact } from '../../domain/transact.ts';
import { openSse, type SseClient } from '../support/event-streams.ts';
import { type House, startHouse, type TestAgent } from '../support/house.ts';

let house: House;
let agent: TestAgent;
beforeAll(async () => {
  house = await startHouse();
  agent = await house.connect(await house.addAgent());
});
afterAll(() => house.close());

interface Item {
  command: string;
  output: string;
  exit_code: number | null;
  timestamp: number;
}

const get = async <Data>(path: string, as = 'admin:ada'): Promise<Data> => {
  const answer = await house.ask<{ data: Data }>('GET', path, undefined, { as });
  expect(answer.status).toBe(200);
  return answer.body.data;
};
async function create(title: string, as = 'admin:ada'): Promise<string> {
  const made = await house.ask<{ data: { id: string } }>('POST', '/tasks', { title }, { as });
  await house.ask('POST', `/tasks/${made.body.data.id}/assign`, { agent_url: agent.agentId });
  return made.body.data.id;
}
/** A command of a person, sent and claimed. @returns its id */
async function send(id: string, command: string): Promise<string> {
  const step = await house.ask<StepView>('POST', `/v1/tasks/${id}/execute`, { act: { command } });
  expect(step.status).toBe(200);
  const [commandId = ''] = await agent.claim();
  await agent.start(commandId);
  return commandId;
}
async function run(id: string, command: string, output: string, exitCode = 0): Promise<void> {
  const commandId = await send(id, command);
  await agent.write(commandId, 'stdout', Buffer.from(output));
  await agent.finish(commandId, { exitCode });
}

describe('the log of a task', () => {
  it('tells what ran, and so does the task', async () => {
    const id = await create('logged');
    await run(id, 'echo one', 'one\n');
    await run(id, 'false', '', 3);
    const log = await get<Item[]>(`/tasks/${id}/logs`);
    expect(log).toMatchObject([
      { command: 'echo one', output: 'one\n', exit_code: 0, tool_calls: null },
      { command: 'false', output: '', exit_code: 3 },
    ]);
    const task = await get<AnantaTask>(`/tasks/${id}`);
    expect(task.history).toEqual(log);
    expect(task).toMatchObject({ last_output: '', last_exit_code: 3 });
    expect(task.last_proposal).toMatchObject({ command: 'false' });
    const [listed] = await get<AnantaTask[]>(`/tasks?agent=${agent.agentId}&limit=1`);
    expect(listed).toEqual(task);
    expect((await house.ask('GET', '/tasks/nothing/logs')).status).toBe(404);
  });

  it('is followed live, each item once, until the task ends', async () => {
    const id = await create('followed');
    await run(id, 'echo before', 'before');
    const stream = await follow(`/tasks/${id}/stream-logs`);
    await stream.until((events) => events.length === 1);
    await run(id, 'echo after', 'after');
    await stream.until((events) => events.length === 2);
    const last = await send(id, 'echo last');
    await agent.finish(last);
    await stream.until((events) => events.length === 3);
    expect((await house.ask('PATCH', `/tasks/${id}`, { status: 'done' })).status).toBe(200);
    await stream.ended;
    expect(stream.events).toMatchObject([
      { id: undefined, event: undefined, data: { command: 'echo before', output: 'before' } },
      { data: { command: 'echo after', output: 'after' } },
      { data: { command: 'echo last', exit_code: 0 } },
    ]);
  });

  it('ends at once for an ended task, and is not there for strangers', async () => {
    const id = await create('ended');
    await run(id, 'echo x', 'x');
    await house.ask('PATCH', `/tasks/${id}`, { status: 'failed' });
    const stream = await follow(`/api/tasks/${id}/stream-logs`);
    await stream.ended;
    expect(stream.events).toMatchObject([{ data: { command: 'echo x' } }]);
    const stranger = await house.ask('GET', `/tasks/${id}/stream-logs`, undefined, { as: 'user:uma' });
    expect(stranger).toMatchObject({ status: 404, body: { message: 'not_found' } });
  });

  it('tells of two tool runs and of two reports of the same moment, and halves no character', async () => {
    const [id, one, two] = [await create('at once'), await create('part one'), await create('part two')];
    const rowOf = async (publicId: string): Promise<string> =>
      (await house.db('tasks').first('id').where({ public_id: publicId })).id;
    const [task_id, at] = [await rowOf(id), new Date()];
    const record = async (tool: string, part: string, last_output: string): Promise<void> => {
      await house.db('tool_runs').insert({
        ...{ id: randomUUID(), task_id, actor_kind: 'user', actor_id: 'ada', actor_name: 'ada', at },
        ...{ calls: JSON.stringify([{ name: tool, args: {} }]), outcome: 'completed', results: '[]' },
      });
      await house.db('delegations').insert({
        ...{ task_id: await rowOf(part), parent_id: task_id, agent_id: agent.agentId, callback_url: '-' },
        ...{ callback_token_hash: randomBytes(8), reported_status: 'completed', reported_at: at },
        ...{ last_output, last_exit_code: 0 },
      });
    };
    await record('first', one, 'one');
    const stream = await follow(`/tasks/${id}/stream-logs`);
    await stream.until((events) => events.length === 2);
    // The last character stands across the place of the cut.
    await record('second', two, `${'x'.repeat(MAX_HISTORY_OUTPUT_BYTES - 1)}\u{1f600}`);
    await house.ask('PATCH', `/tasks/${id}`, { status: 'failed' });
    await stream.ended;
    const items = stream.events.map(({ data }) => data as Item & { tool_calls: { name: string }[] | null });
    const tools = items.flatMap(({ tool_calls }) => tool_calls ?? []);
    expect(tools.map(({ name }) => name)).toEqual(['first', 'second']);
    const reports = items.filter(({ tool_calls }) => tool_calls === null);
    expect(reports.map(({ output }) => [output.length, output.at(-1)])).toEqual([
      [3, 'e'],
      [MAX_HISTORY_OUTPUT_BYTES - 1, 'x'],
    ]);
  });
});

async function follow(path: string): Promise<SseClient> {
  const stream = await openSse(`${house.server.url()}${path}`, { authorization: 'Bearer admin:ada' });
  expect(stream.response.status).toBe(200);
  return stream;
}

describe('the log of everything', () => {
  it('gives the newest hundred entries, oldest first, of what one may see', async () => {
    const id = await create('log of all');
    await run(id, 'echo newest', 'newest');
    const log =
      await get<{ timestamp: number; direction: string; preview?: string; task_id: string }[]>('/logs');
    expect(log.length).toBeLessThanOrEqual(100);
    expect(log.map(({ timestamp }) => timestamp)).toEqual(
      log.map(({ timestamp }) => timestamp).sort((a, b) => a - b),
    );
    expect(log.filter(({ task_id }) => task_id === id)).toMatchObject([
      {
        direction: 'out',
        preview: 'echo newest',
        agent: agent.agentId,
        step: 1,
        timestamp_iso: expect.any(String),
      },
      { direction: 'in', exit_code: 0, state: 'succeeded' },
    ]);
    expect(await get('/logs', 'user:uma')).toEqual([]);
    expect((await house.ask('GET', '/logs', undefined, { as: null })).status).toBe(401);
  });
});

describe('the timeline', () => {
  const timeline = (query: string, as?: string) =>
    get<{ items: AnantaTimelineItem[]; total: number }>(`/tasks/timeline?${query}`, as);

  it('tells what happened, newest first, with who and what', async () => {
    const id = await create('told');
    await house.db('tasks').update({ team_id: 'team-of-timeline' }).where({ public_id: id });
    await run(id, 'echo told', 'told', 1);
    await house.ask('PATCH', `/tasks/${id}`, { status: 'failed' });
    const { items, total } = await timeline('team_id=team-of-timeline');
    expect(total).toBe(items.length);
    expect(items.map(({ event_type }) => event_type)).toEqual([
      'task_failed',
      'execution_result',
      'execution_started',
      'proposal_decided',
      'proposal_snapshot',
      'task_assigned',
      'task_created',
    ]);
    expect(items.at(-1)).toMatchObject({ task_id: id, actor: 'ada', task_status: 'failed' });
    expect(items[4]).toMatchObject({ actor: 'ada', details: { command: 'echo told' } });
    expect(items[1]).toMatchObject({
      actor: agent.agentId,
      team_id: 'team-of-timeline',
      details: { command: 'echo told', exit_code: 1, state: 'failed' },
    });
    const cut = await timeline('team_id=team-of-timeline&limit=2');
    expect(cut).toMatchObject({ items: items.slice(0, 2), total });
    const errors = await timeline('team_id=team-of-timeline&error_only=true');
    expect(errors.items.map(({ event_type }) => event_type)).toEqual(['task_failed', 'execution_result']);
    const since = items[1]?.timestamp ?? 0;
    expect((await timeline(`team_id=team-of-timeline&since=${since}`)).items.length).toBeGreaterThanOrEqual(
      2,
    );
    expect((await timeline(`team_id=team-of-timeline&since=${since + 60}`)).total).toBe(0);
  });

  it('tells of hand-offs, verdicts, and tools that were stopped', async () => {
    const made = await house.ask<{ data: { id: string } }>('POST', '/tasks', {
      title: 'part',
      parent_task_id: 'of-another-hub',
      team_id: 'team-of-parts',
    });
    const { id: taskId } = await house.db('tasks').first('id').where({ public_id: made.body.data.id });
    const stoppedBy = {
      blocked_tools: ['create_team'],
      blocked_reasons: ['guardrail_class_limit_exceeded:write'],
    };
    await house.db('tool_runs').insert({
      id: taskId,
      task_id: taskId,
      actor_kind: 'user',
      actor_id: 'ada',
      actor_name: 'ada',
      calls: '[]',
      outcome: 'blocked',
      results: JSON.stringify(stoppedBy),
    });
    await transact(house.deps, async (unit) => {
      const ref = { taskId, ownerId: 'ada' };
      unit.emit('task.tools_run', { ...ref, data: { outcome: 'blocked', tools: ['create_team'] } });
      unit.emit('task.step_judged', { ...ref, data: { step: 1, verdict: 'completed' } });
      unit.emit('task.step_judged', {
        ...ref,
        data: { step: 2, verdict: 'failed', reason: 'non_zero_exit_code' },
      });
    });
    const { items } = await timeline('team_id=team-of-parts');
    expect(items).toMatchObject([
      { event_type: 'quality_gate_failed', details: { reason: 'non_zero_exit_code' } },
      { event_type: 'step_judged' },
      { event_type: 'tool_guardrail_blocked', actor: 'ada', details: stoppedBy },
      { event_type: 'task_handoff', details: { parentTaskId: 'of-another-hub' } },
      { event_type: 'task_created' },
    ]);
    const errors = await timeline('team_id=team-of-parts&error_only=1');
    expect(errors.items.map(({ event_type }) => event_type)).toEqual([
      'quality_gate_failed',
      'tool_guardrail_blocked',
    ]);
  });

  it('filters by agent and status, and shows users their own', async () => {
    const own = await create('own', 'user:tilda');
    expect(new Set((await timeline('', 'user:tilda')).items.map(({ task_id }) => task_id))).toEqual(
      new Set([own]),
    );
    expect((await timeline(`agent=${agent.agentId}&status=failed`)).total).toBeGreaterThan(0);
    expect(await timeline('agent=nobody')).toEqual({ items: [], total: 0 });
    const all = await timeline('limit=1000');
    expect(all.items.length).toBe(all.total);
    const errors = await timeline('error_only=1');
    expect(errors.items.every(({ event_type }) => event_type !== 'task_created')).toBe(true);
    expect((await house.ask('GET', '/tasks/timeline?status=asleep')).status).toBe(422);
  });
});
