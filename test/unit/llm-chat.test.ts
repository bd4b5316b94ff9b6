import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AnthropicChatOptions, createAnthropicChat } from '../../llm/anthropic-chat.ts';
import type { ChatAnswer, ChatPart, ChatRequest } from '../../llm/chat-port.ts';
import { chatRules } from '../../llm/chat-prompt.ts';
import { createMockChat } from '../../llm/mock-chat.ts';
import type { LlmError } from '../../llm/port.ts';
import type { StreamScript, StreamStep } from '../support/llm-stream.ts';
import { type LlmStub, startLlmStub } from '../support/llm-stub.ts';

/** The real SDK against synthetic streams of the public protocol, over a real socket. */

let stub: LlmStub;
beforeEach(async () => {
  stub = await startLlmStub();
});
afterEach(async () => {
  await stub.close();
  expect(stub.violations).toEqual([]);
});

const never = new AbortController().signal;
const question: ChatRequest = { messages: [{ role: 'user', content: 'Hello' }] };

function ask(
  options: Partial<AnthropicChatOptions> = {},
  { request = question, signal = never }: { request?: ChatRequest; signal?: AbortSignal } = {},
): ChatAnswer {
  const chat = createAnthropicChat({
    apiKey: 'test-key',
    model: 'claude-test-9',
    baseUrl: stub.url,
    ...options,
  });
  return chat.answer(request, { signal });
}

const stream = (steps: readonly StreamStep[], more: Partial<StreamScript> = {}) =>
  stub.enqueue({ type: 'stream', steps, ...more });

/** All parts, and what ended the iteration instead of its end. */
async function read(answer: ChatAnswer): Promise<{ parts: ChatPart[]; texts: string[]; error?: LlmError }> {
  const parts: ChatPart[] = [];
  const texts = () => parts.flatMap((part) => (part.type === 'text' ? [part.text] : []));
  try {
    for await (const part of answer) parts.push(part);
  } catch (error) {
    return { parts, texts: texts(), error: error as LlmError };
  }
  return { parts, texts: texts() };
}

const end = {
  type: 'end',
  model: 'claude-test-9',
  mock: false,
  inputTokens: 100,
  outputTokens: 20,
  stop: 'complete',
};

