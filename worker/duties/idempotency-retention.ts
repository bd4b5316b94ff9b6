import type { Db } from '../../db/database.ts';
import { deleteOldIdempotencyKeys } from '../../db/idempotency-keys.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import { IDEMPOTENCY_KEY_RETENTION_HOURS } from '../../domain/idempotency.ts';
import { deleteOld } from './delete-old.ts';
import { defineDuty } from './duty.ts';

const RETENTION_MS = IDEMPOTENCY_KEY_RETENTION_HOURS * 60 * 60 * 1_000;

/** Forget idempotency keys after their time. */
export const idempotencyRetention = defineDuty<{ db: Db }>({
  name: 'idempotency_retention',
  lockKey: lockKeys.duties.idempotencyRetention,
  everyMs: 60_000,
  run: ({ db }, signal) => deleteOld(deleteOldIdempotencyKeys, { db, retentionMs: RETENTION_MS, signal }),
});
