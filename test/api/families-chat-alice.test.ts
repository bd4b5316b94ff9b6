/** `POST /api/v1/chat/message`: frames byte by byte, what is stored of an answer, proposed tasks, repetitions. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { problem } from '../../contracts/errors.ts';
import { chatEnd, createGate, createScriptedChat, type ScriptedChat } from '../support/chat.ts';
import { chatDeskOf, chatPath, refusal, time } from '../support/chat-desk.ts';
import { type FamilyAuth, startFamilyAuth } from '../support/family-auth.ts';
import { readAudit } from '../support/identity.ts';

let auth: FamilyAuth;
let chat: ScriptedChat;
let token: string;
let userId: string;
beforeAll(async () => {
  chat = createScriptedChat();
  auth = await startFamilyAuth({ chat: () => chat });
});
afterAll(() => auth.close());
beforeEach(async () => {
  chat.drop();
  token = await auth.tokenOf(await auth.addUser());
  userId = await idOf(token);
});

const { idOf, open, say, list, messages, rows } = chatDeskOf(() => ({ auth, token }));

describe('POST message', () => {
  it('answers frame by frame, byte by byte', async () => {
    chat.next(['Hel', 'lo  wörld', '\n"quoted" 🙂', chatEnd({ inputTokens: 120, outputTokens: 30 })]);
    const client = await open({ content: 'Hello ALICE!' });
    expect(client.status).toBe(200);
    expect(client.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
    });
    expect(client.headers['content-encoding']).toBeUndefined();
    await client.ended;
    const conversation = client.frames()[0]?.data.conversation_id;
    const stored = await rows(conversation);
    expect(client.text()).toBe(
      `event: conversation\ndata: {"conversation_id":"${conversation}","is_new":true}\n\n` +
        'event: token\ndata: {"content":"Hel","index":0}\n\n' +
        'event: token\ndata: {"content":"lo  wörld","index":1}\n\n' +
        'event: token\ndata: {"content":"\\n\\"quoted\\" 🙂","index":2}\n\n' +
        `event: done\ndata: {"message_id":"${stored[1].id}","conversation_id":"${conversation}","total_tokens":150}\n\n`,
    );
    expect(stored).toHaveLength(2);
    expect(stored).toMatchObject([
      { role: 'user', content: 'Hello ALICE!', status: 'completed', answers_id: null },
      {
        role: 'assistant',
        content: 'Hello  wörld\n"quoted" 🙂',
        status: 'completed',
        answers_id: stored[0].id,
        model: 'scripted',
        mock: true,
        input_tokens: 120,
        output_tokens: 30,
        task_id: null,
      },
    ]);
  });

  it('sends each token as it comes', async () => {
    const gate = createGate();
    chat.next(['first', gate.promise, 'second', chatEnd()]);
    const client = await open({ content: 'slowly' });
    await client.until(() => client.said() === 'first');
    gate.open();
    await client.ended;
    expect(client.said()).toBe('firstsecond');
  });

  it('goes on with a conversation: the model sees what was said', async () => {
    const first = await say('What is a pipe?');
    chat.next(['It joins programs.', chatEnd()]);
    const second = await say('And a fifo?', first.id);
    expect(second.frames()[0]?.data).toEqual({ conversation_id: first.id, is_new: false });
    expect(chat.asked.at(-1)).toMatchObject({ principalId: userId, mayProposeTasks: true });
    expect(chat.asked.at(-1)?.messages).toEqual([
      { role: 'user', content: 'What is a pipe?' },
      { role: 'assistant', content: 'Hello' },
      { role: 'user', content: 'And a fifo?' },
    ]);
    expect((await messages(first.id)).body.map(({ content }: { content: string }) => content)).toEqual([
      'What is a pipe?',
      'Hello',
      'And a fifo?',
      'It joins programs.',
    ]);
  });

  it('takes its own conversation only, and says so before a stream starts', async () => {
    const other = await auth.tokenOf(await auth.addUser());
    const foreign = await say('mine', undefined, other);
    for (const conversation_id of [randomUUID(), foreign.id, '00000000-0000-0000-0000-000000000001']) {
      const { status, body, headers } = await auth.ask('POST', `${chatPath}/message`, {
        token,
        json: { content: 'x', conversation_id },
      });
      expect([status, body]).toEqual([
        404,
        refusal('/message', 'CONVERSATION_NOT_FOUND', 'Conversation not found'),
      ]);
      expect(headers.get('content-type')).toContain('application/json');
    }
    expect(await rows(foreign.id)).toHaveLength(2);
    // An administrator reads nobody's conversations either.
    const admin = await auth.adminToken();
    expect((await messages(foreign.id, '', admin)).status).toBe(404);
    expect((await list('', admin)).body.items).toEqual([]);
  });

  it.each([
    ['no content', {}, ['content'], 'missing'],
    ['an empty one', { content: '' }, ['content'], 'string_too_short'],
    ['10,001 letters', { content: 'x'.repeat(10_001) }, ['content'], 'string_too_long'],
    ['10,001 pictures', { content: '🙂'.repeat(10_001) }, ['content'], 'string_too_long'],
    ['blanks', { content: ' \n ' }, ['content'], 'value_error'],
    ['a number', { content: 7 }, ['content'], 'string_type'],
    ['no id', { content: 'x', conversation_id: 'no-uuid' }, ['conversation_id'], 'uuid_parsing'],
    ['a role', { content: 'x', role: 'system' }, ['role'], 'extra_forbidden'],
  ])('finds %s invalid', async (_what, json, path, type) => {
    const { status, body } = await auth.ask('POST', `${chatPath}/message`, { token, json });
    expect([status, body]).toEqual([
      422,
      refusal('/message', 'VALIDATION_ERROR', [{ loc: ['body', ...path], msg: expect.any(String), type }]),
    ]);
  });

  it('takes 10,000 characters, whatever they are', async () => {
    const content = '🙂'.repeat(10_000);
    expect((await say(content)).frames().at(-1)?.event).toBe('done');
    const { body } = await list();
    expect(body.items[0].title).toBe('🙂'.repeat(60));
  });

  it('takes null for no conversation', async () => {
    const client = await open({ content: 'x', conversation_id: null });
    await client.ended;
    expect(client.frames()[0]?.data.is_new).toBe(true);
  });
});

describe('titles', () => {
  it.each([
    ['Hello ALICE!', 'Hello ALICE!'],
    ['  two\n lines\t here ', 'two lines here'],
    [`${'a'.repeat(59)} tail`, 'a'.repeat(59)],
    ['b'.repeat(80), 'b'.repeat(60)],
  ])('of %j is %j, for good', async (content, title) => {
    const { id } = await say(content);
    await say('something else', id);
    expect((await list()).body.items).toEqual([
      { id, user_id: userId, title, created_at: time, updated_at: time },
    ]);
  });
});

describe('an answer that ends early', () => {
  it('is kept and marked when the client goes, and the model call is ended', async () => {
    const before = chat.aborted();
    chat.next(['some ', 'words', new Promise(() => undefined)]);
    const client = await open({ content: 'a long story' });
    await client.until(() => client.said() === 'some words');
    client.leave();
    const id = client.frames()[0]?.data.conversation_id;
    await vi.waitFor(async () => expect(await rows(id)).toHaveLength(2), { timeout: 5_000 });
    expect(chat.aborted()).toBe(before + 1);
    expect((await rows(id))[1]).toMatchObject({
      content: 'some words',
      status: 'interrupted',
      input_tokens: null,
      output_tokens: null,
    });
    // It is part of the conversation from then on.
    await say('go on', id);
    expect(chat.asked.at(-1)?.messages.map(({ content }) => content)).toEqual([
      'a long story',
      'some words',
      'go on',
    ]);
  });

  it('is not stored when nothing was said', async () => {
    chat.next([new Promise(() => undefined)]);
    const before = chat.aborted();
    const client = await open({ content: 'quiet' });
    await client.until(() => client.frames().length === 1);
    // Whoever leaves before the model is asked ends no call.
    await vi.waitFor(() => expect(chat.asked.at(-1)?.messages.at(-1)?.content).toBe('quiet'), {
      timeout: 5_000,
    });
    client.leave();
    await vi.waitFor(() => expect(chat.aborted()).toBe(before + 1), { timeout: 5_000 });
    expect(await rows(client.frames()[0]?.data.conversation_id)).toHaveLength(1);
  });

  it('is kept and marked when the model fails, and an error is the last frame', async () => {
    chat.next(['one ', 'two ', 'three', problem('answer_broken_off')]);
    const client = await say('count');
    expect(client.frames().map(({ event }) => event)).toEqual([
      'conversation',
      'token',
      'token',
      'token',
      'error',
    ]);
    expect(client.frames().at(-1)?.data).toEqual({ detail: expect.any(String), code: 'STREAM_ERROR' });
    expect((await rows(client.id))[1]).toMatchObject({ content: 'one two three', status: 'failed' });
  });

  it.each([
    [problem('model_unavailable'), 'AI_SERVICE_UNAVAILABLE', 'AI service is not available'],
    [problem('budget_exceeded', { scope: 'user' }), 'BUDGET_EXCEEDED', /user budget/],
    [new Error('a secret of ours'), 'STREAM_ERROR', /^Internal server error$/],
  ])('before its first word: %s is %s', async (error, code, detail) => {
    chat.next([error]);
    const client = await say('anybody there?');
    expect(client.frames()).toEqual([
      { event: 'conversation', data: { conversation_id: client.id, is_new: true } },
      {
        event: 'error',
        data: { code, detail: typeof detail === 'string' ? detail : expect.stringMatching(detail) },
      },
    ]);
    expect(client.text()).not.toContain('secret');
    expect(await rows(client.id)).toHaveLength(1);
    // The next question goes on from there.
    expect((await say('again', client.id)).frames().at(-1)?.event).toBe('done');
  });

  it('says when it was cut off, refused, or empty', async () => {
    for (const [script, said] of [
      [
        ['much', chatEnd({ stop: 'length' })],
        'much\n\n[The answer was cut off: it reached the longest length.]',
      ],
      [[chatEnd({ stop: 'refusal' })], '[The model would not go on.]'],
      [[chatEnd()], '[The model said nothing.]'],
    ] as const) {
      chat.next([...script]);
      const client = await say('x');
      expect(client.said()).toBe(said);
      expect(client.frames().at(-1)?.event).toBe('done');
      expect((await rows(client.id))[1]).toMatchObject({ content: said, status: 'completed' });
    }
  });

  it('is nobody’s when the conversation was deleted meanwhile', async () => {
    const gate = createGate();
    chat.next(['words', gate.promise, chatEnd()]);
    const client = await open({ content: 'x' });
    await client.until(() => client.said() === 'words');
    const id = client.frames()[0]?.data.conversation_id;
    expect((await auth.ask('DELETE', `/v1/conversations/${id}`, { token })).status).toBe(204);
    gate.open();
    await client.ended;
    expect(client.frames().at(-1)).toMatchObject({ event: 'error', data: { code: 'STREAM_ERROR' } });
    expect(await rows(id)).toEqual([]);
  });
});

describe('a proposed task', () => {
  const tool = (input: object) =>
    ({
      type: 'tool',
      name: 'propose_task',
      input: { title: null, agentId: null, tags: [], goal: 'count files', ...input },
    }) as const;

  it('is created as the person’s, supervised, and named in the answer', async () => {
    chat.next(['I suggest this.', tool({ title: 'Counting', tags: ['web'] }), chatEnd()]);
    const client = await say('count the files, please');
    const [task] = await auth.stack.db('tasks').where({ creator_id: userId });
    expect(task).toMatchObject({
      kind: 'task',
      mode: 'supervised',
      title: 'Counting',
      goal: 'count files',
      target: { tags: ['web'] },
      pre_approved: [],
      state: 'created',
    });
    const note = `[Task ${task.public_id} was created: "Counting". Each of its commands waits for a decision before it runs.]`;
    expect(client.said()).toBe(`I suggest this.\n\n${note}`);
    expect((await rows(client.id))[1]).toMatchObject({ content: client.said(), task_id: task.public_id });
    expect(await readAudit(auth.stack.db, 'task.create')).toMatchObject([{ principal_id: userId }]);
    const house = await auth.ask('GET', `/v1/conversations/${client.id}/messages`, { token });
    expect(house.body.items[1]).toMatchObject({ taskId: task.public_id });
  });

  it('is not offered to who may not create any, and refused all the same', async () => {
    const viewer = await auth.tokenOf(await auth.addUser('viewer'));
    chat.next([tool({}), chatEnd()]);
    const client = await say('do it', undefined, viewer);
    expect(chat.asked.at(-1)?.mayProposeTasks).toBe(false);
    expect(client.said()).toBe('[No task was created: You may not do this.]');
    expect(await auth.stack.db('tasks').where({ creator_id: await idOf(viewer) })).toEqual([]);
  });

  it('is not created for an agent that is not there', async () => {
    chat.next([tool({ agentId: 'nobody' }), chatEnd()]);
    expect((await say('x')).said()).toBe('[No task was created: Agent nobody was not found.]');
  });
});

describe('Idempotency-Key', () => {
  it('streams the stored answer again and asks nobody', async () => {
    const headers = { 'idempotency-key': `key-${randomUUID()}` };
    chat.next(['a', 'b', chatEnd()]);
    const first = await open({ content: 'once' }, token, headers);
    await first.ended;
    const asked = chat.asked.length;
    const again = await open({ content: 'once' }, token, headers);
    await again.ended;
    expect(chat.asked).toHaveLength(asked);
    expect(again.frames()).toEqual([
      first.frames()[0],
      { event: 'token', data: { content: 'ab', index: 0 } },
      first.frames().at(-1),
    ]);
    expect(await rows(first.frames()[0]?.data.conversation_id)).toHaveLength(2);
    const other = await auth.ask('POST', `${chatPath}/message`, {
      token,
      json: { content: 'twice' },
      headers,
    });
    expect([other.status, other.body.code]).toEqual([422, 'IDEMPOTENCY_CONFLICT']);
  });

  it('has nothing to repeat while the answer is not stored', async () => {
    const headers = { 'idempotency-key': `key-${randomUUID()}` };
    const gate = createGate();
    chat.next(['a', gate.promise, chatEnd()]);
    const first = await open({ content: 'once' }, token, headers);
    await first.until(() => first.said() === 'a');
    const again = await auth.ask('POST', `${chatPath}/message`, {
      token,
      json: { content: 'once' },
      headers,
    });
    expect([again.status, again.body.code]).toEqual([409, 'CONFLICT']);
    gate.open();
    await first.ended;
    expect(await rows(first.frames()[0]?.data.conversation_id)).toHaveLength(2);
  });

  it('repeats what broke off as broken off', async () => {
    const headers = { 'idempotency-key': `key-${randomUUID()}` };
    chat.next(['half', problem('answer_broken_off')]);
    await (await open({ content: 'once' }, token, headers)).ended;
    const again = await open({ content: 'once' }, token, headers);
    await again.ended;
    expect(again.frames().map(({ event }) => event)).toEqual(['conversation', 'token', 'error']);
  });
});
