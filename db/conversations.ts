/** Conversations of people with the assistant. Everything asked here names the owner: nobody sees another's. */
import { type Queryable, query, queryOne } from './database.ts';

export interface ConversationRow {
  id: string;
  userId: string;
  title: string;
  createdAt: Date;
  /** Time of the newest message. */
  updatedAt: Date;
}

const columns = `id, user_id as "userId", title, created_at as "createdAt", updated_at as "updatedAt"`;

export async function insertConversation(
  db: Queryable,
  conversation: { id: string; userId: string; title: string },
): Promise<ConversationRow> {
  const row = await queryOne<ConversationRow>(
    db,
    `insert into conversations (id, user_id, title, created_at, updated_at)
     select :id, :user_id, :title, at, at from (select clock_timestamp() as at) as clock
     returning ${columns}`,
    { id: conversation.id, user_id: conversation.userId, title: conversation.title },
  );
  if (row === undefined) throw new Error('an insert returned no row');
  return row;
}

/**
 * Lock the conversation and move its time on: the next message is given this time. It is later than that of every
 * message before, whatever the clock says, so the order of messages is the order of their commits.
 */
export function touchConversation(
  db: Queryable,
  conversation: { id: string; userId: string },
): Promise<ConversationRow | undefined> {
  return queryOne<ConversationRow>(
    db,
    `update conversations set updated_at = greatest(clock_timestamp(), updated_at + interval '1 millisecond')
     where id = :id and user_id = :user_id
     returning ${columns}`,
    { id: conversation.id, user_id: conversation.userId },
  );
}

export function findConversation(
  db: Queryable,
  conversation: { id: string; userId: string },
): Promise<ConversationRow | undefined> {
  return queryOne<ConversationRow>(
    db,
    `select ${columns} from conversations where id = :id and user_id = :user_id`,
    { id: conversation.id, user_id: conversation.userId },
  );
}

/** Is there such a conversation, whosever it is? */
export async function isConversation(db: Queryable, id: string): Promise<boolean> {
  return (await queryOne(db, 'select id from conversations where id = :id', { id })) !== undefined;
}

/** Latest talk first, keyset by (updated_at, id). */
export function listConversations(
  db: Queryable,
  userId: string,
  page: { before: { at: Date; id: string } | undefined; limit: number },
): Promise<ConversationRow[]> {
  const older = page.before === undefined ? '' : 'and (updated_at, id) < (:at, cast(:id as uuid))';
  return query<ConversationRow>(
    db,
    `select ${columns} from conversations where user_id = :user_id ${older}
     order by updated_at desc, id desc limit :limit`,
    { user_id: userId, limit: page.limit, at: page.before?.at ?? null, id: page.before?.id ?? null },
  );
}

export async function countConversations(db: Queryable, userId: string): Promise<number> {
  const row = await queryOne<{ count: number }>(
    db,
    'select count(*) as count from conversations where user_id = :user_id',
    { user_id: userId },
  );
  return row?.count ?? 0;
}

/** With its messages. False when the user has no such conversation. */
export async function deleteConversation(
  db: Queryable,
  conversation: { id: string; userId: string },
): Promise<boolean> {
  const rows = await query(
    db,
    'delete from conversations where id = :id and user_id = :user_id returning id',
    { id: conversation.id, user_id: conversation.userId },
  );
  return rows.length === 1;
}
