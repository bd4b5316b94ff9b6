import { lockKeys } from '../../db/lock-keys.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { archiveEndedTasks } from '../../domain/tasks/archive.ts';
import { defineDuty } from './duty.ts';

/** Ended tasks leave the lists after this long, milliseconds. */
const ARCHIVE_AFTER_MS = 30 * 24 * 60 * 60 * 1_000;
/** Tasks of one transaction. */
const BATCH = 200;

/** Archive tasks that ended long ago; nothing of them is deleted. */
export const taskArchival = defineDuty<DomainDeps>({
  name: 'task_archival',
  lockKey: lockKeys.duties.taskArchival,
  everyMs: 600_000,
  async run(deps, signal) {
    let total = 0;
    let count = BATCH;
    while (count === BATCH && !signal.aborted) {
      count = await archiveEndedTasks(deps, {
        endedBefore: new Date(Date.now() - ARCHIVE_AFTER_MS),
        limit: BATCH,
      });
      total += count;
    }
    return total;
  },
});
