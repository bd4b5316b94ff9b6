/** The delivery log, and sending again. A replay has the `webhook-id` of the first: who has taken it can tell. */
import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import {
  type DeliveryListQuery,
  MAX_REPLAYED,
  type ReplayBody,
  TEST_DELIVERY_TYPE,
  WEBHOOK_RETRY_HOURS,
  type WebhookDeliveryDetail,
  type WebhookDeliveryView,
  type WebhookEventBody,
} from '../../contracts/webhooks.ts';
import {
  type DeliveryRow,
  findDelivery,
  insertDeliveries,
  type ListedDeliveryRow,
  listAttempts,
  listDeliveries,
  listForReplay,
  type NewDelivery,
} from '../../db/webhook-deliveries.ts';
import { markNews } from '../../db/webhook-targets.ts';
import { lockWebhook } from '../../db/webhooks.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, isRepeatedRequest, requestKeyOf } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { getWebhook, webhookNotFound } from './store.ts';

/** Attempts of a delivery end after this long, milliseconds. */
export const RETRY_MS = WEBHOOK_RETRY_HOURS * 60 * 60 * 1_000;

/** Newest first. @throws forbidden, webhook_not_found, invalid_cursor */
export async function listWebhookDeliveries(
  deps: DomainDeps,
  actor: Actor,
  webhookId: string,
  query: DeliveryListQuery,
): Promise<Page<WebhookDeliveryView>> {
  await getWebhook(deps, actor, webhookId);
  return deliveryPage(deps, webhookId, query);
}

/** What was sent to a target, newest first. @throws invalid_cursor */
export async function deliveryPage(
  deps: DomainDeps,
  targetId: string,
  { limit, cursor, state }: DeliveryListQuery,
): Promise<Page<WebhookDeliveryView>> {
  const before = uuidPositionOf(cursor);
  const rows = await listDeliveries(deps.db, { targetId, state, before, limit: limit + 1 });
  const page = pageOfRows(rows, limit, (row) => ({ at: row.createdAt, id: row.id }));
  return { items: page.items.map(presentDelivery), nextCursor: page.nextCursor };
}

/** @throws forbidden, webhook_not_found, webhook_delivery_not_found */
export async function getWebhookDelivery(
  deps: DomainDeps,
  actor: Actor,
  webhookId: string,
  deliveryId: string,
): Promise<WebhookDeliveryDetail> {
  await getWebhook(deps, actor, webhookId);
  const row = isUuid(deliveryId) ? await findDelivery(deps.db, webhookId, deliveryId) : undefined;
  if (row === undefined) throw problem('webhook_delivery_not_found', { deliveryId });
  return deliveryDetail(deps, row);
}

/** With its body and every attempt. */
export async function deliveryDetail(
  { db }: Pick<DomainDeps, 'db'>,
  row: DeliveryRow,
): Promise<WebhookDeliveryDetail> {
  const log = await listAttempts(db, row.id);
  return {
    ...presentDelivery(row),
    body: row.body,
    log: log.map(({ at, ...attempt }) => ({ ...attempt, at: at.toISOString() })),
  };
}

/** @throws forbidden, webhook_not_found, conflict (not active), idempotency_conflict */
export async function testWebhook(
  deps: DomainDeps,
  actor: Actor,
  webhookId: string,
  idempotencyKey: string | null,
): Promise<WebhookDeliveryView> {
  const body: WebhookEventBody = {
    type: TEST_DELIVERY_TYPE,
    timestamp: new Date().toISOString(),
    data: { eventId: 0, taskId: null, commandId: null, batchId: null, agentId: null, details: { webhookId } },
  };
  return sendOne(deps, actor, webhookId, 'webhook.test', idempotencyKey, async (id) => ({
    id,
    targetId: webhookId,
    eventId: null,
    eventType: TEST_DELIVERY_TYPE,
    body: JSON.stringify(body),
    replayOf: null,
  }));
}

/** @throws forbidden, webhook_not_found, webhook_delivery_not_found, conflict (not active), idempotency_conflict */
export async function replayDelivery(
  deps: DomainDeps,
  actor: Actor,
  webhookId: string,
  deliveryId: string,
  idempotencyKey: string | null,
): Promise<WebhookDeliveryView> {
  return sendOne(deps, actor, webhookId, `webhook.replay/${deliveryId}`, idempotencyKey, async (id, unit) => {
    const row = await findDelivery(unit.trx, webhookId, deliveryId);
    if (row === undefined || row.body === null) throw problem('webhook_delivery_not_found', { deliveryId });
    return replayOf(row, row.body, id);
  });
}

