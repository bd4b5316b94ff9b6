import { EVENT_RETENTION_DAYS } from '../../contracts/events.ts';
import type { Db } from '../../db/database.ts';
import { deleteOldEvents } from '../../db/events.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import { deleteOldPostedEvents } from '../../db/posted-events.ts';
import { POSTED_EVENT_RETENTION_DAYS } from '../../domain/events/posted.ts';
import { deleteOld } from './delete-old.ts';
import { defineDuty } from './duty.ts';

const DAY_MS = 24 * 60 * 60 * 1_000;

/** Events are kept long enough for every client to resume, no longer; what people posted is kept for people. */
export const eventRetention = defineDuty<{ db: Db }>({
  name: 'event_retention',
  lockKey: lockKeys.duties.eventRetention,
  everyMs: 60_000,
  async run({ db }, signal) {
    const posted = { db, retentionMs: POSTED_EVENT_RETENTION_DAYS * DAY_MS, signal };
    const events = { db, retentionMs: EVENT_RETENTION_DAYS * DAY_MS, signal };
    return (await deleteOld(deleteOldPostedEvents, posted)) + (await deleteOld(deleteOldEvents, events));
  },
});
