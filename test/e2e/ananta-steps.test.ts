/** Steps as ananta's clients propose and execute them: the whole system, with the mock planner. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Reply,
  type RequestOptions,
  type System,
  startSystem,
  type TestAgent,
} from '../support/system.ts';
import { type Desk, deskOf, type EffectFile, openEffectFile } from '../support/tasks.ts';

interface Envelope<Data> {
  status: string;
  message?: string;
  data: Data;
}

interface Executed {
  output: string;
  exit_code: number;
  task_id: string | null;
  status: string;
  command_id: string | null;
  outcome: string | null;
  attempts: number;
  quality_gate: string | null;
}

interface Proposed {
  status?: string;
  reason: string;
  command: string | null;
  tool_calls: null;
  raw: string;
  comparisons?: Record<string, { error?: string; command?: string | null }>;
}

let system: System;
let desk: Desk;
let agent: TestAgent;
let effects: EffectFile;
const tokens: Record<string, string> = {};
beforeAll(async () => {
  system = await startSystem({ env: { LOCAL_AGENT_ID: 'the-server', MAX_TIMEOUT: '120' } });
  desk = deskOf(system);
  agent = await system.startAgent({ agentId: 'the-server' });
  effects = openEffectFile();
  for (const role of ['viewer', 'user', 'operator'] as const)
    tokens[role] = await desk.addUser(role, `the-${role}`);
});
afterAll(async () => {
  effects.close();
  await agent.close();
  await system.close();
});

const post = <Data>(path: string, body?: unknown, options?: RequestOptions): Promise<Reply<Envelope<Data>>> =>
  system.request('POST', path, body, options);

/** As `POST /tasks` makes them: nothing happens until it is asked for. */
async function manualTask(goal: string, wish: Record<string, unknown> = {}): Promise<string> {
  return (await desk.create({ goal, mode: 'manual', target: { agentId: 'the-server' }, ...wish })).id;
}

const execute = (id: string, body?: unknown, options?: RequestOptions) =>
  post<Executed>(`/tasks/${id}/step/execute`, body, options);
const propose = (id: string, body?: unknown, options?: RequestOptions) =>
  post<Proposed>(`/tasks/${id}/step/propose`, body, options);
const as = (role: string): RequestOptions => ({ token: tokens[role] ?? '' });

