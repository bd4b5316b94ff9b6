/** Conversations with the assistant, as the house API speaks them. They are begun and continued by alice's `/chat`. */
import { z } from 'zod';
import { defineRoute, empty } from './route.ts';
import { pageOf, pageQuery, timeSchema } from './shared.ts';

/** Characters (code points) of a message. */
export const MAX_MESSAGE_LENGTH = 10_000;

export const messageRoles = ['user', 'assistant', 'system'] as const;

/** Any version of uuid: clients of alice name ids that others made. */
export const conversationIdSchema = z.guid();

export const conversationSchema = z
  .object({
    id: z.uuid(),
    title: z.string().meta({ description: 'The first 60 characters of the first message' }),
    createdAt: timeSchema,
    updatedAt: timeSchema.meta({ description: 'Time of the newest message' }),
  })
  .meta({ id: 'Conversation' });
export type ConversationView = z.infer<typeof conversationSchema>;

export const messageSchema = z
  .object({
    id: z.uuid(),
    conversationId: z.uuid(),
    role: z.enum(messageRoles),
    content: z.string(),
    status: z.enum(['completed', 'interrupted', 'failed']).meta({
      description:
        'Of an answer: `interrupted` when whoever asked went away or the server stopped, `failed` when the model broke off. ' +
        'The content is what had been said by then',
    }),
    taskId: z.string().nullable().meta({ description: 'The task that was proposed with the answer' }),
    model: z.string().nullable(),
    mock: z.boolean().meta({ description: 'No model was asked, the mock answered' }),
    usage: z
      .object({ inputTokens: z.int(), outputTokens: z.int() })
      .nullable()
      .meta({ description: 'Of a whole answer' }),
    createdAt: timeSchema,
  })
  .meta({ id: 'Message' });
export type MessageView = z.infer<typeof messageSchema>;

const shared = { family: 'house', tags: ['conversations'], auth: 'user', resource: 'conversation' } as const;
const params = z.object({ conversationId: conversationIdSchema });

export const listConversationsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/conversations',
  summary: 'List your conversations, latest talk first',
  rateClass: 'read',
  verb: 'list',
  query: z.strictObject(pageQuery),
  replies: { 200: pageOf(conversationSchema) },
  errors: ['invalid_cursor'],
});

export const listMessagesRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/conversations/{conversationId}/messages',
  summary: 'Read what was said, oldest first',
  rateClass: 'read',
  verb: 'read',
  params,
  query: z.strictObject(pageQuery),
  replies: { 200: pageOf(messageSchema) },
  errors: ['conversation_not_found', 'invalid_cursor'],
});

export const deleteConversationRoute = defineRoute({
  ...shared,
  method: 'DELETE',
  path: '/v1/conversations/{conversationId}',
  summary: 'Delete a conversation with all that was said in it',
  rateClass: 'write',
  verb: 'delete',
  params,
  replies: { 204: empty() },
  errors: ['conversation_not_found'],
});
