/** Lists of alice's chat with their cursors, whose conversations they are, and the limits. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encodeCursor } from '../../domain/cursor.ts';
import { createScriptedChat, type ScriptedChat } from '../support/chat.ts';
import { chatDeskOf, chatPath, refusal, time } from '../support/chat-desk.ts';
import { type FamilyAuth, startFamilyAuth } from '../support/family-auth.ts';
import { sharedAgentToken } from '../support/identity.ts';

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

const { idOf, say, list, messages, rows } = chatDeskOf(() => ({ auth, token }));
const uuid = expect.stringMatching(/^[0-9a-f-]{36}$/);

describe('GET conversations', () => {
  it('answers the keys of both descriptions', async () => {
    expect((await list()).body).toEqual({
      conversations: [],
      total: 0,
      page: 1,
      page_size: 20,
      items: [],
      next_cursor: null,
      has_more: false,
      total_count: 0,
    });
    const older = await say('older');
    const newer = await say('newer');
    const { status, body } = await list('?limit=1');
    expect(status).toBe(200);
    expect(body).toEqual({
      conversations: [{ id: newer.id, user_id: userId, title: 'newer', created_at: time, updated_at: time }],
      total: 2,
      page: 1,
      page_size: 1,
      items: body.conversations,
      next_cursor: expect.any(String),
      has_more: true,
      total_count: 2,
    });
    // Talk moves a conversation to the top.
    await say('more', older.id);
    expect((await list()).body.items.map(({ id }: { id: string }) => id)).toEqual([older.id, newer.id]);
  });

  it('pages without a gap or a repeat, by cursor and by bare id, while others come in', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.unshift((await say(`talk ${i}`)).id);
    // Equal times: the id decides.
    await auth.stack
      .db('conversations')
      .whereIn('id', ids.slice(1, 4))
      .update({ updated_at: '2026-01-01T00:00:00Z' });
    await auth.stack.db('conversations').where({ id: ids[4] }).update({ updated_at: '2025-01-01T00:00:00Z' });
    const expected = [ids[0], ...ids.slice(1, 4).sort().reverse(), ids[4]];

    for (const next of [
      (body: { next_cursor: string }) => body.next_cursor,
      (body: { items: { id: string }[] }) => body.items.at(-1)?.id ?? '',
    ]) {
      const seen: string[] = [];
      let query = '?limit=2';
      for (;;) {
        const { status, body } = await list(query);
        expect(status).toBe(200);
        seen.push(...body.items.map(({ id }: { id: string }) => id));
        if (!body.has_more) break;
        query = `?limit=2&cursor=${next(body)}`;
        const fresh = await say('in between');
        await auth.ask('DELETE', `/v1/conversations/${fresh.id}`, { token });
        await say('in between as well');
      }
      expect(seen.filter((id) => ids.includes(id))).toEqual(expected);
      expect(new Set(seen).size).toBe(seen.length);
      const later = await auth.stack.db('conversations').where({ user_id: userId }).whereNotIn('id', ids);
      await auth.stack
        .db('conversations')
        .whereIn(
          'id',
          later.map(({ id }: { id: string }) => id),
        )
        .delete();
    }
  });

  it('goes on where a page ended whose last conversation was deleted since', async () => {
    const other = await auth.tokenOf(await auth.addUser());
    const ids: string[] = [];
    for (let i = 0; i < 4; i++) ids.unshift((await say(`talk ${i}`, undefined, other)).id);
    const page = (await list('?limit=2', other)).body;
    await auth.ask('DELETE', `/v1/conversations/${ids[1]}`, { token: other });
    const rest = await list(`?cursor=${page.next_cursor}`, other);
    expect([rest.status, rest.body.items.map(({ id }: { id: string }) => id)]).toEqual([200, ids.slice(2)]);
    expect((await list(`?cursor=${ids[1]}`, other)).status).toBe(422);
  });

  it('refuses cursors that are malformed, unknown or another’s, and other pages than 1 to 100', async () => {
    await say('mine');
    const other = await auth.tokenOf(await auth.addUser());
    const first = await say('theirs', undefined, other);
    await say('theirs too', undefined, other);
    const theirs = (await list('?limit=1', other)).body.next_cursor;
    const cursors = ['nonsense', '', randomUUID(), first.id, theirs, encodeCursor(new Date(), first.id)];
    for (const cursor of [...cursors, encodeCursor(new Date(), 'x'), 'W10']) {
      const { status, body } = await list(`?cursor=${cursor}`);
      expect([cursor, status, body]).toEqual([
        cursor,
        422,
        refusal('/conversations', 'VALIDATION_ERROR', 'The cursor is not one this server has given out'),
      ]);
    }
    for (const query of ['?limit=0', '?limit=101', '?limit=x', '?offset=3']) {
      expect([query, (await list(query)).status]).toEqual([query, 422]);
    }
    expect((await list('?limit=100')).status).toBe(200);
  });
});

describe('GET messages', () => {
  it('is a bare list, oldest first, its next page named by headers', async () => {
    const { id } = await say('one');
    await say('two', id);
    const first = await messages(id, '?limit=3');
    expect([first.status, first.body]).toEqual([
      200,
      ['one', 'Hello', 'two'].map((content, at) => ({
        id: uuid,
        conversation_id: id,
        role: at === 1 ? 'assistant' : 'user',
        content,
        created_at: time,
      })),
    ]);
    const cursor = first.headers.get('X-Next-Cursor');
    expect(first.headers.get('Link')).toBe(
      `<${chatPath}/conversations/${id}/messages?limit=3&cursor=${cursor}>; rel="next"`,
    );
    for (const next of [cursor, first.body[2].id]) {
      const rest = await messages(id, `?cursor=${next}`);
      expect(rest.body.map(({ content }: { content: string }) => content)).toEqual(['Hello']);
      expect([rest.headers.get('X-Next-Cursor'), rest.headers.get('Link')]).toEqual([null, null]);
    }
  });

  it('is only of one’s own, and cursors only of this conversation', async () => {
    const mine = await say('mine');
    const another = await say('mine too');
    const theirs = await say('theirs', undefined, await auth.tokenOf(await auth.addUser()));
    for (const id of [theirs.id, randomUUID()]) {
      const { status, body } = await messages(id);
      expect([status, body]).toEqual([
        404,
        refusal(`/conversations/${id}/messages`, 'CONVERSATION_NOT_FOUND', 'Conversation not found'),
      ]);
    }
    expect((await messages('no-uuid')).status).toBe(422);
    const [elsewhere] = (await messages(another.id)).body;
    for (const cursor of ['x', randomUUID(), mine.id, elsewhere.id]) {
      expect((await messages(mine.id, `?cursor=${cursor}`)).status).toBe(422);
    }
  });

  it('orders questions that were asked at once, one after the other', async () => {
    const { id } = await say('first');
    await Promise.all(Array.from({ length: 8 }, (_, i) => say(`question ${i}`, id)));
    const stored = await rows(id);
    expect(stored).toHaveLength(18);
    expect(new Set(stored.map(({ created_at }: { created_at: Date }) => created_at.getTime())).size).toBe(18);
    const answered = stored.flatMap(({ answers_id }: { answers_id: string | null }) => answers_id ?? []);
    expect(new Set(answered).size).toBe(9);
  });
});

it('strangers, machines and tokens without the scope are refused', async () => {
  for (const [method, path] of [
    ['POST', `${chatPath}/message`],
    ['GET', `${chatPath}/conversations`],
    ['GET', `${chatPath}/conversations/${randomUUID()}/messages`],
    ['DELETE', `/v1/conversations/${randomUUID()}`],
  ] as const) {
    const json = method === 'POST' ? { content: 'x' } : undefined;
    expect((await auth.ask(method, path, { json })).status).toBe(401);
    expect((await auth.ask(method, path, { json, token: 'nonsense' })).status).toBe(401);
    expect((await auth.ask(method, path, { json, token: sharedAgentToken })).status).toBe(403);
  }
});

it('beginning and deleting a conversation are on record, its words are not', async () => {
  const { id } = await say('a private matter');
  expect((await auth.ask('DELETE', `/v1/conversations/${id}`, { token })).status).toBe(204);
  expect((await auth.ask('DELETE', `/v1/conversations/${id}`, { token })).status).toBe(404);
  expect((await messages(id)).status).toBe(404);
  const trail = await auth.stack.db('audit_events').where({ target_id: id }).orderBy('id');
  expect(trail.map(({ action, principal_id }) => [action, principal_id])).toEqual([
    ['conversation.create', userId],
    ['conversation.delete', userId],
  ]);
  expect(JSON.stringify(await auth.stack.db('audit_events'))).not.toContain('private matter');
});

it('a deleted account takes its conversations along', async () => {
  const { id } = await say('x');
  const admin = await auth.adminToken();
  expect((await auth.ask('DELETE', `/v1/users/${userId}`, { token: admin })).status).toBe(204);
  expect(await rows(id)).toEqual([]);
});

it('limits are 10 and 60 a minute for each person', async () => {
  const limited = await startFamilyAuth({ chat: () => chat, server: { options: { rateLimit: true } } });
  try {
    const as = await limited.tokenOf(await limited.addUser());
    const other = await limited.tokenOf(await limited.addUser());
    for (const [method, path, limit] of [
      ['POST', 'message', 10],
      ['GET', 'conversations', 60],
    ] as const) {
      const ask = (by: string) =>
        limited.ask(method, `${chatPath}/${path}`, { token: by, json: method === 'POST' ? {} : undefined });
      for (let call = 1; call <= limit; call++) {
        const { status, headers } = await ask(as);
        expect(status).toBe(method === 'POST' ? 422 : 200);
        expect(headers.get('X-RateLimit-Remaining')).toBe(String(limit - call));
      }
      const { status, body } = await ask(as);
      expect([status, body.code]).toEqual([429, 'RATE_LIMIT_EXCEEDED']);
      expect((await ask(other)).status).not.toBe(429);
    }
  } finally {
    await limited.close();
  }
});
