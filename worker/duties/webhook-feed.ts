import { lockKeys } from '../../db/lock-keys.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import { feedWebhooks, freeLostTargets } from '../../domain/webhooks/feed.ts';
import { defineDuty } from './duty.ts';

/** Turn events into deliveries and ring for the workflows that make them. Where nobody subscribes: one short query. */
export const webhookFeed = defineDuty<DomainDeps>({
  name: 'webhook_feed',
  lockKey: lockKeys.duties.webhookFeed,
  everyMs: 1_000,
  run: feedWebhooks,
});

/** What was lost with a workflow is found again. */
export const webhookRepair = defineDuty<DomainDeps>({
  name: 'webhook_repair',
  lockKey: lockKeys.duties.webhookRepair,
  everyMs: 60_000,
  run: freeLostTargets,
});
