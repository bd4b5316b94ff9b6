import type { Db } from '../../db/database.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import { MAX_ROWS_PER_SEAL, sealAudit } from '../../domain/audit/seal.ts';
import { defineDuty } from './duty.ts';

/** Put audit rows under seals, soon after they are committed. */
export const sealer = defineDuty<{ db: Db }>({
  name: 'sealer',
  lockKey: lockKeys.duties.sealer,
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
