import { WEBHOOK_DELIVERY_RETENTION_DAYS } from '../../contracts/webhooks.ts';
import type { Db } from '../../db/database.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import { deleteOldDeliveries } from '../../db/webhook-deliveries.ts';
import { deleteEmptyCallbacks } from '../../db/webhook-targets.ts';
import { deleteOld } from './delete-old.ts';
import { defineDuty } from './duty.ts';

const DAY_MS = 24 * 60 * 60 * 1_000;

/** Deliveries that have ended are kept for people, and for replays, no longer. */
export const webhookRetention = defineDuty<{ db: Db }>({
  name: 'webhook_retention',
  lockKey: lockKeys.duties.webhookRetention,
  everyMs: 60_000,
  async run({ db }, signal) {
    const retentionMs = WEBHOOK_DELIVERY_RETENTION_DAYS * DAY_MS;
    const deliveries = await deleteOld(deleteOldDeliveries, { db, retentionMs, signal });
    const callbacks = await deleteOld((one, _olderThan, limit) => deleteEmptyCallbacks(one, limit), {
      db,
      retentionMs: 0,
      signal,
    });
    return deliveries + callbacks;
  },
});
