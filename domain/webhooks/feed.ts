/**
 * From events to deliveries, and the bell for the workflows that make them.
 *
 *  A. Events are taken in order below the horizon, under the lock of the cursor's row, in the transaction that moves the
 *     cursor (db/webhook-feed.ts): each becomes a delivery of each subscription exactly once, however many processes run.
 *  B. Whoever adds deliveries marks the target in the same transaction. Its workflow is rung by the outbox, in the
 *     transaction that takes the mark away: a start where none runs, a signal where it sleeps, nothing where it works,
 *     because it looks for more, under the lock of the target's row, before it sleeps or ends.
 *  C. Whoever disables a webhook cancels what is pending under the lock of its row: nothing is added behind that.
 */
import { v7 as uuidv7 } from 'uuid';
import { webhookWorkflowId } from '../../contracts/webhook-workflow.ts';
import type { WebhookEventBody } from '../../contracts/webhooks.ts';
import { insertDeliveries, type NewDelivery } from '../../db/webhook-deliveries.ts';
import {
  holdActive,
  listWantedEvents,
  lockNextRange,
  moveCursor,
  readInterest,
  type WantedEvent,
} from '../../db/webhook-feed.ts';
import { freeStuckTargets, markNews, takeNews } from '../../db/webhook-targets.ts';
import type { DomainDeps } from '../deps.ts';
import { transact } from '../transact.ts';
import { RETRY_MS } from './deliveries.ts';

/** Events of one transaction. */
const EVENTS_PER_ROUND = 500;
/** Targets rung for in one transaction. */
const TARGETS_PER_ROUND = 200;
/** A delivery that is overdue by so much has no workflow that cares for it, milliseconds. */
export const STUCK_AFTER_MS = 10 * 60_000;

/** One round of the duty: all there is. @returns deliveries made and workflows rung for */
export async function feedWebhooks(deps: DomainDeps, signal: AbortSignal): Promise<number> {
  const { isSubscribed, hasNews } = await readInterest(deps.db);
  let done = 0;
  for (let isMore = isSubscribed; isMore && !signal.aborted; ) {
    const taken = await takeEvents(deps);
    done += taken.deliveries;
    isMore = taken.isMore;
  }
  if (done === 0 && !hasNews) return 0;
  for (let rung = TARGETS_PER_ROUND; rung === TARGETS_PER_ROUND && !signal.aborted; ) {
    rung = await ringTargets(deps);
    done += rung;
  }
  return done;
}

/** (A) */
export async function takeEvents(deps: DomainDeps): Promise<{ deliveries: number; isMore: boolean }> {
  return transact(deps, async (unit) => {
    const range = await lockNextRange(unit.trx, EVENTS_PER_ROUND);
    if (range === undefined) return { deliveries: 0, isMore: false };
    const events = range.count === 0 ? [] : await listWantedEvents(unit.trx, range);
    const wanting = [...new Set(events.flatMap(({ webhookIds }) => webhookIds))];
    const active = wanting.length === 0 ? new Set<string>() : await holdActive(unit.trx, wanting);
    const deliveries = events.flatMap(deliveriesOf).filter(({ targetId }) => active.has(targetId)); // C
    if (deliveries.length > 0) {
      await insertDeliveries(unit.trx, deliveries, RETRY_MS);
      await markNews(unit.trx, [...new Set(deliveries.map(({ targetId }) => targetId))].sort());
    }
    // Without events the cursor may stay: the next round begins at the same place.
    if (range.count > 0) await moveCursor(unit.trx, range.to);
    return { deliveries: deliveries.length, isMore: range.count === EVENTS_PER_ROUND };
  });
}

function deliveriesOf(event: WantedEvent): NewDelivery[] {
  const body: WebhookEventBody = {
    type: event.type,
    timestamp: event.at.toISOString(),
    data: {
      eventId: Number(event.id),
      taskId: event.taskPublicId,
      commandId: event.commandId,
      batchId: event.batchId,
      agentId: event.agentId,
      details: event.data,
    },
  };
  const text = JSON.stringify(body);
  return event.webhookIds.map((targetId) => ({
    id: uuidv7(),
    targetId,
    eventId: Number(event.id),
    eventType: event.type,
    body: text,
    replayOf: null,
  }));
}

/** (B) @returns how many targets had news */
export async function ringTargets(deps: DomainDeps): Promise<number> {
  return transact(deps, async (unit) => {
    const targets = await takeNews(unit.trx, TARGETS_PER_ROUND);
    for (const { id: targetId, runNo, drain } of targets) {
      const workflowId = webhookWorkflowId(targetId, runNo);
      if (drain === 'idle')
        unit.outbox({ workflowId, kind: 'start_webhook', payload: { input: { targetId, runNo } } });
      if (drain === 'sleeping') unit.signal(workflowId, { name: 'webhookDue', arg: {} });
    }
    return targets.length;
  });
}

/** Where a workflow was lost, another is rung for. @returns how many */
export async function freeLostTargets(deps: DomainDeps): Promise<number> {
  const freed = await freeStuckTargets(deps.db, STUCK_AFTER_MS, TARGETS_PER_ROUND);
  for (const targetId of freed) deps.log.warn({ event: 'webhook_workflow_lost', targetId });
  return freed.length;
}
