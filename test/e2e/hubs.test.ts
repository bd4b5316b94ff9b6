/** Two whole installations, one of them an agent with an address of the other. */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Reply, type RequestOptions, type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

interface Envelope<Data> {
  status: string;
  message?: string;
  data: Data;
}

interface AnantaTask {
  status: string;
  assigned_agent_url: string | null;
  parent_task_id: string | null;
  last_output: string | null;
  last_exit_code: number | null;
  last_proposal: { command: string | null } | null;
  history: {
    output: string;
    exit_code: number | null;
    status: string;
    subtask_id?: string;
    outcome: string | null;
  }[];
}

let hub: System;
let worker: System;
beforeAll(async () => {
  [hub, worker] = await Promise.all([
    startSystem({ env: { AGENT_URL_ALLOW: '127.0.0.1', AGENT_TOKEN: 'a-shared-token-of-the-hub' } }),
    startSystem({ env: { WEBHOOK_URL_ALLOW: '127.0.0.1', LOCAL_AGENT_ID: 'over-there' } }),
  ]);
  await worker.startAgent({ agentId: 'over-there' });
  const registered = await post('/register', { name: 'the-worker', url: worker.url, token: worker.token() });
  expect(registered).toMatchObject({ status: 200, body: { data: { status: 'registered' } } });
});
afterAll(() => Promise.all([hub?.close(), worker?.close()]));

const post = <Data = Record<string, unknown>>(
  path: string,
  body?: unknown,
  options?: RequestOptions,
): Promise<Reply<Envelope<Data>>> => hub.request('POST', path, body, options);
const read = async (id: string, of: System = hub): Promise<AnantaTask> =>
  (await of.call<Envelope<AnantaTask>>('GET', `/tasks/${id}`)).data;

async function makeTask(description: string, wish: object = {}): Promise<string> {
  const made = await post<{ id: string }>('/tasks', { description, ...wish });
  expect(made.status).toBe(201);
  return made.body.data.id;
}

async function assigned(description: string, url: string): Promise<string> {
  const id = await makeTask(description);
  expect(await post(`/tasks/${id}/assign`, { agent_url: url })).toMatchObject({
    status: 200,
    body: { data: { status: 'assigned', agent_url: url } },
  });
  return id;
}

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** An agent of another make, which answers as it is told. */
async function startStranger(answer: RequestListener): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    request.resume();
    if (request.url === '/health') response.end('{}');
    else answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

const reply =
  (body: unknown, status = 200): RequestListener =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };

describe('an agent with an address', () => {
  it('is listed with it, without its token', async () => {
    const { body } = await hub.request<
      Envelope<{ url: string; name: string; token: string; status: string }[]>
    >('GET', '/agents');
    const [listed] = body.data.filter(({ url }) => url === worker.url);
    expect(listed).toMatchObject({ name: 'the-worker', role: 'worker', status: 'online' });
    expect(JSON.stringify(body)).not.toContain(worker.token());
  });

  it('proposes and executes the steps of a task that is assigned to it', async () => {
    const id = await assigned('run: echo from-afar', worker.url);
    expect((await read(id)).assigned_agent_url).toBe(worker.url);
    const proposed = await post<{ command: string; reason: string }>(`/tasks/${id}/step/propose`, {});
    expect(proposed).toMatchObject({ status: 200, body: { data: { status: 'proposing' } } });
    expect(proposed.body.data.command).toContain('from-afar');
    const executed = await post<{ output: string; command_id: string }>(`/tasks/${id}/step/execute`);
    expect(executed).toMatchObject({
      status: 200,
      body: { data: { output: 'from-afar\n', exit_code: 0, status: 'completed', outcome: 'succeeded' } },
    });
    // It ran there, under the same task id, and both ledgers tell of it.
    const there = await read(id, worker);
    expect(there).toMatchObject({ last_output: 'from-afar\n', last_exit_code: 0 });
    const command = await hub.call<{ state: string }>('GET', `/v1/commands/${executed.body.data.command_id}`);
    expect(command.state).toBe('succeeded');
    expect(await read(id)).toMatchObject({ status: 'completed', last_output: 'from-afar\n' });
  });

  it('runs a failing command with its exit code, and a command for no task', async () => {
    const id = await assigned('fail', worker.url);
    const failed = await post(`/tasks/${id}/step/execute`, { command: 'echo no; exit 7' });
    expect(failed).toMatchObject({
      status: 200,
      body: { data: { exit_code: 7, status: 'failed', output: 'no\n' } },
    });
    const agents = await hub.call<{ items: { id: string; hostname: string }[] }>('GET', '/v1/agents');
    const agentId = agents.items.find(({ hostname }) => hostname === 'the-worker')?.id ?? '';
    const run = await hub.call<{ id: string; commands: { commandId: string }[] }>('POST', '/v1/commands', {
      agentIds: [agentId],
      act: { command: 'echo loose' },
    });
    const commandId = JSON.stringify(run).match(/"commandId":"([^"]+)"/)?.[1] ?? '';
    const ended = await hub.until(
      () => hub.call<{ state: string; exitCode: number }>('GET', `/v1/commands/${commandId}`),
      ({ state }) => state === 'succeeded',
      'the loose command',
    );
    expect(ended.exitCode).toBe(0);
  });
});

