import type { Db } from '../../db/database.ts';
import { MAX_ROWS_PER_SEAL, sealAudit } from '../../domain/audit/seal.ts';
import { defineDuty, dutyLockKeys } from './duty.ts';

/** Put audit rows under seals, soon after they are committed. */
export const sealer = defineDuty<{ db: Db }>({
  name: 'sealer',
  lockKey: dutyLockKeys.sealer,
  everyMs: 2_000,
  async run(deps, signal) {
    let total = 0;
    let count = MAX_ROWS_PER_SEAL;
    while (count === MAX_ROWS_PER_SEAL && !signal.aborted) {
      count = await sealAudit(deps);
      total += count;
    }
    return total;
  },
});
