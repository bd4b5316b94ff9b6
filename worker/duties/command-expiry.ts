import { lockKeys } from '../../db/lock-keys.ts';
import { expireQueued, markOverdueUnknown } from '../../domain/commands/overdue.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { defineDuty } from './duty.ts';

/** Most commands of one transaction: its locks are held until it commits. */
const BATCH = 500;

/** One outcome for every command in bounded time: end what was not started, call unknown what was not reported. */
export const commandExpiry = defineDuty<DomainDeps>({
  name: 'command_expiry',
  lockKey: lockKeys.duties.commandExpiry,
  everyMs: 1_000,
  async run(deps, signal) {
    let total = 0;
    for (const end of [expireQueued, markOverdueUnknown]) {
      let count = BATCH;
      while (count === BATCH && !signal.aborted) {
        count = await end(deps, BATCH);
        total += count;
      }
    }
    return total;
  },
});
