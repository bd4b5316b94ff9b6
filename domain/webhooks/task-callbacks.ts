/** The log of what the callback URL of a task was told, and telling it again. Whoever may change the task may do so. */
import { validate as isUuid, v7 as uuidv7 } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import type {
  DeliveryListQuery,
  WebhookDeliveryDetail,
  WebhookDeliveryView,
} from '../../contracts/webhooks.ts';
import type { Queryable } from '../../db/database.ts';
import { type DeliveryRow, findDelivery, insertDeliveries } from '../../db/webhook-deliveries.ts';
import { markNews } from '../../db/webhook-targets.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, requestKeyOf } from '../idempotency.ts';
import { can } from '../policy.ts';
import { getTaskRow, lockTaskRow } from '../tasks/load.ts';
import { transact } from '../transact.ts';
import { deliveryDetail, deliveryPage, presentDelivery, RETRY_MS, replayOf } from './deliveries.ts';

/** Newest first. @throws forbidden, task_not_found, invalid_cursor */
export async function listTaskCallbacks(
  deps: DomainDeps,
  actor: Actor,
  taskId: string,
  query: DeliveryListQuery,
): Promise<Page<WebhookDeliveryView>> {
  const task = await getTaskRow(deps, actor, taskId, 'read');
  return deliveryPage(deps, task.id, query);
}

/**
 * With its body and every attempt. What the receiver answered is only for who sees webhooks: it may stand inside the
 * network, and be named by anybody who may create a task.
 * @throws forbidden, task_not_found, webhook_delivery_not_found
 */
export async function getTaskCallback(
  deps: DomainDeps,
  actor: Actor,
  taskId: string,
  deliveryId: string,
): Promise<WebhookDeliveryDetail> {
  const task = await getTaskRow(deps, actor, taskId, 'read');
  const detail = await deliveryDetail(deps, await findCallback(deps.db, task.id, deliveryId));
  if (can(actor.principal, 'read', 'webhook')) return detail;
  return { ...detail, log: detail.log.map((attempt) => ({ ...attempt, response: null })) };
}

/**
 * The same body under the same `webhook-id`, behind all that is still to be told.
 * @throws forbidden, task_not_found, webhook_delivery_not_found, conflict (it has not ended), idempotency_conflict
 */
export async function replayTaskCallback(
  deps: DomainDeps,
  actor: Actor,
  taskId: string,
  deliveryId: string,
  idempotencyKey: string | null,
): Promise<WebhookDeliveryView> {
  const wanted = uuidv7();
  const row = await transact(deps, async (unit) => {
    // Before its target's row, as whatever changes its state does.
    const task = await lockTaskRow(unit, actor, taskId, 'update');
    const requestKey = requestKeyOf({ idempotencyKey }, { taskId: task.id, what: `replay/${deliveryId}` });
    const kind = 'webhook_delivery';
    const made = await claimRequest(unit.trx, actor.principal, requestKey, kind, wanted);
    if (made !== undefined) return findCallback(unit.trx, task.id, made);
    const first = await findCallback(unit.trx, task.id, deliveryId);
    if (first.body === null || first.state === 'pending')
      throw problem('conflict', {
        reason: 'the callback is still to be made; it is tried until it is taken',
      });
    await insertDeliveries(unit.trx, [replayOf(first, first.body, wanted)], RETRY_MS);
    await markNews(unit.trx, [task.id]);
    unit.audit(actor, {
      action: 'task.replay_callback',
      targetKind: 'task',
      targetId: taskId,
      details: { deliveryId: wanted, replayOf: first.replayOf ?? first.id },
    });
    return findCallback(unit.trx, task.id, wanted);
  });
  return presentDelivery(row);
}

async function findCallback(db: Queryable, taskId: string, deliveryId: string): Promise<DeliveryRow> {
  const row = isUuid(deliveryId) ? await findDelivery(db, taskId, deliveryId) : undefined;
  if (row === undefined) throw problem('webhook_delivery_not_found', { deliveryId });
  return row;
}
