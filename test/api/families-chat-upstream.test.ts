/**
 * From the provider's socket to the client's: what the streaming Messages protocol can do, and what alice's clients read
 * of it. The provider is the stub, whose streams are synthetic, written from the public protocol.
 */
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { createBudget } from '../../domain/budget.ts';
import { createMeteredChat } from '../../domain/metered-chat.ts';
import { createAnthropicChat } from '../../llm/anthropic-chat.ts';
import { noLimits } from '../support/budget.ts';
import { type ChatClient, createGate, openChat } from '../support/chat.ts';
import { type FamilyAuth, startFamilyAuth } from '../support/family-auth.ts';
import { type LlmStub, startLlmStub } from '../support/llm-stub.ts';

let auth: FamilyAuth;
let stub: LlmStub;
let token: string;
const start = (idleMs: number): Promise<FamilyAuth> =>
  startFamilyAuth({
    chat: ({ db, deps: { log } }) =>
      createMeteredChat({
        port: createAnthropicChat({
          apiKey: 'test-key',
          model: 'claude-test',
          baseUrl: stub.url,
          times: { idleMs },
        }),
        budget: createBudget({ db, limits: noLimits, purpose: 'chat' }),
        log,
      }),
  });
beforeAll(async () => {
  stub = await startLlmStub();
  auth = await start(30_000);
  token = await auth.tokenOf(await auth.addUser());
});
afterAll(async () => {
  await auth.close();
  await stub.close();
});
afterEach(() => {
  stub.drop();
  expect(stub.violations).toEqual([]);
});

const open = (content: string): Promise<ChatClient> => openChat(auth.server.url(), token, { content });
async function say(content: string): Promise<ChatClient> {
  const client = await open(content);
  await client.ended;
  return client;
}
const idOf = (client: ChatClient): string => client.frames()[0]?.data.conversation_id;
const rowsOf = (client: ChatClient) =>
  auth.stack
    .db('messages')
    .where({ conversation_id: idOf(client) })
    .orderBy('created_at');
const lastCall = () => auth.stack.db('llm_calls').orderBy('id', 'desc').first();

it('passes the deltas on, one frame for each, byte by byte', async () => {
  stub.enqueue({
    type: 'stream',
    steps: ['Hello', ', ', { ping: true }, 'wörld ', '🙂\n'],
    usage: { input: 41, output: 9 },
  });
  const client = await say('Hello ALICE!');
  const id = idOf(client);
  const [, answer] = await rowsOf(client);
  expect(client.text()).toBe(
    [
      `event: conversation\ndata: {"conversation_id":"${id}","is_new":true}\n\n`,
      'event: token\ndata: {"content":"Hello","index":0}\n\n',
      'event: token\ndata: {"content":", ","index":1}\n\n',
      'event: token\ndata: {"content":"wörld ","index":2}\n\n',
      'event: token\ndata: {"content":"🙂\\n","index":3}\n\n',
      `event: done\ndata: {"message_id":"${answer.id}","conversation_id":"${id}","total_tokens":50}\n\n`,
    ].join(''),
  );
  expect(answer).toMatchObject({
    content: 'Hello, wörld 🙂\n',
    model: 'claude-test',
    mock: false,
    input_tokens: 41,
    output_tokens: 9,
  });
  expect(await lastCall()).toMatchObject({
    purpose: 'chat',
    input_tokens: 41,
    output_tokens: 9,
    outcome: 'ok',
  });
});

it('takes characters that arrive in pieces', async () => {
  stub.enqueue({ type: 'stream', steps: ['żółć ', '漢字 ', '👩‍🚀'], chunkBytes: 1 });
  const client = await say('split');
  expect(client.said()).toBe('żółć 漢字 👩‍🚀');
  expect((await rowsOf(client))[1].content).toBe('żółć 漢字 👩‍🚀');
  expect(client.text()).not.toContain('\uFFFD');
});

it('keeps what was said before the provider’s error, and ends with one of its own', async () => {
  stub.enqueue({ type: 'stream', steps: ['one ', 'two ', 'three', { error: 'overloaded_error' }] });
  const client = await say('count');
  expect(client.frames().slice(1)).toEqual([
    { event: 'token', data: { content: 'one ', index: 0 } },
    { event: 'token', data: { content: 'two ', index: 1 } },
    { event: 'token', data: { content: 'three', index: 2 } },
    { event: 'error', data: { detail: expect.any(String), code: 'STREAM_ERROR' } },
  ]);
  expect((await rowsOf(client))[1]).toMatchObject({ content: 'one two three', status: 'failed' });
});

