/** Say something in a conversation: the message is stored before anybody is asked for an answer. */
import { v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import {
  type ConversationRow,
  findConversation,
  insertConversation,
  touchConversation,
} from '../../db/conversations.ts';
import { findAnswer, findMessage, insertMessage, type MessageRow } from '../../db/messages.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, requestKeyOf } from '../idempotency.ts';
import { transact, type Unit } from '../transact.ts';
import { ownerFor } from './deps.ts';

/** Characters of a conversation's title, which is the start of its first message. */
export const TITLE_LENGTH = 60;

export interface Saying {
  content: string;
  /** Absent: a new conversation. */
  conversationId?: string | undefined;
}

/** A stored message that waits for its answer, or (asked again with the same Idempotency-Key) has it. */
export interface Question {
  conversationId: string;
  userId: string;
  /** The message is the first of its conversation. */
  isNew: boolean;
  messageId: string;
  at: Date;
  /** Given before; nothing is asked of the model then. */
  answer: MessageRow | null;
}

/**
 * @throws forbidden, conversation_not_found (not there, or not the actor's), idempotency_conflict, conflict (the message
 * of this Idempotency-Key has no answer yet)
 */
export async function askQuestion(
  deps: DomainDeps,
  actor: Actor,
  saying: Saying,
  { idempotencyKey }: { idempotencyKey: string | null },
): Promise<Question> {
  const userId = ownerFor(actor, 'create');
  const { content, conversationId } = saying;
  const id = uuidv7();
  return transact(deps, async (unit) => {
    const made = await claimRequest(
      unit.trx,
      { id: userId },
      requestKeyOf({ idempotencyKey }, { chat: { content, conversationId: conversationId ?? null } }),
      'message',
      id,
    );
    if (made !== undefined) return findEarlier(unit, userId, made);
    const conversation = await openConversation(unit, actor, { ...saying, userId });
    await insertMessage(unit.trx, {
      ...blank,
      id,
      conversationId: conversation.id,
      content,
      createdAt: conversation.updatedAt,
    });
    return toQuestion(conversation, { id, createdAt: conversation.updatedAt }, null);
  });
}

async function openConversation(
  unit: Unit,
  actor: Actor,
  { content, conversationId, userId }: Saying & { userId: string },
): Promise<ConversationRow> {
  if (conversationId !== undefined) {
    const known = await touchConversation(unit.trx, { id: conversationId, userId });
    if (known === undefined) throw problem('conversation_not_found', { conversationId });
    return known;
  }
  const made = await insertConversation(unit.trx, { id: uuidv7(), userId, title: titleOf(content) });
  unit.audit(actor, { action: 'conversation.create', targetKind: 'conversation', targetId: made.id });
  return made;
}

/** What the key stands for was said before, and is not said again. */
async function findEarlier(unit: Unit, userId: string, messageId: string): Promise<Question> {
  const message = await findMessage(unit.trx, messageId);
  const conversation = message && (await findConversation(unit.trx, { id: message.conversationId, userId }));
  if (message === undefined || conversation === undefined) {
    throw problem('conflict', { reason: 'the conversation of this Idempotency-Key was deleted' });
  }
  const answer = await findAnswer(unit.trx, messageId);
  if (answer === undefined) {
    const reason = 'the message of this Idempotency-Key has no answer yet; read it in the conversation';
    throw problem('conflict', { reason });
  }
  return toQuestion(conversation, message, answer);
}

const toQuestion = (
  conversation: ConversationRow,
  message: Pick<MessageRow, 'id' | 'createdAt'>,
  answer: MessageRow | null,
): Question => ({
  conversationId: conversation.id,
  userId: conversation.userId,
  isNew: message.createdAt.getTime() === conversation.createdAt.getTime(),
  messageId: message.id,
  at: message.createdAt,
  answer,
});

/** What a message of a person has nothing of. */
const blank = {
  role: 'user',
  status: 'completed',
  answersId: null,
  model: null,
  mock: false,
  inputTokens: null,
  outputTokens: null,
  taskId: null,
} as const;

/** The start of the message on one line, by whole characters. */
export function titleOf(content: string): string {
  const line = content.replace(/\s+/g, ' ').trim();
  return [...line].slice(0, TITLE_LENGTH).join('').trimEnd();
}