describe('executing a step', () => {
  it('answers a failing command with 200 and ends the task with it; the next one is its next run', async () => {
    const id = await manualTask('show something');
    const failed = await execute(id, { command: 'echo oops; exit 3' });
    expect(failed.status).toBe(200);
    expect(failed.body).toMatchObject({
      status: 'success',
      data: { output: 'oops\n', exit_code: 3, task_id: id, status: 'failed', outcome: 'failed', attempts: 1 },
    });
    expect(await desk.get(id)).toMatchObject({ state: 'failed', result: { reason: 'non_zero_exit_code' } });

    const good = await execute(id, { command: 'echo hello' });
    expect(good.body.data).toMatchObject({ output: 'hello\n', exit_code: 0, status: 'completed' });
    expect(await desk.get(id)).toMatchObject({ state: 'completed', runNo: 2, step: 1 });
    const audit = await desk.audit(id);
    expect(audit.filter(({ action }) => action === 'step.execute')).toHaveLength(2);
    expect(audit.filter(({ action }) => action === 'step.approve')).toHaveLength(2);
  });

  it('needs the right, an open task and something to run', async () => {
    const id = await manualTask('show something');
    expect((await execute(id, { command: 'true' }, as('user'))).status).toBe(403);
    expect((await execute(id, { command: 'true' }, as('viewer'))).status).toBe(403);
    expect((await execute('nobodys', { command: 'true' })).body).toEqual({
      status: 'error',
      message: 'not_found',
    });
    const none = await execute(id);
    expect(none.status).toBe(400);
    expect(none.body).toMatchObject({ status: 'error', message: 'no_proposal' });
    const late = await execute(id, { command: 'true', timeout: 121 });
    expect(late.status).toBe(422);
    expect(JSON.stringify(late.body)).toContain('"timeout"');
    expect(await desk.counts(id)).toEqual({ batches: 0, commands: 0 });
  });

  it('runs a proposal once and then has none any more', async () => {
    const id = await manualTask(`run: ${effects.mark('proposed')}`);
    const asked = await propose(id);
    expect(asked.body.data.command).toContain('echo proposed');
    const done = await execute(id, {});
    expect(done.body.data).toMatchObject({ status: 'completed', exit_code: 0 });
    expect(effects.lines().filter((line) => line === 'proposed')).toHaveLength(1);
    expect((await execute(id, {})).body).toMatchObject({ message: 'no_proposal' });
  });

  it('answers the same request again by its Idempotency-Key, and runs nothing twice', async () => {
    const id = await manualTask('once');
    const headers = { 'Idempotency-Key': `once-${id}` };
    const body = { command: effects.mark(`once-${id}`) };
    const [first, second] = await Promise.all([
      execute(id, body, { headers }),
      execute(id, body, { headers }),
    ]);
    expect(first.body).toEqual(second.body);
    expect((await execute(id, body, { headers })).body).toEqual(first.body);
    expect(effects.lines().filter((line) => line === `once-${id}`)).toHaveLength(1);
    const other = await execute(id, { command: 'echo other' }, { headers });
    expect(other).toMatchObject({ status: 422, body: { message: 'idempotency_conflict' } });
  });

  it('tries again as often as it was asked to, each time by a command of its own', async () => {
    const id = await manualTask('flaky');
    const line = `flaky-${id}`;
    const command = `${effects.mark(line)}; test "$(grep -c ${line} ${effects.path})" -ge 3`;
    const done = await execute(id, { command, retries: 4, retry_delay: 0 });
    expect(done.body.data).toMatchObject({ status: 'completed', exit_code: 0, attempts: 3 });
    expect(effects.lines().filter((each) => each === line)).toHaveLength(3);
    const [step] = await desk.steps(id);
    expect(step?.commands.map(({ attempt, state }) => [attempt, state]).sort()).toEqual([
      [1, 'failed'],
      [2, 'failed'],
      [3, 'succeeded'],
    ]);
    expect(new Set(step?.commands.map(({ commandId }) => commandId)).size).toBe(3);
    expect(await desk.get(id)).toMatchObject({ state: 'completed', step: 1 });

    const hopeless = await manualTask('hopeless');
    const failed = await execute(hopeless, { command: 'exit 9', retries: 1, retry_delay: 0 });
    expect(failed.body.data).toMatchObject({ status: 'failed', exit_code: 9, attempts: 2 });
  });

  it('answers what takes too long with its command, and ends the task when it has ended', async () => {
    const id = await manualTask('slow');
    const slow = await execute(id, { command: 'sleep 30', timeout: 0.2 });
    expect(slow.body.data).toMatchObject({ status: 'failed', exit_code: -1, outcome: 'timed_out' });
    expect(await desk.get(id)).toMatchObject({ state: 'failed', result: { reason: 'timed_out' } });
  });

  it('is done with although nobody waits any more, and the worker was away', async () => {
    const id = await manualTask('nobody waits');
    const line = `nobody-${id}`;
    await system.worker?.close();
    const gone = new AbortController();
    const asked = fetch(`${system.url}/tasks/${id}/step/execute`, {
      method: 'POST',
      signal: gone.signal,
      headers: { authorization: `Bearer ${system.token()}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        command: `${effects.mark(line)}; test "$(grep -c ${line} ${effects.path})" -ge 2`,
        retries: 3,
        retry_delay: 0,
      }),
    });
    await desk.untilCommand(id, 1, 'failed');
    gone.abort();
    await expect(asked).rejects.toThrow();
    expect(await desk.get(id)).toMatchObject({ state: 'running' });
    await system.startWorker();
    expect(await desk.untilEnded(id)).toMatchObject({ state: 'completed' });
    expect(effects.lines().filter((each) => each === line)).toHaveLength(2);
  });

  it('waits for an agent that is away, answers 504 with the command meanwhile, and ends when it is back', async () => {
    const { agentId, agentToken } = await system.enrol('comes-late');
    const id = await manualTask('later', { target: { agentId } });
    const late = await execute(id, { command: 'echo here I am', timeout: 0.1 });
    expect(late).toMatchObject({
      status: 504,
      body: { message: 'execution_pending', data: { task_id: id } },
    });
    const [step] = await desk.steps(id);
    expect(late.body.data.command_id).toBe(step?.commands[0]?.commandId);
    expect(await execute(id, { command: 'echo another' })).toMatchObject({
      status: 409,
      body: { message: 'command_running' },
    });
    const back = await system.startAgent({ agentId, token: agentToken });
    expect(await desk.untilEnded(id)).toMatchObject({ state: 'completed' });
    await back.close();
  });

  it('lets a supervised task go on: the model judges', async () => {
    const task = await desk.create({ goal: 'run: echo the first step', target: { agentId: 'the-server' } });
    await desk.untilProposed(task.id, 1);
    const done = await execute(task.id);
    expect(done.body.data).toMatchObject({ status: 'completed', output: 'the first step\n' });
    expect(await desk.untilEnded(task.id)).toMatchObject({ state: 'completed' });
  });
});

describe('quality gates', () => {
  const setGates = (value: unknown) =>
    desk.sql(
      `insert into settings (namespace, key, value) values ('hub', 'quality_gates', :value)
       on conflict (namespace, key) do update set value = excluded.value`,
      { value: JSON.stringify(value) },
    );

  it('tell of a direct execution, and decide where they are set to', async () => {
    const told = await execute(await manualTask('Implement the endpoint'), {
      command: 'echo all is done now',
    });
    expect(told.body.data).toMatchObject({
      status: 'completed',
      quality_gate: 'missing_coding_quality_markers',
    });
    await setGates({ execute_enforce: true, min_output_chars: 4 });
    const id = await manualTask('Implement the endpoint');
    const held = await execute(id, { command: 'echo all is done now' });
    expect(held.body.data).toMatchObject({
      status: 'failed',
      exit_code: 0,
      quality_gate: 'missing_coding_quality_markers',
    });
    expect(await desk.get(id)).toMatchObject({
      state: 'failed',
      result: { reason: 'missing_coding_quality_markers' },
    });
    const passed = await execute(id, { command: 'echo 4 tests passed' });
    expect(passed.body.data).toMatchObject({ status: 'completed', quality_gate: 'passed_coding_markers' });
    const silent = await post<Executed>('/step/execute', { command: 'true' });
    expect(silent.body.data).toMatchObject({
      status: 'failed',
      quality_gate: 'insufficient_output_evidence',
    });
    await setGates({});
  });
});

describe('proposing a step', () => {
  it('waits for the proposal, and replaces one that is undecided', async () => {
    const id = await manualTask('run: echo by the goal');
    const first = await propose(id);
    expect(first.status).toBe(200);
    expect(first.body.data).toMatchObject({ status: 'proposing', tool_calls: null });
    expect(first.body.data.command).toBe('echo by the goal');
    expect(JSON.parse(first.body.data.raw)).toEqual({
      reason: first.body.data.reason,
      command: 'echo by the goal',
    });
    expect(first.body.data).not.toHaveProperty('comparisons');

    const other = await propose(id, { prompt: 'run: echo by the prompt' });
    expect(other.body.data.command).toBe('echo by the prompt');
    const steps = await desk.steps(id);
    expect(steps.map(({ decision }) => decision)).toEqual(['void', null]);
    const done = await execute(id);
    expect(done.body.data.output).toBe('by the prompt\n');
    expect(await desk.get(id)).toMatchObject({ state: 'completed' });

    const again = await propose(id);
    expect(again.body.data.command).toBe('echo by the goal');
    expect(await desk.get(id)).toMatchObject({ runNo: 2, state: 'awaiting_decision' });
  });

  it('compares models, and says which there are not', async () => {
    const id = await manualTask('run: echo compared');
    const asked = await propose(id, { providers: ['openai', 'mock', 'mock:other'] });
    expect(asked.body.data.command).toBe('echo compared');
    expect(asked.body.data.comparisons).toEqual({
      openai: { error: 'Unknown provider: openai' },
      mock: expect.objectContaining({ command: 'echo compared', tool_calls: null }),
      'mock:other': expect.objectContaining({ command: 'echo compared' }),
    });
    const unknown = await propose(id, { providers: ['openai', 'ollama:x'] });
    expect(unknown).toMatchObject({
      status: 400,
      body: {
        message: 'No known provider',
        data: { comparisons: { openai: { error: 'Unknown provider: openai' } } },
      },
    });
    expect((await propose(id, { provider: 'openai' })).body).toMatchObject({
      message: 'Unknown provider: openai',
    });
    expect((await propose(id, { provider: 'mock', model: 'any' })).status).toBe(200);
  });

  it('says at once that no agent fits, and refuses strangers to the task', async () => {
    const id = await manualTask('x', { target: { tags: ['nowhere'] } });
    expect(await propose(id)).toMatchObject({ status: 409, body: { message: 'no_agent' } });
    expect((await propose(id, {}, as('viewer'))).status).toBe(403);
    expect((await propose(id, {}, as('user'))).status).toBe(404);
    expect((await propose('nobodys')).status).toBe(404);
  });
});

describe('steps without a task', () => {
  it('asks the model for a command and keeps nothing', async () => {
    const asked = await post<Proposed>('/step/propose', {
      prompt: 'run: echo loose',
      providers: ['mock', 'gone'],
    });
    expect(asked.body.data).toMatchObject({
      command: 'echo loose',
      tool_calls: null,
      comparisons: { gone: { error: 'Unknown provider: gone' } },
    });
    expect(asked.body.data).not.toHaveProperty('status');
    expect(await post('/step/propose', {})).toMatchObject({
      status: 400,
      body: { message: 'Missing prompt' },
    });
    const [{ count } = { count: -1 }] = await desk.sql<{ count: number }>(
      `select count(*)::int as count from steps where reason like '%loose%'`,
    );
    expect(count).toBe(0);
  });

  it('runs on the machine of the server, with further attempts', async () => {
    const done = await post<Executed>('/step/execute', { command: 'echo out; echo err >&2' });
    expect(done.body.data).toMatchObject({
      output: 'out\nerr\n',
      exit_code: 0,
      task_id: null,
      status: 'completed',
      attempts: 1,
    });
    const failed = await post<Executed>('/step/execute', { command: 'exit 4', retries: 2, retry_delay: 0 });
    expect(failed.body.data).toMatchObject({ exit_code: 4, status: 'failed', attempts: 3 });
    expect(await post('/step/execute', {})).toMatchObject({ status: 400, body: { message: 'no_proposal' } });
    const forUser = await post('/step/execute', { command: 'true' }, as('user'));
    expect(forUser.status).toBe(403);
  });

  it('with a task is as for that task', async () => {
    const id = await manualTask('run: echo by id');
    const asked = await post<Proposed>('/step/propose', { task_id: id });
    expect(asked.body.data).toMatchObject({ status: 'proposing', command: 'echo by id' });
    const done = await post<Executed>('/step/execute', { task_id: id });
    expect(done.body.data).toMatchObject({ task_id: id, output: 'by id\n', status: 'completed' });
    expect((await post('/step/execute', { task_id: 'nobodys', command: 'true' })).status).toBe(404);
  });
});

describe('tools', () => {
  it('run for administrators only, within the guardrails, and are kept with the task', async () => {
    const id = await manualTask('look around');
    const call = { tool_calls: [{ name: 'list_agents', args: {} }] };
    expect((await execute(id, call, as('operator'))).status).toBe(403);
    const done = await execute(id, call);
    expect(done.body.data).toMatchObject({
      status: 'completed',
      exit_code: 0,
      command_id: null,
      task_id: id,
    });
    expect(done.body.data.output).toContain('the-server');
    expect(await desk.get(id)).toMatchObject({ state: 'completed', step: 0 });

    const tooMany = { tool_calls: Array.from({ length: 6 }, () => ({ name: 'list_agents' })) };
    const blocked = await execute(id, tooMany);
    expect(blocked).toMatchObject({
      status: 400,
      body: {
        status: 'error',
        message: 'tool_guardrail_blocked',
        data: {
          blocked_tools: ['list_agents'],
          blocked_reasons: ['guardrail_max_tool_calls_exceeded'],
          guardrails: { calls: 6, max_tool_calls_per_request: 5 },
        },
      },
    });
    const wrong = await execute(id, {
      tool_calls: [{ name: 'rm_rf' }, { name: 'analyze_logs', args: { limit: 'x' } }],
    });
    expect(wrong.body.data).toMatchObject({ status: 'failed', exit_code: 1 });
    expect(wrong.body.data.output).toContain("Tool 'rm_rf': error");
    const rows = await desk.sql<{ outcome: string }>(
      'select outcome from tool_runs where task_id = cast(:id as uuid) order by at, id',
      { id },
    );
    expect(rows.map(({ outcome }) => outcome)).toEqual(['completed', 'blocked', 'failed']);
  });

  it('go before a command, which does not run after one that failed', async () => {
    const id = await manualTask('both');
    const line = `both-${id}`;
    const command = effects.mark(line);
    const failed = await execute(id, { command, tool_calls: [{ name: 'nothing_like_it' }] });
    expect(failed.body.data).toMatchObject({ status: 'failed', command_id: null });
    expect(effects.lines()).not.toContain(line);
    const done = await execute(id, {
      command,
      tool_calls: [{ name: 'analyze_logs', arguments: { limit: 1 } }],
    });
    expect(done.body.data).toMatchObject({ status: 'completed', task_id: id });
    expect(done.body.data.output).toContain("Tool 'analyze_logs': success");
    expect(effects.lines().filter((each) => each === line)).toHaveLength(1);
  });

  it('without a task are run all the same', async () => {
    const done = await post<Executed>('/step/execute', { tool_calls: [{ tool_name: 'list_agents' }] });
    expect(done.body.data).toMatchObject({ status: 'completed', task_id: null });
  });
});

describe('what old workers ask', () => {
  const ask = async (cmd: string, token: string | null): Promise<string> => {
    const reply = await fetch(`${system.url}/approve`, {
      method: 'POST',
      body: new URLSearchParams({ cmd, summary: 'because' }),
      ...(token === null ? {} : { headers: { authorization: `Bearer ${token}` } }),
    });
    expect(reply.status).toBe(200);
    return reply.text();
  };

  it('is answered from the policy, and never by yes to a stranger', async () => {
    const saved = await system.call<{ id: string }>('POST', '/v1/saved-commands', {
      name: 'uptime-of-workers',
      scripts: { sh: 'uptime' },
      autoApprove: true,
    });
    expect(saved.id).toBeTruthy();
    expect(await ask('uptime', null)).toBe('SKIP');
    expect(await ask('uptime', 'no-token-of-ours')).toBe('SKIP');
    expect(await ask('uptime', agent.agentToken)).toBe('{"status": "approved"}');
    expect(await ask('uptime -p', agent.agentToken)).toBe('SKIP');
    expect(await ask('uptime -p', tokens.user ?? '')).toBe('SKIP');
    expect(await ask('uptime -p', tokens.operator ?? '')).toBe('{"status": "approved"}');
    expect(await ask('', tokens.operator ?? '')).toBe('SKIP');
    const rows = await desk.sql<{ outcome: string }>(
      `select outcome from audit_events where action = 'approval.answer' order by id`,
    );
    expect(rows.map(({ outcome }) => outcome)).toEqual(['success', 'denied', 'denied', 'success', 'denied']);
  });
});
