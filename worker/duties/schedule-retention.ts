import { SCHEDULE_RUN_RETENTION_DAYS } from '../../contracts/schedules.ts';
import type { Db } from '../../db/database.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import { deleteOldRuns } from '../../db/schedule-runs.ts';
import { deleteOldSchedules } from '../../db/schedules.ts';
import { deleteOld } from './delete-old.ts';
import { defineDuty } from './duty.ts';

const RETENTION_MS = SCHEDULE_RUN_RETENTION_DAYS * 24 * 60 * 60 * 1_000;

/** Forget runs of schedules that ended long ago, and deleted schedules that have none left. */
export const scheduleRetention = defineDuty<{ db: Db }>({
  name: 'schedule_retention',
  lockKey: lockKeys.duties.scheduleRetention,
  everyMs: 600_000,
  async run({ db }, signal) {
    const options = { db, retentionMs: RETENTION_MS, signal };
    return (await deleteOld(deleteOldRuns, options)) + (await deleteOld(deleteOldSchedules, options));
  },
});
