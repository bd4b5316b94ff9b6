/**
 * Another installation as an agent with an address, when it is slower than every deadline, and when whoever asks it is
 * killed between the claim and the answer.
 */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { query, queryOne } from '../../db/database.ts';
import { CIRCUIT_FAILURES } from '../../domain/url-agents/call.ts';
import { type ApiPart, createInstallation, type Installation, type Part } from '../support/installation.ts';
import { type System, startSystem } from '../support/system.ts';
import { type Effects, openEffects } from './effects.ts';

interface Envelope<Data> {
  status: string;
  message?: string;
  data: Data;
}
interface AnantaTask {
  status: string;
  last_output: string | null;
  history: { status: string; outcome: string | null; subtask_id?: string }[];
}

let hub: Installation;
let api: ApiPart;
let worker: Part;
/** The other installation. */
let there: System;
let effects: Effects;

beforeAll(async () => {
  effects = openEffects();
  hub = await createInstallation({ env: { AGENT_URL_ALLOW: '127.0.0.1' } });
  api = await hub.startApi();
  worker = await hub.startWorker();
  there = await startSystem({ env: { LOCAL_AGENT_ID: 'over-there' } });
  await there.startAgent({ agentId: 'over-there' });
});
afterAll(async () => {
  await hub?.close();
  await there?.close();
  effects?.close();
});

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

interface Slow {
  url: string;
  /** What it was asked, without looking whether it is there. */
  asked: { path: string; body: Record<string, unknown> }[];
  /** Answer all that it has not answered yet. */
  answerLate(body: unknown): void;
  /** From now on it answers at once. */
  hurry(body: unknown): void;
}

/** An agent that takes every connection and every question, and thinks. */
async function startSlow(): Promise<Slow> {
  const asked: Slow['asked'] = [];
  const open: ServerResponse[] = [];
  let atOnce: string | undefined;
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.url === '/health') return response.end('{}');
    const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
    asked.push({ path: request.url ?? '', body });
    if (atOnce === undefined) open.push(response);
    else response.end(atOnce);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const textOf = (data: unknown) => JSON.stringify({ status: 'success', data });
  await hub.call('POST', '/register', { name: 'slow', url, role: 'worker' });
  return {
    url,
    asked,
    answerLate(body) {
      for (const response of open.splice(0)) response.end(textOf(body));
    },
    hurry(body) {
      atOnce = textOf(body);
    },
  };
}

const dataOf = async <Data>(method: string, path: string, body?: unknown): Promise<Data> =>
  (await hub.call<Envelope<Data>>(method, path, body)).data;
const read = (id: string) => dataOf<AnantaTask>('GET', `/tasks/${id}`);
async function assigned(description: string, url: string): Promise<string> {
  const { id } = await dataOf<{ id: string }>('POST', '/tasks', { description });
  await hub.call('POST', `/tasks/${id}/assign`, { agent_url: url });
  return id;
}

/** A request that is refused. @returns status and body of the answer */
async function refusal(path: string, body: unknown): Promise<{ status: number; body: Envelope<never> }> {
  const said = await hub.call('POST', path, body).then(
    () => 'not refused',
    (error: unknown) => String(error),
  );
  const [, status, text] = said.match(/ answered (\d{3}): (.*)$/s) ?? [];
  if (text === undefined) throw new Error(said);
  return { status: Number(status), body: JSON.parse(text) as Envelope<never> };
}

const circuitOf = (url: string) =>
  queryOne<{ streak: number; isOpen: boolean; why: string }>(
    hub.db,
    `select failure_streak as streak, open_until > now() as "isOpen", last_failure as why
     from url_agents where url = :url`,
    { url },
  );
const commandsOf = (taskId: string) =>
  query<{ id: string; state: string; reason: string | null }>(
    hub.db,
    `select c.command_id as id, c.state, c.reason from commands c join tasks t on t.id = c.task_id
     where t.public_id = :taskId order by c.created_at, c.command_id`,
    { taskId },
  );

