/** Running commands in the dialect of dex, on real agents: exact bodies, waiting, the server's own machine, running again. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { query } from '../../db/database.ts';
import { ledgerOf } from '../support/ledger.ts';
import { outputFrame, resultFrame, startedFrame, summaryOf } from '../support/scripted-agent.ts';
import { type System, startSystem, type TestAgent } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

type Body = Record<string, unknown>;
const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
const uuid = expect.stringMatching(/^[0-9a-f-]{36}$/);
const url = (stream: string) =>
  expect.stringMatching(new RegExp(`^/v1/commands/[0-9a-f-]{36}/output/${stream}$`));

let system: System;
let ledger: ReturnType<typeof ledgerOf>;
let agent: TestAgent;
let away: string;
beforeAll(async () => {
  system = await startSystem({ worker: false });
  ledger = ledgerOf(system);
  agent = await system.startAgent();
  away = (await system.enrol('away')).agentId;
});
afterAll(() => system.close());

async function ask<T = Body>(method: string, path: string, body?: unknown, headers: Body = {}) {
  const reply = await system.request<T>(method, path, body, { headers: headers as Record<string, string> });
  return [reply.status, reply.body] as const;
}
const run = (path: string, body: unknown, headers?: Body) =>
  ask('POST', `/api/v1/agents/${agent.agentId}${path}`, body, headers);
const execute = (path: string, body: unknown, headers?: Body) =>
  ask('POST', `/api/v1/commands/agent/${agent.agentId}${path}`, body, headers);
const failure = (error: string, code: string) => ({
  success: false,
  error,
  code,
  details: {},
  detail: error,
});

const outcome = {
  success: true,
  command_id: uuid,
  output: 'hello\n',
  error: null,
  exit_code: 0,
  execution_time: expect.any(Number),
  shell: 'bash',
  outcome: 'succeeded',
  output_truncated: false,
  output_url: url('stdout'),
  error_url: url('stderr'),
};

describe('/api/v1/agents/{id}/command', () => {
  it('answers with the output, and with failures as 200', async () => {
    expect(await run('/command', { command: 'echo hello' })).toEqual([
      200,
      { ...outcome, agent_id: agent.agentId, timestamp: time, command: 'echo hello' },
    ]);
    const [status, failed] = await run('/command/', {
      command: 'pwd; echo oh >&2; exit 3',
      timeout: 5,
      working_directory: '/',
      run_as_admin: false,
    });
    expect(status).toBe(200);
    expect(failed).toMatchObject({
      success: false,
      output: '/\n',
      error: 'oh\n',
      exit_code: 3,
      outcome: 'failed',
    });
    const [, silent] = await run('/command', { command: 'exit 4' });
    expect(silent).toMatchObject({ success: false, output: '', error: 'Command failed with exit code 4' });
  });

  it('takes numbers and booleans as texts, as its clients may send them', async () => {
    const lax = { command: 'echo hello', timeout: '0030.0', run_as_admin: 'False', queue: 1 };
    expect(await run('/command?queue=on', lax)).toMatchObject([200, { success: true, output: 'hello\n' }]);
    const [, slow] = await run('/command', { command: 'sleep 30', timeout: '0.5' });
    expect(slow).toMatchObject({ error: 'Command timed out after 0.5 seconds', outcome: 'timed_out' });
    for (const wrong of [{ timeout: 'soon' }, { run_as_admin: 'admin' }, { command: 7 }])
      expect((await run('/command', { command: 'true', ...wrong }))[0], JSON.stringify(wrong)).toBe(422);
    const [status, commands] = await ask('GET', `/api/v1/agents/${agent.agentId}/commands?limit=1`);
    expect([status, (commands as unknown as Body[]).length]).toEqual([200, 1]);
  });

  it('says in the answer that the time is over', async () => {
    const [status, body] = await run('/command', { command: 'echo first; sleep 30', timeout: 0.5 });
    expect(status).toBe(200);
    expect(body).toMatchObject({
      success: false,
      output: 'first\n',
      error: 'Command timed out after 0.5 seconds',
      exit_code: -1,
      outcome: 'timed_out',
    });
  });

  it('refuses what is no command, no agent, and an agent that is not there', async () => {
    for (const body of [{}, { command: '' }, { command: ' \n' }, { command: 'x', timeout: 0 }]) {
      expect((await run('/command', body))[0], JSON.stringify(body)).toBe(422);
    }
    const [status, refused] = await run('/command', { command: 'x', timeout: 301 });
    expect(status).toBe(422);
    expect(refused).toMatchObject({ detail: [expect.objectContaining({ loc: ['body', 'timeout'] })] });
    const body = { command: 'true' };
    expect(await ask('POST', '/api/v1/agents/nobody/command', body)).toEqual([
      404,
      failure('Agent not found', 'AGENT_NOT_FOUND'),
    ]);
    expect(await ask('POST', `/api/v1/agents/${away}/command`, body)).toEqual([
      400,
      failure('Agent is not connected', 'AGENT_NOT_CONNECTED'),
    ]);
    expect(
      await query(system.api.parts.db, 'select 1 from commands where agent_id = :away', { away }),
    ).toEqual([]);
  });

  it('needs the right to execute', async () => {
    const token = await deskOf(system).addUser('viewer', 'only-looks');
    const path = `/api/v1/agents/${agent.agentId}/command`;
    expect((await system.request('POST', path, { command: 'true' }, { token })).status).toBe(403);
  });

  it('runs as an administrator only where the agent can', async () => {
    const scripted = await ledger.connect();
    const path = `/api/v1/agents/${scripted.agentId}/command`;
    const answer = ask('POST', path, { command: 'id', run_as_admin: true });
    const frame = await scripted.take('run');
    expect(frame.act.elevated).toBe(true);
    scripted.send(
      resultFrame(frame, {
        outcome: 'rejected',
        exitCode: null,
        reason: 'elevation_not_available',
        startedAt: null,
      }),
    );
    expect(await answer).toMatchObject([
      200,
      {
        success: false,
        outcome: 'rejected',
        error: 'Command was rejected: elevation_not_available',
        exit_code: null,
      },
    ]);
    await scripted.close();
  });

  it('asks for PowerShell where the agent has it, and cuts what is long', async () => {
    const scripted = await ledger.connect({ hello: { shells: ['bash', 'pwsh'], defaultShell: 'bash' } });
    const answer = ask('POST', `/api/v1/agents/${scripted.agentId}/command`, { command: 'Get-Date' });
    const frame = await scripted.take('run');
    expect(frame.act).toMatchObject({ mode: 'shell', shell: 'pwsh', script: 'Get-Date' });
    scripted.send(startedFrame(frame));
    const bytes = Buffer.from([0xff, 0x41, 0x00]);
    scripted.send(outputFrame(frame, 'stdout', 0, bytes));
    await scripted.take('outputAck');
    scripted.send(resultFrame(frame, { stdout: summaryOf(bytes) }));
    expect(await answer).toMatchObject([
      200,
      { shell: 'pwsh', output: '\ufffdA\0', output_truncated: false },
    ]);
    await scripted.close();
    const [, long] = await run('/command', { command: `printf 'é%.0s' $(seq 600000)` });
    expect(long).toMatchObject({ success: true, output_truncated: true });
    // 1 MiB of two-byte letters.
    expect(long.output).toBe('é'.repeat(512 * 1024));
    const whole = await fetch(`${system.url}${String(long.output_url)}`, {
      headers: { authorization: `Bearer ${system.token()}` },
    });
    expect((await whole.arrayBuffer()).byteLength).toBe(1_200_000);
  });

  it('runs once for one Idempotency-Key, whatever has become of the agent', async () => {
    const passing = await system.startAgent();
    const headers = { 'Idempotency-Key': 'dex-once' };
    const path = `/api/v1/agents/${passing.agentId}/command`;
    const first = await ask('POST', path, { command: 'echo once' }, headers);
    await passing.close();
    // Before that a command would be taken, and wait for the agent.
    await system.until(
      () => system.call<{ status: string }>('GET', `/v1/agents/${passing.agentId}`),
      ({ status }) => status === 'offline',
    );
    expect((await ask('POST', path, { command: 'echo other' }))[0]).toBe(400);
    expect(await ask('POST', path, { command: 'echo once' }, headers)).toEqual(first);
    expect((await ask('POST', path, { command: 'echo twice' }, headers))[0]).toBe(422);
  });
});

describe('/api/v1/agents/{id}/commands', () => {
  it('is the history, newest first, in pages, with the beginning of the output', async () => {
    const own = await system.startAgent();
    for (const n of [1, 2, 3]) {
      await ask('POST', `/api/v1/agents/${own.agentId}/command`, { command: `printf ${n}%.0s $(seq 5000)` });
    }
    const path = `/api/v1/agents/${own.agentId}/commands`;
    const page = await system.request<Body[]>('GET', `${path}?limit=2`);
    expect(page.body.map(({ output }) => output)).toEqual(['3'.repeat(4096), '2'.repeat(4096)]);
    expect(page.body[0]).toMatchObject({ agent_id: own.agentId, output_truncated: true, success: true });
    const cursor = page.headers.get('X-Next-Cursor');
    const rest = await system.request<Body[]>('GET', `${path}?limit=2&cursor=${cursor}`);
    expect(rest.body.map(({ command }) => command)).toEqual(['printf 1%.0s $(seq 5000)']);
    expect(rest.headers.get('X-Next-Cursor')).toBeNull();
    expect((await ask<Body[]>('GET', `${path}?limit=5000`))[1]).toHaveLength(3);
    expect((await ask('GET', '/api/v1/agents/nobody/commands'))[0]).toBe(404);
    expect((await ask('GET', `${path}?cursor=x`))[0]).toBe(422);
  });

  it('is found by an index', async () => {
    const plan = await system.api.parts.db.transaction(async (trx) => {
      await trx.raw('set local enable_seqscan = off');
      await trx.raw('set local enable_sort = off');
      const { rows } = await trx.raw(
        `explain select command_id from commands c where c.agent_id = 'x'
         and (c.created_at, c.command_id) < (now(), '01890000-0000-7000-8000-000000000000')
         order by c.created_at desc, c.command_id desc limit 51`,
      );
      return JSON.stringify(rows);
    });
    expect(plan).toContain('commands_agent_idx');
  });

  it('shows whoever sees only what is theirs nothing of others', async () => {
    const token = await deskOf(system).addUser('user', 'own-only');
    const path = `/api/v1/agents/${agent.agentId}/commands`;
    expect((await system.request('GET', path, undefined, { token })).body).toEqual([]);
  });
});

describe('/api/v1/commands/agent/{id}', () => {
  it('executes: completed, timeout, not connected', async () => {
    expect(await execute('/execute', { command: 'echo hello' })).toEqual([
      200,
      { ...outcome, agent_id: agent.agentId, status: 'completed' },
    ]);
    expect(await execute('/execute', { command: 'sleep 20', timeout: 0.3 })).toMatchObject([
      200,
      {
        success: false,
        status: 'timeout',
        message: 'Command timed out after 0.3 seconds',
        command_id: uuid,
        agent_id: agent.agentId,
      },
    ]);
    const absent = failure('Agent not connected', 'AGENT_NOT_CONNECTED');
    for (const route of ['execute', 'execute/async']) {
      expect(await ask('POST', `/api/v1/commands/agent/${away}/${route}`, { command: 'true' })).toEqual([
        404,
        absent,
      ]);
      expect((await ask('POST', `/api/v1/commands/agent/nobody/${route}`, { command: 'true' }))[0]).toBe(404);
    }
  });

  it('sends, tells that it is pending, then the result; cancels', async () => {
    const [status, sent] = await execute('/execute/async', { command: 'sleep 30' });
    const ids = { command_id: uuid, agent_id: agent.agentId };
    expect([status, sent]).toEqual([
      200,
      { message: 'Command sent to agent successfully', ...ids, status: 'sent', shell: 'bash' },
    ]);
    const result = `/api/v1/commands/agent/${agent.agentId}/result/${String(sent.command_id)}`;
    expect(await ask('GET', result)).toEqual([
      200,
      { status: 'pending', ...ids, message: 'Command is still executing' },
    ]);
    await ledger.until(String(sent.command_id), 'running');
    expect(await ask('POST', `/api/v1/commands/${String(sent.command_id)}/cancel`)).toMatchObject([200, ids]);
    await ledger.until(String(sent.command_id), 'canceled');
    const [, ended] = await ask('GET', result);
    expect(ended).toMatchObject({
      status: 'completed',
      ...ids,
      result: { success: false, outcome: 'canceled', return_code: null, timestamp: time, output: '' },
    });
    const none = failure('Command not found', 'COMMAND_NOT_FOUND');
    for (const path of [
      `/api/v1/commands/agent/${away}/result/${String(sent.command_id)}`,
      `/api/v1/commands/agent/${agent.agentId}/result/no-such`,
    ]) {
      expect(await ask('GET', path)).toEqual([404, none]);
    }
  });

  it('queues for an agent that is away where that is asked for', async () => {
    const path = `/api/v1/commands/agent/${away}/execute/async`;
    const [status, body] = await ask('POST', `${path}?queue=true`, { command: 'echo later' });
    expect([status, body]).toMatchObject([200, { status: 'queued', message: 'Command waits for the agent' }]);
    expect((await ledger.command(String(body.command_id))).state).toBe('queued');
    expect((await ask('POST', path, { command: 'echo later', queue: true }))[1]).toMatchObject({
      status: 'queued',
    });
  });
});

describe('/api/v1/send and /api/v1/connected', () => {
  it.each(['/api/v1', '/websocket'])('under %s', async (at) => {
    const [status, sent] = await ask('POST', `${at}/send/${agent.agentId}/command`, { command: 'true' });
    expect([status, sent]).toMatchObject([
      200,
      { message: expect.any(String), command_id: uuid, agent_id: agent.agentId },
    ]);
    expect((await ask('POST', `${at}/send/${away}/command`, { command: 'true' }))[0]).toBe(404);
    const [, connected] = await ask(`GET`, `${at}/connected`);
    expect(connected.connected_agents).toContain(agent.agentId);
    expect(connected.connected_agents).not.toContain(away);
    expect(connected.count).toBe((connected.connected_agents as string[]).length);
    expect((await fetch(`${system.url}${at}/connected`)).status).toBe(401);
  });
});

describe('/api/v1/commands/execute', () => {
  it('is 503 without the local agent, and runs on it', async () => {
    const path = '/api/v1/commands/execute';
    expect((await fetch(`${system.url}${path}`, { method: 'POST' })).status).toBe(401);
    expect(await ask('POST', path, { command: 'echo hello' })).toMatchObject([
      503,
      { success: false, code: 'LOCAL_AGENT_UNAVAILABLE' },
    ]);
    await system.startAgent({ agentId: 'local' });
    const answer = { ...outcome, agent_id: 'local', timestamp: time };
    expect(await ask('POST', path, { command: 'echo hello' })).toEqual([
      200,
      { ...answer, command: 'echo hello' },
    ]);
    const refused = await ask('POST', path, { command: 'x', timeout: 301 });
    expect(refused).toMatchObject([422, { detail: [{ loc: ['body', 'timeout'] }] }]);
  });

  it('runs a batch in its order, side by side, all or nothing, once for a key', async () => {
    const path = '/api/v1/commands/execute/batch';
    const batch = [{ command: 'sleep 0.3; echo a' }, { command: 'echo b; exit 2' }, { command: 'echo c' }];
    const headers = { 'Idempotency-Key': 'a-batch' };
    const [status, answers] = await ask<Body[]>('POST', path, batch, headers);
    expect(status).toBe(200);
    expect(answers.map(({ output, exit_code: code }) => [output, code])).toEqual([
      ['a\n', 0],
      ['b\n', 2],
      ['c\n', 0],
    ]);
    expect((await ask<Body[]>('POST', path, batch, headers))[1]).toEqual(answers);
    expect((await ask('POST', path, batch.slice(1), headers))[0]).toBe(422);
    const count = () => query(system.api.parts.db, `select 1 from commands where agent_id = 'local'`, {});
    const before = (await count()).length;
    const refused = await ask('POST', path, [{ command: 'true' }, { command: 'x', timeout: 301 }]);
    expect(refused).toMatchObject([422, { detail: [{ loc: ['body', 1, 'timeout'] }] }]);
    expect((await count()).length).toBe(before);
    expect(await ask('POST', path, [])).toEqual([200, []]);
    const many = Array.from({ length: 101 }, () => ({ command: 'true' }));
    expect((await ask('POST', path, many))[0]).toBe(422);
  });
});

describe('running again what failed', () => {
  it('runs the same act on the agents where it failed, for the house and for dex', async () => {
    const [good, bad] = await Promise.all([system.startAgent(), system.startAgent()]);
    const revoked = await ledger.connect();
    // Fails where there is no marker.
    const marker = (one: TestAgent) => `${one.home}/marker`;
    const command = `test -e ${marker(good)} || exit 7`;
    const answer = ledger.run({
      agents: [good.agentId, revoked.agentId],
      act: { command, shell: 'sh' },
      waitMs: 10_000,
    });
    const frame = await revoked.take('run');
    revoked.send(startedFrame(frame));
    revoked.send(resultFrame(frame, { outcome: 'failed', exitCode: 1, reason: 'exit_code' }));
    const batch = await answer;
    expect(batch.commands.map(({ state }) => state)).toEqual(['failed', 'failed']);
    await system.call('DELETE', `/api/v1/agents/${revoked.agentId}`);
    const again = `/v1/batches/${batch.batchId}/rerun-failed`;
    const headers = { 'Idempotency-Key': 'again' };
    const first = await system.request<{
      batchId: string;
      commands: { attempt: number; agentId: string; digest: string }[];
    }>('POST', again, {}, { headers });
    expect(first.status).toBe(201);
    expect(first.body.commands).toMatchObject([
      { agentId: good.agentId, attempt: 2, digest: batch.commands[0]?.digest },
    ]);
    expect(await ledger.auditCount('command.rerun', first.body.batchId)).toBe(1);
    const repeat = await system.request<{ batchId: string }>('POST', again, {}, { headers });
    expect([repeat.status, repeat.body.batchId]).toEqual([200, first.body.batchId]);
    const other = await system.request('POST', again, { outcomes: ['unknown'] }, { headers });
    expect(other.status).toBe(422);
    const id = first.body.commands[0] as unknown as { commandId: string };
    await ledger.until(id.commandId, 'failed');
    expect(await ask('POST', `/api/v1/commands/${id.commandId}/rerun-failed`, {})).toEqual([
      200,
      {
        executed_command: command,
        results: [
          {
            message: 'Command sent to agent successfully',
            command_id: uuid,
            agent_id: good.agentId,
            status: 'sent',
            shell: 'sh',
          },
        ],
      },
    ]);
    // What succeeded, or was canceled, is not run again.
    const fine = await ledger.run({ agents: [bad.agentId], act: { command: 'true' }, waitMs: 10_000 });
    expect((await ask('POST', `/v1/batches/${fine.batchId}/rerun-failed`, {}))[0]).toBe(409);
    expect(
      (await ask('POST', `/v1/batches/${fine.batchId}/rerun-failed`, { outcomes: ['succeeded'] }))[0],
    ).toBe(422);
    expect((await ask('POST', '/api/v1/commands/none/rerun-failed', {}))[0]).toBe(404);
  });
});
