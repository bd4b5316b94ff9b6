import { readSealLag } from '../../db/audit-seals.ts';
import type { Db } from '../../db/database.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import { readOutboxLag } from '../../db/outbox.ts';
import { defineDuty } from './duty.ts';

export interface QueueLag {
  queue: 'outbox' | 'audit_seals';
  rows: number;
  oldestSeconds: number;
}

/** How far the queues of the other duties are behind. */
export const lagReport = defineDuty<{ db: Db; report: (lag: QueueLag) => void }>({
  name: 'lag_report',
  lockKey: lockKeys.duties.lagReport,
  everyMs: 10_000,
  async run({ db, report }) {
    report({ queue: 'outbox', ...(await readOutboxLag(db)) });
    report({ queue: 'audit_seals', ...(await readSealLag(db)) });
    return 2;
  },
});