describe('an answer', () => {
  it('comes piece by piece as it was sent, then its end with the tokens', async () => {
    stream(['Hel', 'lo', ' ', '\n wörld']);
    const answer = ask();
    expect(answer.usage()).toBeNull();
    const { parts, error } = await read(answer);
    expect(error).toBeUndefined();
    expect(parts).toEqual([
      { type: 'text', text: 'Hel' },
      { type: 'text', text: 'lo' },
      { type: 'text', text: ' ' },
      { type: 'text', text: '\n wörld' },
      end,
    ]);
    expect(answer.usage()).toMatchObject({
      model: 'claude-test-9',
      inputTokens: 100,
      outputTokens: 20,
      mock: false,
    });
  });

  it('is asked for once, as a stream, with rules, tool and conversation', async () => {
    stream(['x']);
    await read(
      ask(
        { maxTokens: 2_048, temperature: 0.5, instructions: 'Prefer metric units.' },
        {
          request: {
            messages: [
              { role: 'user', content: 'a' },
              { role: 'assistant', content: 'b' },
              { role: 'user', content: 'c' },
            ],
            system: 'You talk with Ada.',
          },
        },
      ),
    );
    expect(stub.requests).toHaveLength(1);
    const body = stub.requests[0]?.body;
    expect(body).toMatchObject({
      model: 'claude-test-9',
      stream: true,
      max_tokens: 2_048,
      temperature: 0.5,
      tool_choice: { type: 'auto', disable_parallel_tool_use: true },
      messages: [
        { role: 'user', content: 'a' },
        { role: 'assistant', content: 'b' },
        { role: 'user', content: 'c' },
      ],
    });
    expect(body?.tools?.map(({ name }) => name)).toEqual(['propose_task']);
    expect(body?.system.startsWith(chatRules)).toBe(true);
    expect(body?.system).toMatch(/Prefer metric units\.\n\nYou talk with Ada\.$/);
  });

  it('has no tool where tasks may not be suggested', async () => {
    stream(['x']);
    await read(ask({}, { request: { ...question, mayProposeTasks: false } }));
    expect(stub.requests[0]?.body).not.toHaveProperty('tools');
    expect(stub.requests[0]?.body).not.toHaveProperty('tool_choice');
    expect(stub.requests[0]?.body.system).toContain('may not create tasks');
  });

  it('arrives before the next piece is written', async () => {
    const gates: (() => void)[] = [];
    const gate = () => new Promise<void>((resolve) => void gates.push(resolve));
    stream(['one', { until: gate }, 'two', { until: gate }, 'three']);
    const seen: string[] = [];
    for await (const part of ask()) {
      if (part.type !== 'text') continue;
      seen.push(part.text);
      await expect.poll(() => gates.length).toBe(Math.min(seen.length, 2));
      gates[seen.length - 1]?.();
    }
    expect(seen).toEqual(['one', 'two', 'three']);
  });

  it.each([1, 2, 3, 7])('survives characters split over chunks of %i bytes', async (chunkBytes) => {
    const texts = ['😀é', '漢字 ', '\u{1f468}\u200d\u{1f469}'];
    stream(texts, { chunkBytes });
    expect((await read(ask())).texts).toEqual(texts);
  });

  it('loses its control characters, and joins halves of characters', async () => {
    const delta = (json: string) => ({
      bytes: `event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"${json}"}}\n\n`,
    });
    stream(['a', delta('b\\u0000\\ud83d'), delta('\\ude00c\\r'), delta('\\nd\\ud83d')]);
    expect((await read(ask())).texts.join('')).toBe('ab\uFFFD😀c\nd\uFFFD');
  });

  it('passes over pings, thinking and kinds it does not know', async () => {
    stream([
      { ping: true },
      { thinking: 'hm' },
      'a',
      { event: 'novelty', data: { x: 1 } },
      { ping: true },
      'b',
    ]);
    expect((await read(ask())).parts).toEqual([
      { type: 'text', text: 'a' },
      { type: 'text', text: 'b' },
      end,
    ]);
  });

  it.each([
    ['max_tokens', 'length'],
    ['model_context_window_exceeded', 'length'],
    ['refusal', 'refusal'],
    ['stop_sequence', 'complete'],
  ])('that stops for %s says %s', async (stopReason, stop) => {
    stream(['a'], { stopReason });
    expect((await read(ask())).parts.at(-1)).toEqual({ ...end, stop });
  });

  it('does not wait for a body that stays open behind its end', async () => {
    const released: (() => void)[] = [];
    stub.enqueue({
      type: 'stream',
      steps: [
        'a',
        {
          event: 'message_delta',
          data: { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 2 } },
        },
        { event: 'message_stop', data: { type: 'message_stop' } },
        { until: () => new Promise<void>((resolve) => void released.push(resolve)) },
      ],
    });
    const { parts, error } = await read(ask());
    expect(error).toBeUndefined();
    expect(parts).toEqual([
      { type: 'text', text: 'a' },
      { ...end, outputTokens: 2 },
    ]);
    await stub.waitForHangUps(1);
    released[0]?.();
  });

  it('leaves its connection to later ones', async () => {
    const rounds = 6;
    const ports = new Set<number | undefined>();
    for (let round = 0; round < rounds; round++) {
      stream(['a']);
      await read(ask());
      ports.add(stub.requests.at(-1)?.port);
    }
    expect(ports.size).toBeLessThan(rounds);
  });
});

