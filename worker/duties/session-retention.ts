import type { Db } from '../../db/database.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import { deleteOldSessions } from '../../db/sessions.ts';
import { deleteOld } from './delete-old.ts';
import { defineDuty } from './duty.ts';

/** Ended login sessions stay this long, for "who was logged in when", milliseconds. */
const RETENTION_MS = 30 * 24 * 60 * 60 * 1_000;

/** Forget login sessions that ended long ago, with their refresh tokens. */
export const sessionRetention = defineDuty<{ db: Db }>({
  name: 'session_retention',
  lockKey: lockKeys.duties.sessionRetention,
  everyMs: 600_000,
  run: ({ db }, signal) => deleteOld(deleteOldSessions, { db, retentionMs: RETENTION_MS, signal }),
});
