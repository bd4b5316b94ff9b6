import {
  type AliceConversation,
  type AliceMessage,
  aliceListConversationsRoute,
  aliceListMessagesRoute,
  aliceSendMessageRoute,
} from '../../../contracts/families/alice/chat.ts';
import { askQuestion } from '../../../domain/conversations/ask.ts';
import type { ConversationDeps } from '../../../domain/conversations/deps.ts';
import {
  countOwnConversations,
  listOwnConversations,
  listOwnMessages,
} from '../../../domain/conversations/read.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { streamAnswer } from './answer-stream.ts';

/** `/api/v1/chat` as alice's clients know it. */
export function aliceChatRoutes(deps: ConversationDeps): MountedRoute[] {
  return [
    mount(aliceSendMessageRoute, async (request) => {
      const { content, conversation_id } = request.body;
      const saying = { content, conversationId: conversation_id ?? undefined };
      const question = await askQuestion(deps, request, saying, request);
      return {
        status: 200,
        stream: (stream, viewer) => streamAnswer(deps, { request, viewer, question }, stream),
      };
    }),
    mount(aliceListConversationsRoute, async (request) => {
      const { items, nextCursor } = await listOwnConversations(deps, request, request.query);
      const conversations = items.map(presentConversation);
      const total = await countOwnConversations(deps, request);
      return {
        status: 200,
        body: {
          conversations,
          total,
          page: 1,
          page_size: request.query.limit,
          items: conversations,
          next_cursor: nextCursor,
          has_more: nextCursor !== null,
          total_count: total,
        },
      };
    }),
    mount(aliceListMessagesRoute, async (request) => {
      const { conversationId } = request.params;
      const { items, nextCursor } = await listOwnMessages(deps, request, conversationId, request.query);
      return {
        status: 200,
        // The body is a bare list.
        headers: nextCursor === null ? {} : nextPage(conversationId, request.query.limit, nextCursor),
        body: items.map(presentMessage),
      };
    }),
  ];
}

function nextPage(conversationId: string, limit: number, cursor: string): Record<string, string> {
  const path = aliceListMessagesRoute.path.replace('{conversationId}', conversationId);
  const query = new URLSearchParams({ limit: String(limit), cursor });
  return { 'X-Next-Cursor': cursor, Link: `<${path}?${query}>; rel="next"` };
}

type Row<List extends (...given: never[]) => Promise<{ items: unknown[] }>> = Awaited<
  ReturnType<List>
>['items'][number];

const presentConversation = (row: Row<typeof listOwnConversations>): AliceConversation => ({
  id: row.id,
  user_id: row.userId,
  title: row.title,
  created_at: row.createdAt.toISOString(),
  updated_at: row.updatedAt.toISOString(),
});

const presentMessage = (row: Row<typeof listOwnMessages>): AliceMessage => ({
  id: row.id,
  conversation_id: row.conversationId,
  role: row.role,
  content: row.content,
  created_at: row.createdAt.toISOString(),
});
