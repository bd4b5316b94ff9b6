import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createChat } from '../../core/chat-model.ts';
import type { ModelSettings } from '../../core/running-config.ts';
import { createDatabase, type Db, query } from '../../db/database.ts';
import { type BudgetLimits, createBudget } from '../../domain/budget.ts';
import { type Chat, createMeteredChat } from '../../domain/metered-chat.ts';
import { createAnthropicChat } from '../../llm/anthropic-chat.ts';
import type { ChatPart } from '../../llm/chat-port.ts';
import { createMockChat } from '../../llm/mock-chat.ts';
import { noLimits } from '../support/budget.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type LlmStub, startLlmStub } from '../support/llm-stub.ts';

/** The chat as the API has it: the real SDK over a real socket, budgets and calls in real Postgres. */

let database: TestDatabase;
let db: Db;
let stub: LlmStub;
const lines: { event: string; [field: string]: unknown }[] = [];
const write = (fields: { event: string }): void => void lines.push(fields);
const log = { debug: write, info: write, warn: write, error: write };

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 4, applicationName: 'metered-chat-test' });
  stub = await startLlmStub();
});
beforeEach(async () => {
  await db.raw('truncate llm_calls');
  lines.length = 0;
  stub.drop();
});
afterAll(async () => {
  await stub.close();
  await db.destroy();
  await database.drop();
  expect(stub.violations).toEqual([]);
});

function open(limits: Partial<BudgetLimits> = {}, times = {}): Chat {
  return createMeteredChat({
    port: createAnthropicChat({ apiKey: 'test-key', model: 'claude-sonnet-5', baseUrl: stub.url, times }),
    budget: createBudget({ db, limits: { ...noLimits, ...limits }, purpose: 'chat' }),
    log,
  });
}

const ask = (chat: Chat, more: { principalId?: string; signal?: AbortSignal } = {}) =>
  chat.stream({
    messages: [{ role: 'user', content: 'Hello' }],
    principalId: 'user-1',
    signal: new AbortController().signal,
    ...more,
  });

async function read(answer: AsyncIterable<ChatPart>): Promise<ChatPart[]> {
  const parts: ChatPart[] = [];
  for await (const part of answer) parts.push(part);
  return parts;
}

const calls = () =>
  query(
    db,
    `select purpose, task_id as "taskId", principal_id as "principalId", model, mock, input_tokens as "in",
            output_tokens as "out", cost_usd as "usd", outcome from llm_calls order by id`,
    {},
  );
const usual = { purpose: 'chat', taskId: null, principalId: 'user-1', model: 'claude-sonnet-5', mock: false };

describe('each answer is counted once', () => {
  it('when it is whole, before its end is told', async () => {
    stub.enqueue({ type: 'stream', steps: ['a', 'b'], usage: { input: 1_000, output: 200 } });
    for await (const part of ask(open())) {
      if (part.type !== 'end') continue;
      expect(part).toMatchObject({ inputTokens: 1_000, outputTokens: 200 });
      expect(await calls()).toEqual([{ ...usual, in: 1_000, out: 200, usd: 0.006, outcome: 'ok' }]);
    }
    expect(await calls()).toHaveLength(1);
  });

  it('when whoever asked has gone, with what was said until then', async () => {
    const leaving = new AbortController();
    stub.enqueue({ type: 'stream', steps: ['x'.repeat(300), { stall: true }] });
    const reading = (async () => {
      for await (const _part of ask(open(), { signal: leaving.signal })) leaving.abort(new Error('gone'));
    })();
    await expect(reading).rejects.toThrow('gone');
    expect(await calls()).toEqual([{ ...usual, in: 100, out: 100, usd: 0.0018, outcome: 'aborted' }]);
  });

  it('when its reader just stops', async () => {
    stub.enqueue({ type: 'stream', steps: ['abc', { stall: true }] });
    for await (const _part of ask(open())) break;
    expect(await calls()).toMatchObject([{ outcome: 'aborted', in: 100 }]);
  });

  it('when it breaks off, stalls, or is refused', async () => {
    stub.enqueue({ type: 'stream', steps: ['a', { error: 'overloaded_error' }] });
    await expect(read(ask(open()))).rejects.toMatchObject({ code: 'answer_broken_off' });
    stub.enqueue({ type: 'stream', steps: ['a', { stall: true }] });
    await expect(read(ask(open({}, { idleMs: 50 })))).rejects.toMatchObject({ code: 'answer_broken_off' });
    stub.enqueue({ type: 'stream', steps: [], stopReason: 'refusal' });
    expect(await read(ask(open()))).toMatchObject([{ type: 'end', stop: 'refusal' }]);
    expect(await calls()).toMatchObject([
      { outcome: 'llm_overloaded' },
      { outcome: 'llm_timeout' },
      { outcome: 'llm_refused' },
    ]);
  });

  it('but not when the provider would not take it', async () => {
    stub.enqueue({ type: 'overloaded' });
    await expect(read(ask(open()))).rejects.toMatchObject({ code: 'model_unavailable' });
    expect(await calls()).toEqual([]);
  });
});

