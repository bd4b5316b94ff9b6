/** Settings in the dialect of dex: exact bodies, and what is behind them. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

const MASK = '*'.repeat(20);
const canary = 'sk-ant-canary-0123456789';
const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);

/** A provider that knows one key and one model. */
const provider = createServer((request, response) => {
  let text = '';
  request.on('data', (chunk) => {
    text += chunk;
  });
  request.on('end', () => {
    const { model } = JSON.parse(text) as { model: string };
    const isKnown = request.headers.authorization === `Bearer ${canary}`;
    const refusal = { type: 'error', error: { type: 'authentication_error', message: 'invalid x-api-key' } };
    const message = {
      type: 'message',
      role: 'assistant',
      model,
      content: [{ type: 'text', text: 'OK' }],
      stop_reason: 'end_turn',
      usage: { input_tokens: 12, output_tokens: 4 },
    };
    response.writeHead(isKnown ? 200 : 401, { 'content-type': 'application/json' });
    response.end(JSON.stringify(isKnown ? message : refusal));
  });
});

let system: System;
beforeAll(async () => {
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
  const { port } = provider.address() as AddressInfo;
  system = await startSystem({ worker: false, env: { ANTHROPIC_BASE_URL: `http://127.0.0.1:${port}` } });
});
afterAll(async () => {
  await system.close();
  await new Promise((resolve) => provider.close(resolve));
});

const ask = async (method: string, path: string, body?: unknown) => {
  const reply = await system.request(method, `/api/v1/settings${path}`, body);
  return [reply.status, reply.body] as const;
};

describe('/api/v1/settings', () => {
  it('creates, reads, lists and deletes, with and without the last slash', async () => {
    expect(await ask('GET', '/')).toEqual([200, []]);
    const setting = {
      key: 'greeting',
      value: 'Grüß Gott',
      description: 'on the login page',
      is_encrypted: false,
      created_at: time,
      updated_at: time,
    };
    const body = { key: 'greeting', value: 'Grüß Gott', description: 'on the login page' };
    expect(await ask('POST', '/', body)).toEqual([200, setting]);
    expect(await ask('GET', '/greeting')).toEqual([200, setting]);
    expect(await ask('GET', '')).toEqual([200, [setting]]);
    // As clients do: they send back all they have read. The times are the server's whatever stands there.
    const [, read] = await ask('GET', '/greeting');
    const edited = { ...(read as typeof setting), value: 'Servus' };
    expect(await ask('POST', '', { ...edited, created_at: '2020-01-01T00:00:00Z' })).toEqual([
      200,
      { ...edited, updated_at: time },
    ]);
    expect(await ask('DELETE', '/greeting')).toEqual([200, { message: 'Setting deleted successfully' }]);
    const missing = {
      success: false,
      error: 'Setting not found',
      code: 'SETTING_NOT_FOUND',
      details: expect.anything(),
      detail: 'Setting not found',
    };
    expect(await ask('GET', '/greeting')).toEqual([404, missing]);
    expect(await ask('DELETE', '/greeting')).toEqual([404, missing]);
  });

  it('masks what is encrypted, and every *_api_key', async () => {
    const secret = { key: 'webhook', value: canary, is_encrypted: true };
    expect(await ask('POST', '', secret)).toMatchObject([200, { value: MASK, is_encrypted: true }]);
    const apiKey = { key: 'weather_api_key', value: canary };
    expect(await ask('POST', '', apiKey)).toMatchObject([200, { value: MASK, is_encrypted: true }]);
    // Written as no secret, it stays one.
    const uncovered = { key: 'webhook', value: MASK, is_encrypted: false };
    expect(await ask('POST', '', uncovered)).toMatchObject([200, { value: MASK, is_encrypted: true }]);
    expect(JSON.stringify(await ask('GET', ''))).not.toContain(canary);
    const rows = await deskOf(system).sql('select key, value from settings');
    expect(JSON.stringify([rows, system.lines])).not.toContain(canary);
    for (const key of ['webhook', 'weather_api_key']) await ask('DELETE', `/${key}`);
  });

  it('takes variables under their names, with their rules', async () => {
    expect(await ask('POST', '', { key: 'MAX_TIMEOUT', value: '400' })).toMatchObject([
      200,
      { value: '400' },
    ]);
    expect(await system.call('GET', '/v1/settings/config/MAX_TIMEOUT')).toMatchObject({ value: '400' });
    expect((await ask('POST', '', { key: 'MAX_TIMEOUT', value: 'x' }))[0]).toBe(422);
    expect((await ask('DELETE', '/MAX_TIMEOUT'))[0]).toBe(200);
    // A name of another namespace is no way around it.
    await ask('POST', '', { key: 'temperature', value: 'warm' });
    expect(await system.call('GET', '/v1/settings/custom/temperature')).toMatchObject({ value: 'warm' });
    await ask('DELETE', '/temperature');
  });

  it.each([
    ['an empty key', { key: '', value: 'x' }],
    ['no value', { key: 'x' }],
    ['an unknown field', { key: 'x', value: 'x', namespace: 'system' }],
    ['a model of another provider', { key: 'chatgpt_model', value: 'gpt-4' }],
  ])('refuses %s in the words of dex', async (_what, body) => {
    const [status, answer] = await ask('POST', '', body);
    expect(status).toBe(422);
    expect(answer).toEqual({
      success: false,
      error: 'Validation error',
      code: 'VALIDATION_ERROR',
      details: expect.anything(),
      detail: [expect.objectContaining({ loc: expect.any(Array), msg: expect.any(String) })],
    });
  });

  it('is closed to everybody but administrators', async () => {
    for (const role of ['viewer', 'user', 'operator'] as const) {
      const token = await deskOf(system).addUser(role, `settings-${role}`);
      for (const [method, path] of [
        ['GET', '/api/v1/settings'],
        ['POST', '/api/v1/settings'],
        ['GET', '/api/v1/settings/chatgpt/config'],
        ['POST', '/api/v1/settings/chatgpt/test'],
        ['POST', '/api/v1/settings/reload-ai-service'],
      ] as const) {
        const body = method === 'POST' ? {} : undefined;
        expect((await system.request(method, path, body, { token })).status, `${role} ${path}`).toBe(403);
      }
    }
    expect((await fetch(`${system.url}/api/v1/settings`)).status).toBe(401);
  });
});

