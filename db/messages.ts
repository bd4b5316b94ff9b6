/** What was said in conversations. A message never changes; an answer is written once, when it has ended. */
import { type Queryable, query, queryOne } from './database.ts';

export type MessageRole = 'user' | 'assistant' | 'system';

/** `interrupted`: whoever asked has gone, or the server stopped. `failed`: the model broke off. */
export type MessageStatus = 'completed' | 'interrupted' | 'failed';

export interface MessageRow {
  id: string;
  conversationId: string;
  role: MessageRole;
  content: string;
  status: MessageStatus;
  /** Of an answer: the message it answers. */
  answersId: string | null;
  model: string | null;
  mock: boolean;
  /** Null where the model has not said. */
  inputTokens: number | null;
  outputTokens: number | null;
  /** Id, as clients know it, of the task that was proposed with the answer. */
  taskId: string | null;
  createdAt: Date;
}

const columns = `id, conversation_id as "conversationId", role, content, status, answers_id as "answersId", model, mock,
  input_tokens as "inputTokens", output_tokens as "outputTokens", task_id as "taskId", created_at as "createdAt"`;

/** `createdAt` is the time that `touchConversation` gave. */
export async function insertMessage(db: Queryable, message: MessageRow): Promise<MessageRow> {
  const row = await queryOne<MessageRow>(
    db,
    `insert into messages (id, conversation_id, role, content, status, answers_id, model, mock, input_tokens,
                           output_tokens, task_id, created_at)
     values (:id, :conversation_id, :role, :content, :status, :answers_id, :model, :mock, :input_tokens,
             :output_tokens, :task_id, :created_at)
     returning ${columns}`,
    {
      id: message.id,
      conversation_id: message.conversationId,
      role: message.role,
      content: message.content,
      status: message.status,
      answers_id: message.answersId,
      model: message.model,
      mock: message.mock,
      input_tokens: message.inputTokens,
      output_tokens: message.outputTokens,
      task_id: message.taskId,
      created_at: message.createdAt,
    },
  );
  if (row === undefined) throw new Error('an insert returned no row');
  return row;
}

export function findMessage(db: Queryable, id: string): Promise<MessageRow | undefined> {
  return queryOne<MessageRow>(db, `select ${columns} from messages where id = :id`, { id });
}

export function findAnswer(db: Queryable, questionId: string): Promise<MessageRow | undefined> {
  return queryOne<MessageRow>(db, `select ${columns} from messages where answers_id = :question_id`, {
    question_id: questionId,
  });
}

/** Oldest first, keyset by (created_at, id). */
export function listMessages(
  db: Queryable,
  conversationId: string,
  page: { after: { at: Date; id: string } | undefined; limit: number },
): Promise<MessageRow[]> {
  const newer = page.after === undefined ? '' : 'and (created_at, id) > (:at, cast(:id as uuid))';
  return query<MessageRow>(
    db,
    `select ${columns} from messages where conversation_id = :conversation_id ${newer}
     order by created_at, id limit :limit`,
    {
      conversation_id: conversationId,
      limit: page.limit,
      at: page.after?.at ?? null,
      id: page.after?.id ?? null,
    },
  );
}

/** What was said up to a message, that one included. */
export interface Said {
  role: MessageRole;
  content: string;
}

/**
 * The newest of what was said up to `until`, oldest first: at most `limit` messages, and of these only as many as have
 * `maxChars` characters together. The message `until` itself is always there.
 */
export function listSaid(
  db: Queryable,
  until: { conversationId: string; at: Date; id: string },
  bounds: { limit: number; maxChars: number },
): Promise<Said[]> {
  return query<Said>(
    db,
    `select role, content from (
       select role, content, created_at, id,
              sum(length(content)) over (order by created_at desc, id desc) as chars
       from (select role, content, created_at, id from messages
             where conversation_id = :conversation_id and (created_at, id) <= (:at, cast(:id as uuid))
             order by created_at desc, id desc limit :limit) as newest
     ) as counted
     where chars <= :max_chars or id = cast(:id as uuid)
     order by created_at, id`,
    {
      conversation_id: until.conversationId,
      at: until.at,
      id: until.id,
      limit: bounds.limit,
      max_chars: bounds.maxChars,
    },
  );
}