/** Send again what ended so in that time. @throws forbidden, webhook_not_found, conflict (not active), idempotency_conflict */
export async function replayMany(
  deps: DomainDeps,
  actor: Actor,
  webhookId: string,
  body: ReplayBody,
  idempotencyKey: string | null,
): Promise<{ replayed: number; hasMore: boolean }> {
  assertCan(actor.principal, 'update', 'webhook');
  return transact(deps, async (unit) => {
    await lockActive(unit, webhookId);
    const rows = await listForReplay(unit.trx, {
      targetId: webhookId,
      state: body.state,
      since: new Date(body.since),
      until: body.until === undefined ? new Date() : new Date(body.until),
      limit: MAX_REPLAYED + 1,
    });
    const again = rows.slice(0, MAX_REPLAYED);
    const answer = { replayed: again.length, hasMore: rows.length > MAX_REPLAYED };
    const requestKey = requestKeyOf({ idempotencyKey }, { webhookId, ...body });
    if (await isRepeatedRequest(unit.trx, actor.principal, requestKey, 'webhook_replay', webhookId))
      return answer;
    await insertDeliveries(
      unit.trx,
      again.map((row) => replayOf(row, row.body ?? '', uuidv7())),
      RETRY_MS,
    );
    await markNews(unit.trx, [webhookId]);
    auditSend(unit, actor, webhookId, { replayed: again.length, state: body.state, since: body.since });
    return answer;
  });
}

/** Add one delivery of a webhook, once for each Idempotency-Key. */
async function sendOne(
  deps: DomainDeps,
  actor: Actor,
  webhookId: string,
  what: string,
  idempotencyKey: string | null,
  make: (id: string, unit: Unit) => Promise<NewDelivery>,
): Promise<WebhookDeliveryView> {
  assertCan(actor.principal, 'update', 'webhook');
  const wanted = uuidv7();
  const id = await transact(deps, async (unit) => {
    await lockActive(unit, webhookId);
    const made = await claimRequest(
      unit.trx,
      actor.principal,
      requestKeyOf({ idempotencyKey }, { webhookId, what }),
      'webhook_delivery',
      wanted,
    );
    if (made !== undefined) return made;
    const delivery = await make(wanted, unit);
    await insertDeliveries(unit.trx, [delivery], RETRY_MS);
    await markNews(unit.trx, [webhookId]);
    auditSend(unit, actor, webhookId, { deliveryId: wanted, replayOf: delivery.replayOf });
    return wanted;
  });
  const row = await findDelivery(deps.db, webhookId, id);
  if (row === undefined) throw problem('webhook_delivery_not_found', { deliveryId: id });
  return presentDelivery(row);
}

async function lockActive(unit: Unit, id: string): Promise<void> {
  const webhook = isUuid(id) ? await lockWebhook(unit.trx, id) : undefined;
  if (webhook === undefined) throw webhookNotFound(id);
  if (webhook.state !== 'active') throw problem('conflict', { reason: `the webhook is ${webhook.state}` });
}

const auditSend = (unit: Unit, actor: Actor, webhookId: string, details: Record<string, unknown>): void =>
  unit.audit(actor, { action: 'webhook.send', targetKind: 'webhook', targetId: webhookId, details });

/** The same body under the same `webhook-id`. */
export const replayOf = (row: DeliveryRow, body: string, id: string): NewDelivery => ({
  id,
  targetId: row.targetId,
  eventId: row.eventId,
  eventType: row.eventType,
  body,
  replayOf: row.replayOf ?? row.id,
});

export const presentDelivery = (row: ListedDeliveryRow): WebhookDeliveryView => ({
  id: row.id,
  type: row.eventType,
  state: row.state,
  attempts: row.attempts,
  nextAttemptAt: row.state === 'pending' ? row.nextAttemptAt.toISOString() : null,
  giveUpAt: row.giveUpAt.toISOString(),
  status: row.status,
  errorCode: row.errorCode,
  replayOf: row.replayOf,
  createdAt: row.createdAt.toISOString(),
  endedAt: row.endedAt?.toISOString() ?? null,
});