describe('an agent that takes the question and answers after the deadline', () => {
  test('proposes too late: 502, its circuit opens, and the late answer is nobody’s', async () => {
    const slow = await startSlow();
    const tasks: string[] = [];
    for (let i = 0; i < CIRCUIT_FAILURES; i++) tasks.push(await assigned(`think ${i}`, slow.url));
    const refused = await Promise.all(tasks.map((id) => refusal(`/tasks/${id}/step/propose`, {})));
    for (const answer of refused) {
      expect(answer).toMatchObject({
        status: 502,
        body: {
          status: 'error',
          message: 'forwarding_failed',
          data: { details: 'no complete answer in time' },
        },
      });
    }
    expect(slow.asked.map(({ path }) => path).sort()).toEqual(
      tasks.map((id) => `/tasks/${id}/step/propose`).sort(),
    );
    expect(await circuitOf(slow.url)).toMatchObject({ streak: CIRCUIT_FAILURES, isOpen: true });
    // What it says now is heard by nobody.
    slow.answerLate({ reason: 'at last', command: 'echo late' });
    const [first] = tasks;
    const id = first ?? '';
    expect(await refusal(`/tasks/${id}/step/propose`, {})).toMatchObject({
      status: 502,
      body: { message: 'forwarding_failed', data: { details: expect.stringContaining('circuit open') } },
    });
    expect(slow.asked).toHaveLength(CIRCUIT_FAILURES);
    expect(await refusal(`/tasks/${id}/step/execute`, {})).toMatchObject({
      status: 400,
      body: { message: 'no_proposal' },
    });
    for (const taskId of tasks) expect(await commandsOf(taskId)).toEqual([]);
    // Asked again it proposes, and that is what there is to decide.
    slow.hurry({ reason: 'in time', command: 'echo in-time' });
    await hub.call('POST', '/tasks/autopilot/circuits/reset', { worker_url: slow.url });
    expect(await dataOf('POST', `/tasks/${id}/step/propose`, {})).toMatchObject({ command: 'echo in-time' });
    expect(await circuitOf(slow.url)).toMatchObject({ streak: 0 });
    expect(await commandsOf(id)).toEqual([]);
  });

  test('takes a part too late: 502, counted, the part has failed and stays so', async () => {
    const slow = await startSlow();
    const { id: parent } = await dataOf<{ id: string }>('POST', '/tasks', { description: 'the whole' });
    const refused = await refusal(`/tasks/${parent}/delegate`, {
      agent_url: slow.url,
      subtask_description: 'a part',
    });
    expect(refused).toMatchObject({
      status: 502,
      body: {
        status: 'error',
        message: 'delegation_failed',
        data: { details: 'no complete answer in time', subtask_id: expect.stringMatching(/^sub-/) },
      },
    });
    expect(slow.asked.map(({ path }) => path)).toEqual(['/tasks']);
    expect(await circuitOf(slow.url)).toMatchObject({ streak: 1, isOpen: null });
    const told = slow.asked[0]?.body as { id: string; callback_url: string; callback_token: string };
    slow.answerLate({ id: told.id, status: 'created' });
    // It does the part all the same, and reports: that is taken, and changes nothing.
    const reported = await fetch(`${api.url}/tasks/${parent}/subtask-callback`, {
      method: 'POST',
      headers: { authorization: `Bearer ${told.callback_token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ id: told.id, status: 'completed', last_output: 'done', last_exit_code: 0 }),
    });
    expect(reported.status).toBe(200);
    await reported.body?.cancel();
    expect(await read(told.id)).toMatchObject({ status: 'failed' });
    expect(slow.asked).toHaveLength(1);
    expect(await commandsOf(told.id)).toEqual([]);
  });

  test('executes too late: unknown, counted, not asked again', async () => {
    const slow = await startSlow();
    const id = await assigned('slow', slow.url);
    const wish = { command: 'echo x', timeout: 0.2, retries: 2 };
    const late = await refusal(`/tasks/${id}/step/execute`, wish);
    expect([502, 504]).toContain(late.status);
    await hub.until(
      () => read(id),
      ({ status }) => status === 'failed',
      'it is given up',
    );
    slow.answerLate({ output: 'x\n', exit_code: 0 });
    expect(await circuitOf(slow.url)).toMatchObject({ streak: 1 });
    expect(await commandsOf(id)).toMatchObject([
      { state: 'unknown', reason: 'url_agent: no complete answer in time' },
    ]);
    expect(slow.asked).toHaveLength(1);
  });
});

describe('kill -9 between the claim and the answer of an execution over there', () => {
  const kills = {
    'the worker': async () => {
      await worker.kill();
      await worker.start();
    },
    'the API and the worker': async () => {
      await Promise.all([worker.kill(), api.kill()]);
      await Promise.all([worker.start(), api.start()]);
    },
  };

  test.each(Object.entries(kills))(
    'of %s: it runs once, is unknown, and somebody decides',
    async (_who, kill) => {
      await hub.call('POST', '/register', {
        name: 'there',
        url: there.url,
        role: 'worker',
        token: there.token(),
      });
      const id = await assigned('the work', there.url);
      const before = effects.counts().size;
      const command = effects.createWaiting();
      const answer = refusal(`/tasks/${id}/step/execute`, { command: command.script, timeout: 60 });
      await hub.until(
        async () => effects.counts().size,
        (count) => count === before + 1,
        'it runs over there',
      );
      expect(await commandsOf(id)).toMatchObject([{ state: 'sent' }]);
      await kill();
      expect(await answer).toMatchObject({
        status: 502,
        body: { status: 'error', message: 'forwarding_failed', data: { outcome: 'unknown' } },
      });
      const [lost, ...more] = await commandsOf(id);
      expect(lost).toMatchObject({
        state: 'unknown',
        reason: 'url_agent: whoever asked was interrupted',
      });
      expect(more).toEqual([]);
      expect(await read(id)).toMatchObject({ status: 'failed', history: [{ outcome: 'unknown' }] });
      command.release();
      // Over there it is known how it ended.
      const over = await there.until(
        () => there.call<Envelope<AnantaTask>>('GET', `/tasks/${id}`),
        ({ data }) => data.status === 'completed',
        'its end over there',
      );
      expect(over.data.history).toHaveLength(1);
      expect(effects.counts().size).toBe(before + 1);
      // Whether it is to run again is for a person to say, who decides on a command of its own.
      const again = await dataOf<{ command_id: string; outcome: string }>(
        'POST',
        `/tasks/${id}/step/execute`,
        {
          command: effects.createQuick('again').script,
        },
      );
      expect(again.outcome).toBe('succeeded');
      const commands = await commandsOf(id);
      expect(commands.map(({ state }) => state).sort()).toEqual(['succeeded', 'unknown']);
      expect(again.command_id).not.toBe(lost?.id);
      const started = effects.counts();
      expect(started.size).toBe(before + 2);
      expect([...started.values()].every((count) => count === 1)).toBe(true);
      expect(await read(id)).toMatchObject({ status: 'completed' });
    },
  );
});
