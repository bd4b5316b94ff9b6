/** The model of conversations follows the stored settings: no restart, and the next answer is from the one in force. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openChat } from '../support/chat.ts';
import { type LlmStub, startLlmStub } from '../support/llm-stub.ts';
import { type System, startSystem } from '../support/system.ts';

let stub: LlmStub;
let system: System;
beforeAll(async () => {
  stub = await startLlmStub();
  system = await startSystem({ worker: false, env: { ANTHROPIC_BASE_URL: stub.url } });
});
afterAll(async () => {
  await system.close();
  await stub.close();
  expect(stub.violations).toEqual([]);
});

const store = (namespace: string, key: string, value: string) =>
  system.call('PUT', `/v1/settings/${namespace}/${key}`, { value });

async function say(content: string) {
  const client = await openChat(system.url, system.token(), { content });
  await client.ended;
  return { said: client.said(), last: client.frames().at(-1) };
}

it('from the mock to a model, its name, its tuning and its budget', async () => {
  expect((await say('hello')).said).toMatch(/^\[mock model\] /);

  await store('config', 'ANTHROPIC_API_KEY', 'test-key');
  await store('config', 'ANTHROPIC_MODEL', 'claude-of-the-settings');
  await store('model', 'max_tokens', '2048');
  await store('model', 'instructions', 'Answer in verse.');
  stub.enqueue({ type: 'stream', steps: ['Roses ', 'are red'], usage: { input: 1_000, output: 1_000 } });
  expect(await say('hello')).toMatchObject({
    said: 'Roses are red',
    last: { event: 'done', data: { total_tokens: 2_000 } },
  });
  expect(stub.requests.at(-1)?.body).toMatchObject({
    model: 'claude-of-the-settings',
    max_tokens: 2_048,
    stream: true,
    system: expect.stringContaining('Answer in verse.'),
  });

  await store('config', 'LLM_BUDGET_USER_DAY_USD', '0.01');
  expect((await say('again')).last).toMatchObject({ event: 'error', data: { code: 'BUDGET_EXCEEDED' } });
  expect(stub.requests).toHaveLength(1);
});