describe('a task that goes on by itself', () => {
  it('is proposed over there, decided here, run over there, and ends with that', async () => {
    const desk = deskOf(hub);
    const [agent] = (
      await hub.call<{ items: { id: string; hostname: string }[] }>('GET', '/v1/agents')
    ).items.filter(({ hostname }) => hostname === 'the-worker');
    const { id } = await desk.create({
      goal: 'run: echo watched',
      mode: 'supervised',
      target: { agentId: agent?.id ?? '' },
    });
    await hub.untilTask(id, ({ state }) => state === 'awaiting_decision');
    await desk.approve(id, 1);
    const ended = await hub.untilTask(id, ({ state }) => state === 'completed' || state === 'failed', 40_000);
    expect(ended).toMatchObject({ state: 'completed', step: 1 });
    expect(await read(id)).toMatchObject({ last_output: 'watched\n', history: [{ exit_code: 0 }] });
  });

  it('a part that was handed on can also be run from here, with the token it was handed on with', async () => {
    const parent = await makeTask('whole');
    const handed = await post<{ subtask_id: string }>(`/tasks/${parent}/delegate`, {
      agent_url: worker.url,
      agent_token: worker.token(),
      subtask_description: 'a part',
    });
    const part = handed.body.data.subtask_id;
    expect(await post(`/tasks/${part}/step/execute`, { command: 'echo both' })).toMatchObject({
      status: 200,
      body: { data: { output: 'both\n', status: 'completed' } },
    });
    const whole = await hub.until(
      () => read(parent),
      ({ history }) => history.some(({ subtask_id: id, status }) => id === part && status === 'completed'),
      'the report, after the command',
      40_000,
    );
    expect(whole.history.at(-1)).toMatchObject({ subtask_id: part, exit_code: 0 });
    expect((await read(part)).status).toBe('completed');
  });
});

describe('registering', () => {
  it('needs a token, an address that is listed, and somebody there', async () => {
    const stranger = await startStranger(reply({}));
    const wish = { name: 'stranger', url: stranger.url };
    const none = { token: '' };
    expect(await post('/register', wish, none)).toMatchObject({
      status: 401,
      body: { status: 'error', message: 'Invalid or missing registration token' },
    });
    expect(await post('/register', { ...wish, registration_token: 'wrong' }, none)).toMatchObject({
      status: 401,
    });
    expect(stranger.asked).toEqual([]);
    const shared = { registration_token: 'a-shared-token-of-the-hub' };
    expect(await post('/register', { ...wish, ...shared }, none)).toMatchObject({ status: 200 });
    expect(stranger.asked).toEqual(['GET /health']);
    for (const url of ['http://127.0.0.1:9', 'http://169.254.169.254/latest', 'http://10.1.2.3:8080']) {
      expect(await post('/register', { name: 'gone', url, ...shared }, none)).toMatchObject({
        status: 400,
        body: { message: `Agent URL ${url} is unreachable` },
      });
    }
    expect(await post('/register', { name: 'x', url: 'ftp://127.0.0.1/', ...shared }, none)).toMatchObject({
      status: 422,
    });
  });

  it('gives whoever brings an enrolment token a token to register again with', async () => {
    const stranger = await startStranger(reply({}));
    const { enrolmentToken } = await hub.call<{ enrolmentToken: string }>('POST', '/v1/agents/enrolments', {
      maxUses: 2,
    });
    const none = { token: '' };
    const wish = { name: 'newcomer', url: `${stranger.url}/` };
    const first = await post<{ agent_id: string; agent_token: string }>(
      '/register',
      { ...wish, registration_token: enrolmentToken },
      none,
    );
    expect(first.status).toBe(200);
    const { agent_id: agentId, agent_token: agentToken } = first.body.data;
    expect(agentToken).toMatch(/^sta_/);
    const again = await post<{ agent_id: string }>(
      '/register',
      { ...wish, registration_token: agentToken },
      none,
    );
    expect(again).toMatchObject({ status: 200, body: { data: { agent_id: agentId } } });
    for (const registration_token of [enrolmentToken, 'a-shared-token-of-the-hub']) {
      expect(await post('/register', { ...wish, registration_token }, none)).toMatchObject({ status: 409 });
    }
  });
});

