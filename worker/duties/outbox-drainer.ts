import { lockKeys } from '../../db/lock-keys.ts';
import { IMMEDIATE_DEADLINE_MS, type OutboxDispatcher } from '../../temporal/dispatcher.ts';
import { defineDuty } from './duty.ts';

/** Deliver what the delivery right after the commit could not, and not before it has had its time. Woken by NOTIFY. */
export const outboxDrainer = defineDuty<{ dispatcher: OutboxDispatcher }>({
  name: 'outbox_drainer',
  lockKey: lockKeys.duties.outboxDrainer,
  everyMs: 1_000,
  run: ({ dispatcher }, signal) => dispatcher.drain(signal, { minAgeMs: IMMEDIATE_DEADLINE_MS }),
});