describe('a suggested task', () => {
  const input = { title: 'Tidy', goal: 'Tidy up /tmp', agent_id: 'web-1' };

  it('comes after the words, once the message says that it stopped for it', async () => {
    stream(['I suggest this.', { tool: 'propose_task', input }], { chunkBytes: 5 });
    expect((await read(ask())).parts).toEqual([
      { type: 'text', text: 'I suggest this.' },
      {
        type: 'tool',
        name: 'propose_task',
        input: { title: 'Tidy', goal: 'Tidy up /tmp', agentId: 'web-1', tags: [] },
      },
      end,
    ]);
  });

  it('is none when the answer was cut off, however whole it looks', async () => {
    stream(['a', { tool: 'propose_task', input }], { stopReason: 'max_tokens' });
    expect((await read(ask())).parts).toEqual([
      { type: 'text', text: 'a' },
      { ...end, stop: 'length' },
    ]);
  });

  it.each<[string, StreamStep[]]>([
    ['another tool', [{ tool: 'run_command', input }]],
    ['no JSON', [{ tool: 'propose_task', json: '{"goal": ' }]],
    ['no goal', [{ tool: 'propose_task', input: { title: 'x' } }]],
    [
      'two of them',
      [
        { tool: 'propose_task', input },
        { tool: 'propose_task', input },
      ],
    ],
    ['too long', [{ tool: 'propose_task', input: { goal: 'x'.repeat(70_000) } }]],
  ])('that cannot be used is a bad answer: %s', async (_name, steps) => {
    stream(['a', ...steps]);
    const { texts, error } = await read(ask());
    expect([texts, error?.code]).toEqual([['a'], 'llm_bad_answer']);
  });
});

describe('tools of the caller', () => {
  const tool = (name: string) => ({
    name,
    description: name,
    parameters: { type: 'object', properties: {} },
  });
  const request: ChatRequest = {
    ...question,
    rules: 'Rules of the caller.',
    mayProposeTasks: false,
    tools: [tool('list'), tool('make')],
    model: 'claude-other-1',
  };

  it('are offered instead of ours and asked for after the words, several at once', async () => {
    stream(['I will.', { tool: 'make', input: { name: 'x' } }, { tool: 'list', json: '' }], {
      chunkBytes: 7,
    });
    const answer = ask({ instructions: 'Be brief.' }, { request });
    expect((await read(answer)).parts).toEqual([
      { type: 'text', text: 'I will.' },
      { type: 'call', name: 'make', input: { name: 'x' } },
      { type: 'call', name: 'list', input: {} },
      { ...end, model: 'claude-other-1' },
    ]);
    expect(answer.usage()?.model).toBe('claude-other-1');
    const body = stub.requests[0]?.body;
    expect(body).toMatchObject({
      model: 'claude-other-1',
      tool_choice: { type: 'auto', disable_parallel_tool_use: false },
    });
    expect(body?.tools?.map(({ name }) => name)).toEqual(['list', 'make']);
    expect(body?.system).toMatch(/^Rules of the caller\.\n\n[^]*Be brief\.$/);
    expect(body?.system).not.toContain('propose_task');
  });

  it.each<[string, StreamStep[]]>([
    ['one that was not given', [{ tool: 'drop', input: {} }]],
    ['no object', [{ tool: 'list', json: '[1]' }]],
    ['no JSON', [{ tool: 'list', json: '{"a":' }]],
    ['too many', Array.from({ length: 21 }, () => ({ tool: 'list', input: {} }))],
  ])('that cannot be used are a bad answer: %s', async (_name, steps) => {
    stream(['a', ...steps]);
    expect((await read(ask({}, { request }))).error?.code).toBe('llm_bad_answer');
  });

  it('are none when the answer was cut off', async () => {
    stream(['a', { tool: 'list', input: {} }], { stopReason: 'max_tokens' });
    const { parts } = await read(ask({}, { request }));
    expect(parts.map(({ type }) => type)).toEqual(['text', 'end']);
  });
});

