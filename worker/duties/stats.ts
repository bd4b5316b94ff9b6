import { createResourceReader } from '../../core/resources.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { takeSnapshot, thinHistory } from '../../domain/stats/stats.ts';
import { defineDuty } from './duty.ts';

const readResources = createResourceReader();

/** Keep the figures of each minute, and thin out those of long ago. It looks more often than it writes: no minute is left out. */
export const statsSnapshot = defineDuty<Pick<DomainDeps, 'db'>>({
  name: 'stats_snapshot',
  lockKey: lockKeys.duties.statsSnapshot,
  everyMs: 15_000,
  async run({ db }, signal) {
    const taken = await takeSnapshot({ db, readResources });
    return taken === 0 ? 0 : taken + (await thinHistory({ db }, signal));
  },
});
