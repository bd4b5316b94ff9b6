/** A person's conversations, and what was said in them. */
import { validate as isUuid } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import {
  type ConversationRow,
  countConversations,
  deleteConversation,
  findConversation,
  isConversation,
  listConversations,
} from '../../db/conversations.ts';
import { findMessage, listMessages, type MessageRow } from '../../db/messages.ts';
import { type CursorPosition, decodeCursor, pageOfRows } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { transact } from '../transact.ts';
import { ownerFor } from './deps.ts';

/** `cursor`: of the page before, or the bare id of its last item. */
export interface PageWish {
  limit: number;
  cursor?: string | undefined;
}

/** Latest talk first. @throws forbidden, invalid_cursor */
export async function listOwnConversations(
  deps: DomainDeps,
  actor: Actor,
  { limit, cursor }: PageWish,
): Promise<Page<ConversationRow>> {
  const userId = ownerFor(actor, 'list');
  const before = await positionIn(cursor, async (id) => {
    const row = await findConversation(deps.db, { id, userId });
    if (row !== undefined) return { at: row.updatedAt, id: row.id };
    return (await isConversation(deps.db, id)) ? undefined : 'deleted';
  });
  const rows = await listConversations(deps.db, userId, { before, limit: limit + 1 });
  return pageOfRows(rows, limit, (row) => ({ at: row.updatedAt, id: row.id }));
}

/** How many there are in all. @throws forbidden */
export async function countOwnConversations(deps: DomainDeps, actor: Actor): Promise<number> {
  return countConversations(deps.db, ownerFor(actor, 'list'));
}

/** Oldest first. @throws forbidden, conversation_not_found (not there, or not the actor's), invalid_cursor */
export async function listOwnMessages(
  deps: DomainDeps,
  actor: Actor,
  conversationId: string,
  { limit, cursor }: PageWish,
): Promise<Page<MessageRow>> {
  const userId = ownerFor(actor, 'read');
  const conversation = await findConversation(deps.db, { id: conversationId, userId });
  if (conversation === undefined) throw problem('conversation_not_found', { conversationId });
  const after = await positionIn(cursor, async (id) => {
    const row = await findMessage(deps.db, id);
    return row?.conversationId === conversation.id ? { at: row.createdAt, id: row.id } : undefined;
  });
  const rows = await listMessages(deps.db, conversation.id, { after, limit: limit + 1 });
  return pageOfRows(rows, limit, (row) => ({ at: row.createdAt, id: row.id }));
}

/** With all that was said in it. @throws forbidden, conversation_not_found */
export async function deleteOwnConversation(deps: DomainDeps, actor: Actor, id: string): Promise<void> {
  const userId = ownerFor(actor, 'delete');
  await transact(deps, async (unit) => {
    if (!(await deleteConversation(unit.trx, { id, userId }))) {
      throw problem('conversation_not_found', { conversationId: id });
    }
    unit.audit(actor, { action: 'conversation.delete', targetKind: 'conversation', targetId: id });
  });
}

/**
 * Where a list goes on. A cursor holds its own place, so it stays where it was when its item has moved; but it must
 * name an item that is in this list, or was until it was deleted. @throws invalid_cursor
 */
async function positionIn(
  cursor: string | undefined,
  find: (id: string) => Promise<CursorPosition | 'deleted' | undefined>,
): Promise<CursorPosition | undefined> {
  if (cursor === undefined) return undefined;
  const given = isUuid(cursor) ? { id: cursor } : decodeCursor(cursor);
  const found = isUuid(given.id) ? await find(given.id) : undefined;
  if (found === 'deleted' && 'at' in given) return given;
  if (found === undefined || found === 'deleted') throw problem('invalid_cursor');
  return { ...found, ...given };
}