describe('a call that fails', () => {
  it('before it begins names what the provider said, without the key, and costs nothing', async () => {
    const cases = [
      [{ type: 'status', status: 401, message: 'bad key test-key' }, 'llm_auth'],
      [{ type: 'rate-limited', retryAfter: '7' }, 'llm_rate_limited'],
      [{ type: 'overloaded' }, 'llm_overloaded'],
      [{ type: 'status', status: 400 }, 'llm_bad_request'],
      [{ type: 'reset' }, 'llm_unavailable'],
    ] as const;
    for (const [scripted, code] of cases) {
      stub.enqueue(scripted);
      const answer = ask();
      const { parts, error } = await read(answer);
      expect([parts, error?.code, answer.usage()]).toEqual([[], code, null]);
      expect(error?.message).not.toContain('test-key');
      if (code === 'llm_rate_limited') expect(error?.retryAfterMs).toBe(7_000);
    }
    expect(stub.requests).toHaveLength(cases.length); // no retries
  });

  it.each([
    ['overloaded_error', 'llm_overloaded'],
    ['rate_limit_error', 'llm_rate_limited'],
    ['api_error', 'llm_unavailable'],
    ['constructor', 'llm_unavailable'],
  ])('after three pieces with %s', async (kind, code) => {
    stream(['a', 'b', 'c', { error: kind, message: 'busy test-key' }]);
    const answer = ask();
    const { texts, error } = await read(answer);
    expect([texts, error?.code]).toEqual([['a', 'b', 'c'], code]);
    expect(error?.message).toMatch(/busy \[redacted\]$/);
    expect(answer.usage()).toMatchObject({ inputTokens: 100 });
  });

  it.each<[string, StreamStep]>([
    ['just ends', { breakOff: true }],
    ['is reset', { reset: true }],
  ])('because its body %s', async (_name, step) => {
    const arrived: (() => void)[] = [];
    stream(['a', 'b', { until: () => new Promise<void>((resolve) => void arrived.push(resolve)) }, step]);
    const texts: string[] = [];
    const reading = (async () => {
      for await (const part of ask()) {
        if (part.type === 'text') texts.push(part.text);
        // A reset may overtake what was written before it.
        if (texts.length === 2)
          await expect
            .poll(() => arrived.length)
            .toBe(1)
            .then(() => arrived[0]?.());
      }
    })();
    await expect(reading).rejects.toMatchObject({ code: 'llm_unavailable' });
    expect(texts).toEqual(['a', 'b']);
  });

  it.each<[string, string]>([
    ['is no JSON', 'event: content_block_delta\ndata: {"secret words\n\n'],
    ['is something else', 'event: content_block_delta\ndata: {"delta":7}\n\n'],
  ])('because an event %s', async (_name, bytes) => {
    stream(['a', { bytes }]);
    const { texts, error } = await read(ask());
    expect([texts, error?.code]).toEqual([['a'], 'llm_bad_answer']);
    expect(String(error?.message) + String(error?.cause)).not.toContain('secret words');
  });

  it('because the provider is silent from the start', async () => {
    stub.enqueue({ type: 'hang' });
    const answer = ask({ times: { firstEventMs: 50 } });
    const { error } = await read(answer);
    expect(error).toMatchObject({
      code: 'llm_timeout',
      message: 'the model did not begin to answer within 50 ms',
    });
    await stub.waitForHangUps(1);
  });

  it('because it stalls in the middle', async () => {
    stream(['a', 'b', { stall: true }]);
    const { texts, error } = await read(ask({ times: { idleMs: 60 } }));
    expect(texts).toEqual(['a', 'b']);
    expect(error).toMatchObject({ code: 'llm_timeout', message: 'the model said nothing for 60 ms' });
    await stub.waitForHangUps(1);
  });

  it('because it never comes to an end', async () => {
    const tick = () => new Promise((resolve) => setTimeout(resolve, 10));
    stream(Array.from({ length: 500 }, () => ({ until: tick })).flatMap((wait) => [wait, 'a']));
    const { texts, error } = await read(ask({ times: { answerMs: 150 } }));
    expect(texts.length).toBeGreaterThan(0);
    expect(error).toMatchObject({ code: 'llm_timeout', message: 'the model was not done within 150 ms' });
    await stub.waitForHangUps(1);
  });

  it('not because the reader is slow, nor while the provider pings', async () => {
    const tick = () => new Promise((resolve) => setTimeout(resolve, 300));
    stream([
      'a',
      'b',
      { until: tick },
      { ping: true },
      { until: tick },
      { ping: true },
      { until: tick },
      'c',
    ]);
    const texts: string[] = [];
    for await (const part of ask({ times: { idleMs: 700 } })) {
      if (part.type !== 'text') continue;
      texts.push(part.text);
      if (part.text === 'a') await new Promise((resolve) => setTimeout(resolve, 900));
    }
    expect(texts).toEqual(['a', 'b', 'c']);
  });
});