describe('the language model', () => {
  it('has no key at first, and says so', async () => {
    expect(await ask('GET', '/chatgpt/config')).toEqual([
      200,
      { api_key: '', model: 'claude-sonnet-5-5', max_tokens: null, temperature: null, system_prompt: null },
    ]);
    expect(await ask('POST', '/reload-ai-service')).toEqual([
      200,
      {
        success: true,
        available: false,
        message: 'AI service reloaded, but there is no API key: a mock model answers',
      },
    ]);
    const message = 'The language model cannot be used: ANTHROPIC_API_KEY is not set: a mock model answers';
    expect(await ask('POST', '/chatgpt/test')).toEqual([
      400,
      {
        success: false,
        error: message,
        code: 'MODEL_TEST_FAILED',
        details: expect.anything(),
        detail: message,
      },
    ]);
  });

  it('is set, tested, read masked, and kept when the mask is sent back', async () => {
    const config = {
      api_key: 'sk-ant-wrong',
      model: 'claude-test-9',
      max_tokens: 2000,
      temperature: 0.7,
      system_prompt: 'Be brief.',
    };
    const saved = { message: 'ChatGPT configuration saved successfully' };
    // A form that fills in the key and sends back the rest as it was read: null is what is not set.
    const [, read] = await ask('GET', '/chatgpt/config');
    const filled = { ...(read as typeof config), api_key: config.api_key };
    expect(filled).toMatchObject({ max_tokens: null, temperature: null, system_prompt: null });
    expect(await ask('POST', '/chatgpt/config', filled)).toEqual([200, saved]);
    expect(await ask('GET', '/chatgpt/config')).toEqual([200, { ...filled, api_key: MASK }]);
    expect(await ask('POST', '/chatgpt/config', config)).toEqual([200, saved]);
    expect(await ask('POST', '/chatgpt/test')).toMatchObject([
      400,
      { error: expect.stringContaining('answered 401: invalid x-api-key') },
    ]);
    expect(await ask('PUT', '/', { openai_api_key: canary })).toEqual([
      200,
      { message: 'Settings updated successfully' },
    ]);
    expect(await ask('POST', '/chatgpt/test')).toEqual([
      200,
      { success: true, message: 'The model answered' },
    ]);
    expect(await ask('GET', '/chatgpt/config')).toEqual([200, { ...config, api_key: MASK }]);
    const again = { ...config, api_key: MASK, system_prompt: null };
    expect(await ask('POST', '/chatgpt/config', again)).toEqual([200, saved]);
    expect(await ask('GET', '/chatgpt/config')).toEqual([200, again]);
    expect((await ask('POST', '/chatgpt/test'))[0]).toBe(200);
    expect(await ask('POST', '/reload-ai-service')).toEqual([
      200,
      { success: true, available: true, message: 'AI service reloaded successfully' },
    ]);
    const [, list] = await ask('GET', '');
    expect((list as { key: string }[]).map(({ key }) => key).sort()).toEqual([
      'chatgpt_api_key',
      'chatgpt_max_tokens',
      'chatgpt_model',
      'chatgpt_temperature',
    ]);
    expect(await ask('GET', '/openai_api_key')).toMatchObject([200, { key: 'openai_api_key', value: MASK }]);
    expect(JSON.stringify(system.lines)).not.toContain(canary);
  });

  it('leaves a model name of another provider out, and says so', async () => {
    expect(await ask('POST', '/chatgpt/config', { api_key: MASK, model: 'gpt-4', temperature: 2 })).toEqual([
      200,
      {
        message:
          'ChatGPT configuration saved successfully, but the model stays claude-test-9: gpt-4 is not available here',
      },
    ]);
    expect(await ask('GET', '/chatgpt/config')).toMatchObject([
      200,
      { model: 'claude-test-9', temperature: 2 },
    ]);
  });

  it.each([
    ['no key', { model: 'claude-test-9' }],
    ['too warm', { api_key: MASK, temperature: 2.1 }],
    ['no tokens', { api_key: MASK, max_tokens: 0 }],
    ['an unknown field', { api_key: MASK, base_url: 'https://evil.example' }],
    ['no object', 'x'],
  ])('refuses %s', async (_what, body) => {
    expect((await ask('POST', '/chatgpt/config', body))[0]).toBe(422);
  });

  it('refuses two keys at once, and none', async () => {
    expect((await ask('PUT', '', { openai_api_key: 'a', anthropic_api_key: 'b' }))[0]).toBe(422);
    expect((await ask('PUT', '', {}))[0]).toBe(422);
    expect((await ask('PUT', '', { api_key: 'a' }))[0]).toBe(422);
  });
});
