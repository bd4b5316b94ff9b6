/** Conversations in the whole API: what ends an open answer from our side, the mock, and settings in force. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { openChat } from '../support/chat.ts';
import { type LlmStub, startLlmStub } from '../support/llm-stub.ts';
import { type System, startSystem } from '../support/system.ts';
import { deskOf } from '../support/tasks.ts';

let stub: LlmStub;
let system: System;
beforeAll(async () => {
  stub = await startLlmStub();
  system = await startSystem({
    worker: false,
    env: { ANTHROPIC_API_KEY: 'test-key', ANTHROPIC_BASE_URL: stub.url },
  });
});
afterAll(async () => {
  await system.close();
  await stub.close();
});

const never = { until: () => new Promise(() => undefined) };
const readMessages = async (token: string, id: string) => {
  const path = `/v1/conversations/${id}/messages`;
  return (await system.call<{ items: unknown[] }>('GET', path, undefined, { token })).items;
};

it('ends within five seconds of a logout, and keeps what was said', async () => {
  const token = await deskOf(system).addUser('user', 'leaver');
  const { accessToken: other } = await system.call<{ accessToken: string }>('POST', '/v1/auth/login', {
    username: 'leaver',
    password: 'Correct-Horse-8',
  });
  stub.enqueue({ type: 'stream', steps: ['words', never] });
  const client = await openChat(system.url, token, { content: 'x' });
  await client.until(() => client.said() === 'words');
  await system.call('POST', '/v1/auth/logout', {}, { token });
  const from = performance.now();
  await client.ended;
  expect(performance.now() - from).toBeLessThan(5_000);
  await stub.waitForHangUps(1);
  await vi.waitFor(async () => {
    const items = await readMessages(other, client.frames()[0]?.data.conversation_id);
    expect(items[1]).toMatchObject({ content: 'words', status: 'interrupted' });
  });
});

it('keeps what was said when the server stops', async () => {
  stub.enqueue({ type: 'stream', steps: ['last words', never] });
  const client = await openChat(system.url, system.token(), { content: 'x' });
  await client.until(() => client.said() === 'last words');
  await system.restartApi();
  await client.ended;
  expect(client.frames().map(({ event }) => event)).toEqual(['conversation', 'token']);
  const items = await readMessages(system.token(), client.frames()[0]?.data.conversation_id);
  expect(items).toMatchObject([
    { role: 'user', status: 'completed' },
    { role: 'assistant', content: 'last words', status: 'interrupted', usage: null },
  ]);
});

it('is answered by the labelled mock where no key is set, and a task it proposes is there', async () => {
  const bare = await startSystem({ worker: false });
  try {
    const client = await openChat(bare.url, bare.token(), { content: 'Please create a task to count files' });
    await client.ended;
    expect(client.said()).toMatch(/^\[mock model\] /);
    const { items } = await bare.call<{ items: { goal: string; mode: string; id: string }[] }>(
      'GET',
      '/v1/tasks',
    );
    expect(items).toMatchObject([{ goal: 'count files', mode: 'supervised' }]);
    expect(client.said()).toContain(items[0]?.id);
    expect(client.frames().at(-1)?.event).toBe('done');
  } finally {
    await bare.close();
  }
});