describe('whoever asks and leaves', () => {
  it('ends the call by the signal, in the middle of an answer', async () => {
    stream(['Hello', ' world', { stall: true }]);
    const leaving = new AbortController();
    const answer = ask({}, { signal: leaving.signal });
    const texts: string[] = [];
    const reading = (async () => {
      for await (const part of answer) {
        if (part.type === 'text') texts.push(part.text);
        if (texts.length === 2) leaving.abort(new Error('gone'));
      }
    })();
    await expect(reading).rejects.toThrow('gone');
    expect(texts).toEqual(['Hello', ' world']);
    await stub.waitForHangUps(1);
    // The provider has told the input; what was said is estimated.
    expect(answer.usage()).toMatchObject({ inputTokens: 100, outputTokens: 4 });
  });

  it('ends the call by the signal, before it began', async () => {
    stub.enqueue({ type: 'hang' });
    const leaving = new AbortController();
    const answer = ask({}, { signal: leaving.signal });
    const reading = read(answer);
    await stub.waitForRequests(1);
    leaving.abort(new Error('gone'));
    expect((await reading).error?.message).toBe('gone');
    await stub.waitForHangUps(1);
    expect(answer.usage()?.inputTokens).toBeGreaterThan(100); // estimated: rules, tool and question
  });

  it('asks nobody when it had left before', async () => {
    const answer = ask({}, { signal: AbortSignal.abort(new Error('gone')) });
    expect((await read(answer)).error?.message).toBe('gone');
    expect([stub.requests, answer.usage()]).toEqual([[], null]);
  });

  it('ends the call by leaving the loop', async () => {
    stream(['a', 'b', { stall: true }]);
    for await (const part of ask()) if (part.type === 'text') break;
    await stub.waitForHangUps(1);
  });
});

it('200 answers at once are each its own', async () => {
  const texts = (name: string) => Array.from({ length: 20 }, (_, index) => `${name}:${index} `);
  for (let i = 0; i < 200; i++) {
    stub.enqueue(({ messages }) => ({
      type: 'stream',
      steps: texts(messages[0]?.content ?? ''),
      chunkBytes: 64,
    }));
  }
  const chat = createAnthropicChat({ apiKey: 'test-key', model: 'claude-test-9', baseUrl: stub.url });
  const answers = await Promise.all(
    Array.from({ length: 200 }, (_, index) =>
      read(
        chat.answer(
          { messages: [{ role: 'user', content: `q${index}` }] },
          { signal: new AbortController().signal },
        ),
      ),
    ),
  );
  answers.forEach((answer, index) => {
    expect(answer.error).toBeUndefined();
    expect(answer.texts).toEqual(texts(`q${index}`));
  });
});

describe('the mock', () => {
  const mock = (content: string, more: Partial<ChatRequest> = {}) =>
    read(createMockChat().answer({ messages: [{ role: 'user', content }], ...more }, { signal: never }));

  it('says what it is in its first words, in several pieces', async () => {
    const { parts, texts } = await mock('How  are\u0000 you?');
    expect(texts.length).toBeGreaterThan(5);
    expect(texts.join('')).toBe(
      '[mock model] No language model is configured here (ANTHROPIC_API_KEY is not set). You wrote: "How are\uFFFD you?"',
    );
    expect(parts.at(-1)).toEqual({
      type: 'end',
      model: 'mock',
      mock: true,
      inputTokens: 3,
      outputTokens: texts.length,
      stop: 'complete',
    });
  });

  it('suggests a task when it is asked to, and may', async () => {
    const wish = 'Please create a task to count the files in /tmp';
    const task = { title: null, goal: 'count the files in /tmp', agentId: null, tags: [] };
    expect((await mock(wish)).parts).toContainEqual({ type: 'tool', name: 'propose_task', input: task });
    expect((await mock(wish, { mayProposeTasks: false })).parts.map(({ type }) => type)).not.toContain(
      'tool',
    );
  });

  it('stops when whoever asked has left', async () => {
    const leaving = new AbortController();
    const answer = createMockChat().answer(question, { signal: leaving.signal });
    const reading = (async () => {
      for await (const _part of answer) leaving.abort(new Error('gone'));
    })();
    await expect(reading).rejects.toThrow('gone');
  });
});
