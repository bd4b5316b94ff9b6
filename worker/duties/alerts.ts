import { ALERT_RETENTION_DAYS } from '../../contracts/alerts.ts';
import { deleteOldAlerts } from '../../db/alerts.ts';
import type { Db } from '../../db/database.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import { evaluateAlerts } from '../../domain/alerts/evaluate.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { deleteOld } from './delete-old.ts';
import { defineDuty } from './duty.ts';

const DAY_MS = 24 * 60 * 60 * 1_000;

/** Open and resolve alerts. Agents report every 15 s: to look more often would see nothing new. */
export const alertRounds = defineDuty<DomainDeps>({
  name: 'alert_rounds',
  lockKey: lockKeys.duties.alertRounds,
  everyMs: 10_000,
  run: (deps, signal) => evaluateAlerts(deps, signal),
});

/** What is long over is of no use to anybody; its events and audit rows have retentions of their own. */
export const alertRetention = defineDuty<{ db: Db }>({
  name: 'alert_retention',
  lockKey: lockKeys.duties.alertRetention,
  everyMs: 600_000,
  run: ({ db }, signal) =>
    deleteOld(deleteOldAlerts, { db, retentionMs: ALERT_RETENTION_DAYS * DAY_MS, signal }),
});
