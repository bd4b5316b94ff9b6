import {
  type ConversationView,
  deleteConversationRoute,
  listConversationsRoute,
  listMessagesRoute,
  type MessageView,
} from '../../../contracts/conversations.ts';
import {
  deleteOwnConversation,
  listOwnConversations,
  listOwnMessages,
} from '../../../domain/conversations/read.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/conversations`: the conversations of whoever asks. */
export function conversationRoutes(deps: DomainDeps): MountedRoute[] {
  return [
    mount(listConversationsRoute, async (request) => {
      const { items, nextCursor } = await listOwnConversations(deps, request, request.query);
      return { status: 200, body: { items: items.map(presentConversation), nextCursor } };
    }),
    mount(listMessagesRoute, async (request) => {
      const { conversationId } = request.params;
      const { items, nextCursor } = await listOwnMessages(deps, request, conversationId, request.query);
      return { status: 200, body: { items: items.map(presentMessage), nextCursor } };
    }),
    mount(deleteConversationRoute, async (request) => {
      await deleteOwnConversation(deps, request, request.params.conversationId);
      return { status: 204 };
    }),
  ];
}

type Row<List extends (...given: never[]) => Promise<{ items: unknown[] }>> = Awaited<
  ReturnType<List>
>['items'][number];

const presentConversation = (row: Row<typeof listOwnConversations>): ConversationView => ({
  id: row.id,
  title: row.title,
  createdAt: row.createdAt.toISOString(),
  updatedAt: row.updatedAt.toISOString(),
});

const presentMessage = (row: Row<typeof listOwnMessages>): MessageView => ({
  id: row.id,
  conversationId: row.conversationId,
  role: row.role,
  content: row.content,
  status: row.status,
  taskId: row.taskId,
  model: row.model,
  mock: row.mock,
  usage:
    row.inputTokens === null || row.outputTokens === null
      ? null
      : { inputTokens: row.inputTokens, outputTokens: row.outputTokens },
  createdAt: row.createdAt.toISOString(),
});
