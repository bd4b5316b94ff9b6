/**
 * Have a question answered. The answer goes out as it comes in, and is stored once, when it has ended:
 *
 *  A. What is stored is what was given out, character by character.
 *  B. An answer that ended early is stored as far as it came, and says so; of one that never began nothing is stored.
 *  C. A question has at most one answer (a unique column): nobody stores a second one.
 */
import { v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import { touchConversation } from '../../db/conversations.ts';
import { insertMessage, listSaid, type MessageRow, type MessageStatus } from '../../db/messages.ts';
import { type ChatPart, MAX_WINDOW_MESSAGES } from '../../llm/chat-port.ts';
import type { Actor } from '../deps.ts';
import { can } from '../policy.ts';
import { transact } from '../transact.ts';
import type { Question } from './ask.ts';
import type { ConversationDeps } from './deps.ts';
import { proposeTask } from './propose-task.ts';

/** Characters that are loaded of these messages; what the model sees of them is cut by tokens. */
const MAX_LOADED_CHARS = 500_000;

export interface AnswerOptions {
  /** Aborted when whoever asked has gone: the model's call ends at once. */
  signal: AbortSignal;
  /** Each piece as it comes, never empty. */
  onText(text: string): void;
}

export type AnswerEnd =
  | { kind: 'completed'; message: MessageRow }
  /** By the signal. */
  | { kind: 'interrupted'; message: MessageRow | null }
  | { kind: 'failed'; message: MessageRow | null; error: unknown };

/**
 * @param actor asked at the moment of each act: whoever holds a stream may lose rights while it is open
 * @throws when the answer cannot be stored; what went wrong with the model is in the end
 */
export async function answerQuestion(
  deps: ConversationDeps,
  actor: () => Actor,
  question: Question,
  { signal, onText }: AnswerOptions,
): Promise<AnswerEnd> {
  const said: string[] = [];
  const say = (text: string): void => {
    said.push(text);
    onText(text);
  };
  let taskId: string | null = null;
  let end: Extract<ChatPart, { type: 'end' }> | undefined;
  let failure: { error: unknown } | undefined;

  try {
    for await (const part of ask(deps, actor(), question, signal)) {
      if (part.type === 'text') say(part.text);
      else if (part.type === 'end') end = part;
      else if (part.type === 'tool') {
        const proposed = await proposeTask(deps, actor(), part.input);
        taskId = proposed.taskId;
        say(said.length === 0 ? proposed.note : `\n\n${proposed.note}`);
      }
    }
    if (end === undefined) throw new Error('the model stopped without an end');
    const note = closingNote(end.stop, said.length > 0);
    if (note !== null) say(note);
  } catch (error) {
    failure = { error };
  }

  const status = statusOf(failure !== undefined, signal);
  const message = await storeAnswer(deps, question, {
    content: said.join(''),
    status,
    model: end?.model ?? null,
    mock: end?.mock ?? false,
    inputTokens: end?.inputTokens ?? null,
    outputTokens: end?.outputTokens ?? null,
    taskId,
  });
  if (failure !== undefined && status === 'failed') return { kind: 'failed', message, error: failure.error };
  if (failure !== undefined) return { kind: 'interrupted', message };
  if (message !== null) return { kind: 'completed', message };
  const { conversationId } = question;
  return { kind: 'failed', message, error: problem('conversation_not_found', { conversationId }) };
}

async function* ask(
  { db, chat }: ConversationDeps,
  { principal }: Actor,
  { conversationId, at, messageId }: Question,
  signal: AbortSignal,
): AsyncGenerator<ChatPart> {
  const bounds = { limit: MAX_WINDOW_MESSAGES, maxChars: MAX_LOADED_CHARS };
  const messages = await listSaid(db, { conversationId, at, id: messageId }, bounds);
  signal.throwIfAborted();
  const mayProposeTasks = can(principal, 'create', 'task');
  yield* chat.stream({ messages, mayProposeTasks, principalId: principal.id, signal });
}

const statusOf = (hasFailed: boolean, signal: AbortSignal): MessageStatus => {
  if (!hasFailed) return 'completed';
  return signal.aborted ? 'interrupted' : 'failed';
};

/** What the person would not see otherwise; null where the answer speaks for itself. */
function closingNote(stop: Extract<ChatPart, { type: 'end' }>['stop'], hasText: boolean): string | null {
  const gap = hasText ? '\n\n' : '';
  if (stop === 'length') return `${gap}[The answer was cut off: it reached the longest length.]`;
  if (stop === 'refusal') return `${gap}[The model would not go on.]`;
  return hasText ? null : '[The model said nothing.]';
}

/** Null: there is nothing to store (B), or the conversation was deleted meanwhile. */
async function storeAnswer(
  deps: ConversationDeps,
  { conversationId, userId, messageId }: Question,
  answer: Omit<MessageRow, 'id' | 'conversationId' | 'role' | 'answersId' | 'createdAt'>,
): Promise<MessageRow | null> {
  if (answer.content === '') return null;
  return transact(deps, async (unit) => {
    const conversation = await touchConversation(unit.trx, { id: conversationId, userId });
    if (conversation === undefined) return null;
    return insertMessage(unit.trx, {
      ...answer,
      id: uuidv7(),
      conversationId,
      role: 'assistant',
      answersId: messageId,
      createdAt: conversation.updatedAt,
    });
  });
}