it.each([
  ['an error status', { type: 'overloaded' }],
  ['a bad key', { type: 'status', status: 401, errorType: 'authentication_error' }],
  ['a reset connection', { type: 'reset' }],
  ['an error for its first event', { type: 'stream', steps: [{ error: 'api_error' }] }],
] as const)('says that the model is not there: %s', async (_what, answer) => {
  stub.enqueue(answer);
  const client = await say('hello?');
  expect(client.frames().slice(1)).toEqual([
    { event: 'error', data: { detail: 'AI service is not available', code: 'AI_SERVICE_UNAVAILABLE' } },
  ]);
  expect(await rowsOf(client)).toHaveLength(1);
});

it('ends an answer that stalls, and keeps what was said', async () => {
  const impatient = await start(200);
  try {
    stub.enqueue({ type: 'stream', steps: ['I think', { stall: true }] });
    const as = await impatient.tokenOf(await impatient.addUser());
    const client = await openChat(impatient.server.url(), as, { content: 'and?' });
    await client.ended;
    expect(client.frames().at(-1)).toMatchObject({ event: 'error', data: { code: 'STREAM_ERROR' } });
    const { db } = impatient.stack;
    expect(await db('messages').where({ role: 'assistant' })).toMatchObject([
      { content: 'I think', status: 'failed' },
    ]);
    expect(await db('llm_calls')).toMatchObject([{ purpose: 'chat', outcome: 'llm_timeout' }]);
  } finally {
    await impatient.close();
  }
});

it('hangs up on the provider when the client has gone', async () => {
  stub.enqueue({ type: 'stream', steps: ['some ', 'words', { until: () => new Promise(() => undefined) }] });
  const client = await open('a long story');
  await client.until(() => client.said() === 'some words');
  client.leave();
  await vi.waitFor(async () => {
    expect((await rowsOf(client))[1]).toMatchObject({ content: 'some words', status: 'interrupted' });
  });
  await vi.waitFor(async () => expect((await lastCall()).outcome).toBe('aborted'));
});

it('creates the task that the model proposes, and names it behind the answer', async () => {
  stub.enqueue({
    type: 'stream',
    steps: [
      'I suggest a task.',
      { tool: 'propose_task', input: { goal: 'Count the files in /srv', title: 'Count' } },
    ],
  });
  const client = await say('please count the files in /srv');
  const [, answer] = await rowsOf(client);
  const task = await auth.stack.db('tasks').where({ public_id: answer.task_id }).first();
  expect(task).toMatchObject({ mode: 'supervised', goal: 'Count the files in /srv', title: 'Count' });
  expect(client.said()).toContain(`Task ${task.public_id} was created`);
  expect(client.frames().at(-1)?.event).toBe('done');

  // In later turns the model reads what became of it.
  stub.enqueue({ type: 'stream', steps: ['yes'] });
  const next = await openChat(auth.server.url(), token, { content: 'ok?', conversation_id: idOf(client) });
  await next.ended;
  expect(stub.requests.at(-1)?.body.messages).toEqual([
    { role: 'user', content: 'please count the files in /srv' },
    { role: 'assistant', content: client.said() },
    { role: 'user', content: 'ok?' },
  ]);
});

it('serves 200 answers at once', async () => {
  const gate = createGate();
  const count = 200;
  for (let i = 0; i < count; i++) {
    stub.enqueue((body) => {
      const name = body.messages.at(-1)?.content ?? '';
      return { type: 'stream', steps: [name, { until: () => gate.promise }, ' one', ' two', ' three'] };
    });
  }
  const clients = await Promise.all(Array.from({ length: count }, (_, i) => open(`client ${i}`)));
  // The gate is not opened before each of them has its first token: all are open together.
  await Promise.all(clients.map((client, i) => client.until(() => client.said() === `client ${i}`)));
  gate.open();
  await Promise.all(clients.map((client) => client.ended));
  expect(clients.map((client) => client.said())).toEqual(clients.map((_, i) => `client ${i} one two three`));
  expect(new Set(clients.map((client) => client.frames().at(-1)?.event))).toEqual(new Set(['done']));
  const ids = clients.map(idOf);
  const answers = await auth.stack
    .db('messages')
    .whereIn('conversation_id', ids)
    .where({ role: 'assistant', status: 'completed' });
  expect(answers).toHaveLength(count);
}, 60_000);
