/** `/api/v1/chat` as alice's clients know it. */
import { z } from 'zod';
import { conversationIdSchema, MAX_MESSAGE_LENGTH, messageRoles } from '../../conversations.ts';
import { defineRoute, events, json } from '../../route.ts';
import { timeSchema } from '../../shared.ts';

/** Default pages, and the largest of either list. */
const DEFAULT_CONVERSATIONS = 20;
const DEFAULT_MESSAGES = 50;
const MAX_PAGE = 100;

const shared = { family: 'alice', tags: ['alice chat'], auth: 'user', resource: 'conversation' } as const;

/** Length in characters, as alice counts it, not in UTF-16 units. */
const contentSchema = z
  .string()
  .min(1)
  .superRefine((text, context) => {
    // No character has more than two units: most texts need no counting.
    if (text.length > MAX_MESSAGE_LENGTH && [...text].length > MAX_MESSAGE_LENGTH) {
      context.addIssue({
        code: 'too_big',
        origin: 'string',
        maximum: MAX_MESSAGE_LENGTH,
        inclusive: true,
        input: text,
      });
    }
    if (text !== '' && text.trim() === '')
      context.addIssue({ code: 'custom', message: 'Message is blank', input: text });
  })
  .meta({ minLength: 1, maxLength: MAX_MESSAGE_LENGTH });

/** Data of the events `conversation`, `token`, `done` and `error`. */
const conversationFrame = z.object({ conversation_id: z.uuid(), is_new: z.boolean() });
const tokenFrame = z.object({ content: z.string(), index: z.int() });
const doneFrame = z.object({ message_id: z.uuid(), conversation_id: z.uuid(), total_tokens: z.int() });
const errorFrame = z.object({ detail: z.string(), code: z.string() });

/** An event of the answer, with its data. */
export type AliceChatFrame =
  | { event: 'conversation'; data: z.infer<typeof conversationFrame> }
  | { event: 'token'; data: z.infer<typeof tokenFrame> }
  | { event: 'done'; data: z.infer<typeof doneFrame> }
  | { event: 'error'; data: z.infer<typeof errorFrame> };

export const aliceSendMessageRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/api/v1/chat/message',
  summary: 'Say something and stream the answer',
  takesIdempotencyKey: true,
  description:
    'Server-sent events: `conversation` once, `token` for each piece of the answer (`index` from 0), then `done` or, when ' +
    'it breaks, `error`; nothing after either. Without `conversation_id` a conversation begins. Whoever closes the ' +
    'connection ends the answer; what had been said is kept. The assistant runs nothing: it may propose a task, which ' +
    'is created in `supervised` mode as yours, and names its id. With an `Idempotency-Key` that was used, the stored ' +
    'answer is streamed again.',
  rateClass: 'chat',
  verb: 'create',
  body: z.strictObject({ content: contentSchema, conversation_id: conversationIdSchema.nullish() }),
  replies: { 200: events(z.union([conversationFrame, tokenFrame, doneFrame, errorFrame])) },
  errors: ['conversation_not_found', 'conflict', 'idempotency_conflict'],
});

export const aliceConversationSchema = z
  .object({
    id: z.uuid(),
    user_id: z.uuid(),
    title: z.string(),
    created_at: timeSchema,
    updated_at: timeSchema,
  })
  .meta({ id: 'AliceConversation' });
export type AliceConversation = z.infer<typeof aliceConversationSchema>;

export const aliceMessageSchema = z
  .object({
    id: z.uuid(),
    conversation_id: z.uuid(),
    role: z.enum(messageRoles),
    content: z.string(),
    created_at: timeSchema,
  })
  .meta({ id: 'AliceMessage' });
export type AliceMessage = z.infer<typeof aliceMessageSchema>;

const pageQuery = (limit: number) =>
  z.strictObject({
    limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(limit),
    cursor: z
      .string()
      .max(512)
      .optional()
      .meta({ description: 'Of the page before, or the id of its last item' }),
  });

export const aliceListConversationsRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/chat/conversations',
  summary: 'List your conversations, latest talk first',
  rateClass: 'chat_reading',
  verb: 'list',
  query: pageQuery(DEFAULT_CONVERSATIONS),
  replies: {
    200: z
      .object({
        conversations: z.array(aliceConversationSchema),
        total: z.int(),
        page: z.literal(1),
        page_size: z.int().meta({ description: 'The limit that was asked for' }),
        items: z.array(aliceConversationSchema).meta({ description: 'As `conversations`' }),
        next_cursor: z.string().nullable(),
        has_more: z.boolean(),
        total_count: z.int().meta({ description: 'As `total`' }),
      })
      .meta({ id: 'AliceConversations' }),
  },
  errors: ['invalid_cursor'],
});

export const aliceListMessagesRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/api/v1/chat/conversations/{conversationId}/messages',
  summary: 'Read what was said, oldest first',
  rateClass: 'chat_reading',
  verb: 'read',
  params: z.object({ conversationId: conversationIdSchema }),
  query: pageQuery(DEFAULT_MESSAGES),
  replies: {
    200: json(z.array(aliceMessageSchema), {
      headers: {
        'X-Next-Cursor': 'Cursor of the next page; absent on the last',
        Link: 'The next page, `rel="next"` (RFC 8288); absent on the last',
      },
    }),
  },
  errors: ['conversation_not_found', 'invalid_cursor'],
});
