import { EVENT_RETENTION_DAYS } from '../../contracts/events.ts';
import type { Db } from '../../db/database.ts';
import { deleteOldEvents } from '../../db/events.ts';
import { deleteOld } from './delete-old.ts';
import { defineDuty, dutyLockKeys } from './duty.ts';

const RETENTION_MS = EVENT_RETENTION_DAYS * 24 * 60 * 60 * 1_000;

/** Events are kept long enough for every client to resume, no longer. */
export const eventRetention = defineDuty<{ db: Db }>({
  name: 'event_retention',
  lockKey: dutyLockKeys.eventRetention,
  everyMs: 60_000,
  run: ({ db }, signal) => deleteOld(deleteOldEvents, { db, retentionMs: RETENTION_MS, signal }),
});
