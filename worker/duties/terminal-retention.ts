import type { Db } from '../../db/database.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import { deleteOldTerminalLog } from '../../db/terminal-log.ts';
import { deleteOldTerminals } from '../../db/terminal-sessions.ts';
import { deleteOld } from './delete-old.ts';
import { defineDuty } from './duty.ts';

/** Sessions of one statement: each may take megabytes of recording with it. */
const SESSIONS_AT_ONCE = 50;

/** Forget terminals that ended long ago, with their recordings, and what the log says of them. */
export const terminalRetention = defineDuty<{ db: Db; retentionMs: number }>({
  name: 'terminal_retention',
  lockKey: lockKeys.duties.terminalRetention,
  everyMs: 600_000,
  async run({ db, retentionMs }, signal) {
    const how = { db, retentionMs, signal };
    return (await deleteSessions(how)) + (await deleteOld(deleteOldTerminalLog, how));
  },
});

async function deleteSessions(how: { db: Db; retentionMs: number; signal: AbortSignal }): Promise<number> {
  const olderThan = new Date(Date.now() - how.retentionMs);
  let total = 0;
  let count = SESSIONS_AT_ONCE;
  while (count === SESSIONS_AT_ONCE && !how.signal.aborted) {
    count = await deleteOldTerminals(how.db, olderThan, SESSIONS_AT_ONCE);
    total += count;
  }
  return total;
}
