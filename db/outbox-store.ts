import type { Db } from './database.ts';
import { deleteOutbox, deleteStart, listDueOutbox, postponeOutbox } from './outbox.ts';
import { deleteRolloutStart } from './rollouts.ts';

/** The outbox as the dispatcher wants it, outside of any transaction. */
export const createOutboxStore = (db: Db) => ({
  listDue: (limit: number, minAgeMs: number) => listDueOutbox(db, limit, minAgeMs),
  remove: (ids: readonly number[]) => deleteOutbox(db, ids),
  removeStart: (
    id: number,
    started: ({ taskId: string } | { rolloutId: string }) & { namespaceId: string },
  ) => ('taskId' in started ? deleteStart(db, id, started) : deleteRolloutStart(db, id, started)),
  postpone: (id: number, error: string, retryAfterMs: number) => postponeOutbox(db, id, error, retryAfterMs),
});
