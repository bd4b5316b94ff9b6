import type { Db } from '../../db/database.ts';

/** Rows of one statement: short enough to stay far below the statement timeout. */
const BATCH = 2_000;

/** Delete everything older than the retention, a batch at a time. @returns how many rows */
export async function deleteOld(
  deleteBatch: (db: Db, olderThan: Date, limit: number) => Promise<number>,
  { db, retentionMs, signal }: { db: Db; retentionMs: number; signal: AbortSignal },
): Promise<number> {
  const olderThan = new Date(Date.now() - retentionMs);
  let total = 0;
  let count = BATCH;
  while (count === BATCH && !signal.aborted) {
    count = await deleteBatch(db, olderThan, BATCH);
    total += count;
  }
  return total;
}
