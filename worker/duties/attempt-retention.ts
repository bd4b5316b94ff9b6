import { deleteOldBans } from '../../db/bans.ts';
import type { Db } from '../../db/database.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import { deleteOldAttempts } from '../../db/login-attempts.ts';
import { ATTEMPT_RETENTION_MS } from '../../domain/identity/attempts.ts';
import { deleteOld } from './delete-old.ts';
import { defineDuty } from './duty.ts';

/** Forget counters of failed logins that nobody touched for long, and bans that ended long ago. */
export const attemptRetention = defineDuty<{ db: Db }>({
  name: 'attempt_retention',
  lockKey: lockKeys.duties.attemptRetention,
  everyMs: 600_000,
  async run({ db }, signal) {
    const how = { db, retentionMs: ATTEMPT_RETENTION_MS, signal };
    return (await deleteOld(deleteOldAttempts, how)) + (await deleteOld(deleteOldBans, how));
  },
});