describe('a part that is handed on', () => {
  it('is a task on both sides; its outcome comes back by callback and updates the parent', async () => {
    const parent = await makeTask('the whole');
    const before = await read(parent);
    const handed = await post<{ subtask_id: string; response: { id: string } }>(`/tasks/${parent}/delegate`, {
      agent_url: worker.url,
      subtask_description: 'echo a-part',
    });
    expect(handed).toMatchObject({
      status: 200,
      body: { data: { status: 'delegated', agent_url: worker.url, response: { status: 'created' } } },
    });
    const part = handed.body.data.subtask_id;
    expect(part).toMatch(/^sub-[0-9a-f-]{36}$/);
    expect(handed.body.data.response.id).toBe(part);
    expect(await read(part)).toMatchObject({ parent_task_id: parent, assigned_agent_url: worker.url });
    expect(await read(part, worker)).toMatchObject({
      parent_task_id: parent,
      callback_token: '*'.repeat(20),
    });
    // Somebody over there does it.
    await worker.call('POST', `/tasks/${part}/step/execute`, { command: 'echo a-part' });
    const done = await hub.until(
      () => read(part),
      ({ status }) => status === 'completed',
      'the callback',
      40_000,
    );
    expect(done).toMatchObject({ last_output: 'a-part\n', last_exit_code: 0 });
    const after = await read(parent);
    expect(after.history).toEqual([
      expect.objectContaining({ subtask_id: part, output: 'a-part\n', exit_code: 0, status: 'completed' }),
    ]);
    expect(after.status).toBe(before.status);
  });

  it('is refused where the parent or the agent is not there', async () => {
    const wish = { agent_url: worker.url, subtask_description: 'x' };
    expect(await post('/tasks/no-such/delegate', wish)).toMatchObject({
      status: 404,
      body: { message: 'parent_task_not_found' },
    });
    const parent = await makeTask('waits');
    expect(await post(`/tasks/${parent}/delegate`, { ...wish, agent_url: 'http://10.1.2.3/' })).toMatchObject(
      {
        status: 400,
      },
    );
  });

  it('fails with 502 where the worker is down, or says no, or talks nonsense', async () => {
    const parent = await makeTask('cannot be divided');
    for (const answer of [
      reply({ status: 'error', message: 'forbidden' }, 403),
      reply('<html>', 200),
      reply('', 500),
    ]) {
      const stranger = await startStranger(answer);
      const refused = await post<{ subtask_id: string }>(`/tasks/${parent}/delegate`, {
        agent_url: stranger.url,
        subtask_description: 'a part',
      });
      expect(refused).toMatchObject({ status: 502, body: { message: 'delegation_failed' } });
      expect((await read(refused.body.data.subtask_id)).status).toBe('failed');
    }
    const down = await post(`/tasks/${parent}/delegate`, {
      agent_url: 'http://127.0.0.1:9',
      subtask_description: 'a part',
    });
    expect(down).toMatchObject({ status: 502, body: { message: 'delegation_failed' } });
  });

  it('is reported on by its own token only, and ends once', async () => {
    let token = '';
    const stranger = await startStranger((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        token = JSON.parse(Buffer.concat(chunks).toString()).callback_token;
        reply({ status: 'success', data: { id: 'x' } }, 201)(request, response);
      });
    });
    const parent = await makeTask('watched');
    const handed = await post<{ subtask_id: string }>(`/tasks/${parent}/delegate`, {
      agent_url: stranger.url,
      subtask_description: 'a part',
    });
    const part = handed.body.data.subtask_id;
    const report = (body: object, path = parent) =>
      post(`/tasks/${path}/subtask-callback`, { id: part, ...body }, { token });
    expect(token).toMatch(/^stc_/);
    expect(await report({ status: 'in_progress' })).toMatchObject({
      status: 200,
      body: { data: { status: 'updated' } },
    });
    expect((await read(part)).status).toBe('in_progress');
    expect(await report({ status: 'gone fishing' })).toMatchObject({
      status: 400,
      body: { message: 'invalid_payload' },
    });
    expect(await post(`/tasks/${parent}/subtask-callback`, { id: part }, { token })).toMatchObject({
      status: 400,
      body: { message: 'invalid_payload' },
    });
    const elsewhere = await makeTask('other');
    expect(await report({ status: 'failed' }, elsewhere)).toMatchObject({ status: 404 });
    expect(await report({ id: elsewhere, status: 'failed' })).toMatchObject({
      status: 404,
      body: { message: 'subtask_not_found' },
    });
    for (const path of ['/tasks', `/tasks/${part}`, '/agents'])
      expect((await hub.request('GET', path, undefined, { token })).status).toBe(403);
    expect(await report({ status: 'failed', last_output: 'broke', last_exit_code: 4 })).toMatchObject({
      status: 200,
    });
    expect(await report({ status: 'failed', last_output: 'broke', last_exit_code: 4 })).toMatchObject({
      status: 200,
    });
    // What has ended is not told again as something else.
    expect(await report({ status: 'completed', last_output: 'fine', last_exit_code: 0 })).toMatchObject({
      status: 200,
    });
    expect(await read(part)).toMatchObject({ status: 'failed', last_output: 'broke', last_exit_code: 4 });
  });
});

