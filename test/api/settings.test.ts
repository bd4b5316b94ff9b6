/** `/v1/settings` and the shared agent token over HTTP, in one process and in several. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import type { SettingView } from '../../contracts/settings.ts';
import { openSse } from '../support/event-streams.ts';
import { type LlmStub, startLlmStub } from '../support/llm-stub.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const AGENT_TOKEN = 'the-shared-agent-token-of-this-test';
const canary = 'sk-ant-canary-0123456789';
const [oldKey, newKey] = ['o', 'n'].map((letter) => `${Buffer.alloc(32, letter).toString('base64url')}=`);
const MASK = '*'.repeat(20);

let stub: LlmStub;
let system: System;
beforeAll(async () => {
  stub = await startLlmStub({ apiKey: canary });
  system = await startSystem({ env: { AGENT_TOKEN, ANTHROPIC_BASE_URL: stub.url } });
});
afterAll(async () => {
  await system.close();
  await stub.close();
});

const put = (path: string, body: unknown) => system.request<SettingView>('PUT', `/v1/settings/${path}`, body);
const get = (path: string) => system.request<SettingView>('GET', `/v1/settings/${path}`);
const forget = (path: string) => system.request('DELETE', `/v1/settings/${path}`);

describe('/v1/settings', () => {
  it('lists what is known, sets, reads and forgets', async () => {
    const { items } = await system.call<{ items: SettingView[] }>('GET', '/v1/settings');
    expect(items.map(({ namespace, key }) => `${namespace}/${key}`)).toEqual(
      expect.arrayContaining(['config/ANTHROPIC_API_KEY', 'config/MAX_TIMEOUT', 'model/instructions']),
    );
    expect(items.find(({ key }) => key === 'REGISTRATION')).toMatchObject({ value: 'open', isStored: false });

    expect(await put('custom/theme', { value: 'dark', description: 'of the console' })).toMatchObject({
      status: 200,
      body: {
        namespace: 'custom',
        key: 'theme',
        value: 'dark',
        description: 'of the console',
        isStored: true,
      },
    });
    expect((await get('custom/theme')).body.value).toBe('dark');
    expect((await put('custom/theme', { value: 'light' })).body.description).toBe('of the console');
    expect((await forget('custom/theme')).status).toBe(204);
    expect(await get('custom/theme')).toMatchObject({ status: 404, body: { code: 'setting_not_found' } });
    expect((await forget('custom/theme')).status).toBe(404);
  });

  it('shows no secret, and logs none', async () => {
    const answer = await put('config/ANTHROPIC_API_KEY', { value: canary });
    expect(answer).toMatchObject({ status: 200, body: { value: MASK, isSecret: true } });
    const list = await system.request('GET', '/v1/settings');
    expect(JSON.stringify([list.body, system.lines])).not.toContain(canary);
    await forget('config/ANTHROPIC_API_KEY');
  });

  const refusals: [string, string, unknown, number?][] = [
    ['another namespace in the body', 'custom/theme', { value: 'x', namespace: 'config' }],
    ['a field only the server writes', 'custom/theme', { value: 'x', updatedBy: 'somebody' }],
    ['an unknown field', 'custom/theme', { value: 'x', isEncrypted: true }],
    ['a NUL', 'custom/theme', { value: 'a\u0000b' }, 400],
    ['too long a value', 'custom/theme', { value: 'x'.repeat(16_385) }],
    ['an empty value', 'custom/theme', { value: '' }],
    ['a number', 'custom/theme', { value: 7 }],
    ['no value', 'custom/theme', {}],
    ['what the variable refuses', 'config/LOG_LEVEL', { value: 'loud' }],
    ['a secret that is to be none', 'config/ANTHROPIC_API_KEY', { value: 'x', isSecret: false }],
    ['the namespace of the server', 'system/agent_token', { value: 'x' }],
    ['a key with a slash', 'custom/a%2Fb', { value: 'x' }],
    ['a key that is a property of objects', 'custom/__proto__', { value: 'x' }],
    ['a variable that may not be overridden', 'config/SECRET_KEY', { value: 'x' }, 404],
  ];
  it.each(refusals)('refuses %s', async (_what, path, body, status = 422) => {
    expect((await put(path, body)).status).toBe(status);
  });

  it('has no way to the token that is stored beside them', async () => {
    await system.call('POST', '/v1/system/agent-token/rotate');
    expect((await get('system/agent_token')).status).toBe(422);
    expect(JSON.stringify((await system.request('GET', '/v1/settings')).body)).not.toContain('agent_token');
  });

  it('takes effect at once: commands, logins and registration', async () => {
    await put('config/ACCESS_TOKEN_EXPIRE_MINUTES', { value: '2' });
    const login = { username: 'admin', password: 'Correct-Horse-7' };
    expect((await system.request('POST', '/v1/auth/login', login)).body).toMatchObject({ expiresIn: 120 });
    await forget('config/ACCESS_TOKEN_EXPIRE_MINUTES');
    expect((await system.request('POST', '/v1/auth/login', login)).body).toMatchObject({ expiresIn: 900 });

    const { agentId } = await system.enrol();
    await put('config/DEFAULT_TIMEOUT', { value: '77' });
    const command = { agentIds: [agentId], act: { command: 'true' } };
    expect((await system.request('POST', '/v1/commands', command)).status).toBeLessThan(300);
    const [row] = await deskOf(system).sql<{ timeout_ms: number }>(
      'select timeout_ms from commands where agent_id = :agent_id',
      { agent_id: agentId },
    );
    expect(row?.timeout_ms).toBe(77_000);
    await forget('config/DEFAULT_TIMEOUT');
  });
});

describe('every process', () => {
  it('takes a setting up without a restart, and keeps it over one', async () => {
    const other = await system.openApi();
    const read = () =>
      system.call<{ expiresIn: number }>('POST', '/v1/auth/login', {
        username: 'admin',
        password: 'Correct-Horse-7',
      });
    const readOther = async (): Promise<number> => {
      const reply = await fetch(`${other.url}/v1/auth/login`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ username: 'admin', password: 'Correct-Horse-7' }),
      });
      return ((await reply.json()) as { expiresIn: number }).expiresIn;
    };
    await put('config/ACCESS_TOKEN_EXPIRE_MINUTES', { value: '3' });
    await system.until(readOther, (seconds) => seconds === 180, 'the other process takes it up', 5_000);
    await other.close();
    await system.restartApi();
    expect((await read()).expiresIn).toBe(180);
    await forget('config/ACCESS_TOKEN_EXPIRE_MINUTES');
  });

  it('the worker asks the model that is set, with what is set', async () => {
    const desk = deskOf(system);
    const { agentId } = await system.startAgent();
    const create = () => desk.create({ goal: 'Say hello', target: { agentId } });
    // There is no key yet: the mock answers.
    const mocked = await create();
    expect((await desk.untilProposed(mocked.id, 1)).reason).toContain('[mock model]');

    await put('model/instructions', { value: 'Prefer /usr/bin/printf.' });
    await put('model/max_tokens', { value: '3000' });
    await put('model/temperature', { value: '0.5' });
    await put('config/ANTHROPIC_MODEL', { value: 'claude-test-9' });
    await put('config/ANTHROPIC_API_KEY', { value: canary });
    // A task that the worker takes before it has heard of the key is the mock's.
    const answer = { type: 'command', command: 'printf hello', reason: 'because' } as const;
    stub.enqueue(...Array.from({ length: 50 }, () => answer));
    const asked = await system.until(
      async () => {
        await create();
        return stub.requests[0];
      },
      (request) => request !== undefined,
      'a request of the model',
    );
    expect(asked?.headers.authorization).toBe(`Bearer ${canary}`);
    expect(asked?.body).toMatchObject({ model: 'claude-test-9', max_tokens: 3000, temperature: 0.5 });
    expect(asked?.body.system).toContain('Prefer /usr/bin/printf.');
    expect(JSON.stringify(system.lines)).not.toContain(canary);
    for (const path of ['config/ANTHROPIC_API_KEY', 'config/ANTHROPIC_MODEL']) await forget(path);
    for (const key of ['instructions', 'max_tokens', 'temperature']) await forget(`model/${key}`);
  });
});

describe('the shared agent token', () => {
  const status = async (base: string, token: string): Promise<number> =>
    (await fetch(`${base}/v1/agents`, { headers: { authorization: `Bearer ${token}` } })).status;

  it('is rotated once and for all: HTTP at once, other processes and open sockets within five seconds', async () => {
    const { agentToken: present } = await system.call<{ agentToken: string }>(
      'POST',
      '/v1/system/agent-token/rotate',
    );
    const other = await system.openApi();
    expect(await status(other.url, present)).toBe(200);
    const stream = await openSse(`${system.url}/v1/events`, { Authorization: `Bearer ${present}` });
    const watching = await openSse(`${system.url}/v1/events`, { Authorization: `Bearer ${system.token()}` });
    const socket = new WebSocket(`${other.url.replace('http', 'ws')}/v1/events`, {
      headers: { authorization: `Bearer ${present}` },
    });
    const closed = new Promise<number>((resolve) => socket.on('close', resolve));
    await new Promise((resolve) => socket.on('open', resolve));

    const reply = await system.request<{ agentToken: string }>('POST', '/v1/system/agent-token/rotate');
    const since = performance.now();
    expect(reply.status).toBe(200);
    expect(reply.headers.get('cache-control')).toBe('no-store');
    expect(await status(system.url, present)).toBe(401);
    expect(await status(system.url, AGENT_TOKEN)).toBe(401);
    expect(await status(system.url, reply.body.agentToken)).toBe(200);
    await system.until(
      () => status(other.url, present),
      (code) => code === 401,
      'the other process',
      5_000,
    );
    await watching.until((events) => JSON.stringify(events).includes('token.rotated'));
    await stream.ended;
    expect(await closed).toBe(1008);
    expect(performance.now() - since).toBeLessThan(6_500);
    expect(JSON.stringify(system.lines)).not.toContain(reply.body.agentToken);
    watching.close();
    await other.close();
  });
});

describe('a new SETTINGS_ENCRYPTION_KEY', () => {
  it('is in force from the first start with it, and the old one is not needed after', async () => {
    const env = { AGENT_TOKEN, ANTHROPIC_BASE_URL: stub.url, SETTINGS_ENCRYPTION_KEY: oldKey ?? '' };
    const own = await startSystem({ worker: false, env });
    try {
      await own.call('PUT', '/v1/settings/config/ANTHROPIC_API_KEY', { value: canary });
      const { agentToken } = await own.call<{ agentToken: string }>('POST', '/v1/system/agent-token/rotate');
      for (const keys of [`${newKey},${oldKey}`, newKey ?? '']) {
        own.env.SETTINGS_ENCRYPTION_KEY = keys;
        await own.restartApi();
      }
      expect(own.lines.filter(({ event }) => event === 'secrets_resealed')).toEqual([
        expect.objectContaining({ resealed: 2, unreadable: 0 }),
      ]);
      expect(own.lines.filter(({ event }) => event === 'setting_unreadable')).toEqual([]);
      expect((await own.request('GET', '/v1/agents', undefined, { token: agentToken })).status).toBe(200);
      own.env.AGENT_TOKEN = 'a-new-value-of-the-operator';
      await own.restartApi();
      for (const [token, status] of [
        [agentToken, 401],
        [AGENT_TOKEN, 401],
        ['a-new-value-of-the-operator', 200],
      ] as const) {
        expect((await own.request('GET', '/v1/agents', undefined, { token })).status).toBe(status);
      }
      const test = await own.call<{ model: string }>('POST', '/v1/settings/model/test');
      expect(test.model).toBe('claude-sonnet-5-5');
    } finally {
      await own.close();
    }
  });
});
