import type { Db } from './database.ts';
import { deleteOutbox, listDueOutbox, postponeOutbox } from './outbox.ts';

/** The outbox as the dispatcher wants it, outside of any transaction. */
export const createOutboxStore = (db: Db) => ({
  listDue: (limit: number) => listDueOutbox(db, limit),
  remove: (ids: readonly number[]) => deleteOutbox(db, ids),
  postpone: (id: number, error: string, retryAfterMs: number) => postponeOutbox(db, id, error, retryAfterMs),
});