describe('a worker that does not do as it should', () => {
  it('is down: 502, nothing ran, and the task goes on elsewhere', async () => {
    const id = await assigned('echo later', 'http://127.0.0.1:9');
    expect(await post(`/tasks/${id}/step/propose`, {})).toMatchObject({
      status: 502,
      body: { status: 'error', message: 'forwarding_failed' },
    });
    expect(await post(`/tasks/${id}/step/execute`, { command: 'echo now' })).toMatchObject({
      status: 502,
      body: { message: 'forwarding_failed', data: { outcome: 'rejected' } },
    });
    expect((await read(id)).status).toBe('assigned');
    await post(`/tasks/${id}/assign`, { agent_url: worker.url });
    expect(await post(`/tasks/${id}/step/execute`, { command: 'echo now' })).toMatchObject({
      status: 200,
      body: { data: { output: 'now\n' } },
    });
  });

  it('talks nonsense: 502; what may have run is unknown and not sent again', async () => {
    const stranger = await startStranger(reply('<p>well</p>'));
    const id = await assigned('nonsense', stranger.url);
    expect(await post(`/tasks/${id}/step/propose`, {})).toMatchObject({ status: 502 });
    const lost = await post<{ command_id: string }>(`/tasks/${id}/step/execute`, {
      command: 'rm -r x',
      retries: 3,
    });
    expect(lost).toMatchObject({
      status: 502,
      body: { message: 'forwarding_failed', data: { outcome: 'unknown' } },
    });
    expect(stranger.asked.filter((line) => line.endsWith('/step/execute'))).toHaveLength(1);
    expect(await read(id)).toMatchObject({ status: 'failed', history: [{ outcome: 'unknown' }] });
  });

  it('is slow: the answer does not wait for ever', async () => {
    const stranger = await startStranger(() => undefined);
    const id = await assigned('slow', stranger.url);
    const late = await post(`/tasks/${id}/step/execute`, { command: 'echo x', timeout: 0.2 });
    expect([502, 504]).toContain(late.status);
    const ended = await hub.until(
      () => read(id),
      ({ status }) => status === 'failed',
      'it is given up',
    );
    expect(ended.history).toMatchObject([{ outcome: 'unknown' }]);
  });

  it('proposes tools of its own: they are told, and nothing can be executed', async () => {
    const stranger = await startStranger(
      reply({
        status: 'success',
        data: {
          status: 'success',
          data: { reason: 'r', command: null, tool_calls: [{ name: 't' }], raw: 'w' },
        },
      }),
    );
    const id = await assigned('tools', stranger.url);
    expect(await post(`/tasks/${id}/step/propose`, {})).toMatchObject({
      status: 200,
      body: { data: { reason: 'r', command: null, tool_calls: [{ name: 't' }], raw: 'w' } },
    });
    expect(await post(`/tasks/${id}/step/execute`)).toMatchObject({
      status: 400,
      body: { message: 'no_proposal' },
    });
  });

  it('fails five times in a row: it is left alone until somebody closes the circuit', async () => {
    const stranger = await startStranger(reply('', 500));
    const id = await assigned('broken', stranger.url);
    for (let i = 0; i < 5; i++) expect((await post(`/tasks/${id}/step/propose`, {})).status).toBe(502);
    const asked = stranger.asked.length;
    expect((await post(`/tasks/${id}/step/propose`, {})).status).toBe(502);
    expect(stranger.asked).toHaveLength(asked);
    const circuits = await hub.call<
      Envelope<{ open_workers: { worker_url: string; failure_streak: number }[] }>
    >('GET', '/tasks/autopilot/circuits');
    expect(circuits.data.open_workers).toContainEqual(
      expect.objectContaining({ worker_url: stranger.url, failure_streak: 5 }),
    );
    const reset = await post('/tasks/autopilot/circuits/reset', { worker_url: stranger.url });
    expect(reset).toMatchObject({ status: 200, body: { data: { reset: 1 } } });
    expect((await post(`/tasks/${id}/step/propose`, {})).status).toBe(502);
    expect(stranger.asked.length).toBeGreaterThan(asked);
  });
});
