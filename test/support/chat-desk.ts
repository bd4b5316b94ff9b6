/** A person at alice's chat, for tests: says things, looks at lists and at the rows behind them. */
import { expect } from 'vitest';
import { type ChatClient, openChat } from './chat.ts';
import type { FamilyAnswer, FamilyAuth } from './family-auth.ts';

export const chatPath = '/api/v1/chat';
export const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);

export interface ChatDesk {
  idOf(token: string): Promise<string>;
  open(body: unknown, as?: string, headers?: Record<string, string>): Promise<ChatClient>;
  /** Say something and read the whole answer. */
  say(content: string, conversationId?: string, as?: string): Promise<ChatClient & { id: string }>;
  list(query?: string, as?: string): Promise<FamilyAnswer>;
  messages(id: string, query?: string, as?: string): Promise<FamilyAnswer>;
  // biome-ignore lint/suspicious/noExplicitAny: rows as the database has them, looked at by the tests.
  rows(conversationId: string): Promise<any[]>;
}

/** @param now who asks where nobody is named; read at each call */
export function chatDeskOf(now: () => { auth: FamilyAuth; token: string }): ChatDesk {
  const get = (path: string, as = now().token) =>
    now().auth.ask('GET', `${chatPath}/conversations${path}`, { token: as });
  const desk: ChatDesk = {
    idOf: async (token) => (await now().auth.ask('GET', '/v1/auth/me', { token })).body.id,
    open: (body, as = now().token, headers = {}) => openChat(now().auth.server.url(), as, body, headers),
    async say(content, conversationId, as) {
      const client = await desk.open({ content, conversation_id: conversationId }, as);
      await client.ended;
      return { ...client, id: client.frames()[0]?.data.conversation_id };
    },
    list: (query = '', as) => get(query, as),
    messages: (id, query = '', as) => get(`/${id}/messages${query}`, as),
    rows: (conversationId) =>
      now().auth.stack.db('messages').where({ conversation_id: conversationId }).orderBy('created_at'),
  };
  return desk;
}

export const refusal = (path: string, code: string, detail: unknown) => ({
  detail,
  code,
  timestamp: time,
  path: `${chatPath}${path}`,
});