describe('what went wrong', () => {
  it('before the first word is an absent model, with the wait the provider asks for, and logged', async () => {
    stub.enqueue({ type: 'rate-limited', retryAfter: '7' });
    await expect(read(ask(open()))).rejects.toMatchObject({
      code: 'model_unavailable',
      headers: { 'Retry-After': '7' },
    });
    expect(lines).toMatchObject([{ event: 'chat_failed', code: 'llm_rate_limited', hasSpoken: false }]);
  });

  it('of a budget names it, and nobody is asked', async () => {
    const budget = createBudget({ db, limits: noLimits });
    const usage = { model: 'm', inputTokens: 1, outputTokens: 1, costUsd: 2, mock: false };
    const asked = stub.requests.length;
    await budget.record({ taskId: null, principalId: 'user-1' }, usage, 'ok'); // spent by tasks: one purse
    await expect(read(ask(open({ userDayUsd: 2 })))).rejects.toMatchObject({
      code: 'budget_exceeded',
      params: { scope: 'user' },
    });
    await expect(read(ask(open({ dayUsd: 1 }), { principalId: 'user-2' }))).rejects.toMatchObject({
      code: 'budget_exceeded',
      params: { scope: 'day' },
    });
    expect(stub.requests).toHaveLength(asked);
  });
});

it('follows the settings, and the mock costs nothing', async () => {
  let model: ModelSettings = {
    apiKey: null,
    model: 'claude-haiku-4-5',
    baseUrl: stub.url,
    maxTokens: 1_024,
    temperature: null,
    instructions: 'Be brief.',
  };
  const chat = createChat(
    { model: () => model, modelBudget: { ...noLimits, dayUsd: 0.000_001 } },
    { db, log },
  );
  expect([chat.name, chat.isMock]).toEqual(['mock', true]);
  expect((await read(ask(chat))).at(-1)).toMatchObject({ model: 'mock', mock: true });
  expect(await calls()).toEqual([]);

  model = { ...model, apiKey: 'test-key' };
  expect([chat.name, chat.isMock]).toEqual(['anthropic', false]);
  stub.enqueue({ type: 'stream', steps: ['a'] });
  expect((await read(ask(chat))).at(-1)).toMatchObject({ model: 'claude-haiku-4-5', mock: false });
  expect(stub.requests.at(-1)?.body).toMatchObject({
    max_tokens: 1_024,
    system: expect.stringContaining('Be brief.'),
  });
  await expect(read(ask(chat))).rejects.toMatchObject({ code: 'budget_exceeded', params: { scope: 'day' } });
});

it('an answer that cannot be counted is not told to be whole', async () => {
  const chat = createMeteredChat({
    port: createMockChat(),
    log,
    budget: {
      assertWithin: async () => undefined,
      record: async () => {
        throw new Error('the database is away');
      },
    },
  });
  // The mock has nothing to count.
  expect((await read(ask(chat))).at(-1)).toMatchObject({ type: 'end' });
  const port = createAnthropicChat({ apiKey: 'test-key', model: 'claude-sonnet-5', baseUrl: stub.url });
  const budget = { assertWithin: async () => undefined, record: () => Promise.reject(new Error('away')) };
  stub.enqueue({ type: 'stream', steps: ['a'] });
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { type } of ask(createMeteredChat({ port, budget, log }))) seen.push(type);
  })();
  await expect(reading).rejects.toThrow('away');
  expect(seen).toEqual(['text']);
  stub.enqueue({ type: 'stream', steps: ['a', { error: 'api_error' }] });
  await expect(read(ask(createMeteredChat({ port, budget, log })))).rejects.toMatchObject({
    code: 'answer_broken_off',
  });
  expect(lines).toContainEqual(expect.objectContaining({ event: 'chat_not_counted' }));
});
