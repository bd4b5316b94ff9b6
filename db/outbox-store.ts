import type { Db } from './database.ts';
import { deleteOutbox, deleteStart, listDueOutbox, postponeOutbox } from './outbox.ts';

/** The outbox as the dispatcher wants it, outside of any transaction. */
export const createOutboxStore = (db: Db) => ({
  listDue: (limit: number, minAgeMs: number) => listDueOutbox(db, limit, minAgeMs),
  remove: (ids: readonly number[]) => deleteOutbox(db, ids),
  removeStart: (id: number, started: { taskId: string; namespaceId: string }) => deleteStart(db, id, started),
  postpone: (id: number, error: string, retryAfterMs: number) => postponeOutbox(db, id, error, retryAfterMs),
});
