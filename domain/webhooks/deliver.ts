/**
 * One round of a target's workflow: make what is due, then say when to come again.
 *
 *  A. A body is fixed before it is sent first, so that every attempt sends and signs the same bytes.
 *  B. What came of an attempt is recorded once, by whoever read the delivery as it was (db/webhook-deliveries.ts). A
 *     process that dies between the answer and the record makes the attempt again, under the same `webhook-id`.
 *  C. Callbacks of a task are made one after another, in order. Events may overtake each other, so that a request
 *     that is held holds up no other.
 *  D. Whether it sleeps or ends is decided under the lock of the target's row, so nothing new is overlooked.
 *  E. Nothing is sent inside a transaction.
 *  F. A webhook's row is locked before its target's and its deliveries', here as in domain/webhooks/store.ts.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { DrainOutcome, WebhookWorkflowInput } from '../../contracts/webhook-workflow.ts';
import { WEBHOOK_PATIENCE_DAYS } from '../../contracts/webhooks.ts';
import {
  type AttemptOutcome,
  cancelPending,
  type DeliveryRow,
  listDue,
  readNextDue,
  recordAttempt,
} from '../../db/webhook-deliveries.ts';
import { beginRound, lockTarget, setDrain, type TargetRow } from '../../db/webhook-targets.ts';
import { lockWebhook, setFailing, updateWebhook, type WebhookRow } from '../../db/webhooks.ts';
import type { OutboundAnswer } from '../../outbound/port.ts';
import { engineActor } from '../deps.ts';
import { transact, type Unit } from '../transact.ts';
import type { WebhookDeps } from './deps.ts';
import { keptText } from './kept-text.ts';
import { loadReceiver, type Receiver } from './receiver.ts';
import { signatureHeaders } from './sign.ts';
import { judgeAnswer, type Verdict } from './verdict.ts';

/** A round begins nothing new after this long, milliseconds; below the timeout of its activity by an attempt. */
const ROUND_MS = 20_000;
/** Longest attempt, milliseconds. */
export const ATTEMPT_TIMEOUT_MS = 15_000;
/** Attempts at the same time: of one subscription, and of the callback of a task (C). */
const PARALLEL_ATTEMPTS = { subscription: 4, callback: 1 } as const;
/** While attempts are under way, what came meanwhile is looked for this often, milliseconds. */
const LOOK_AGAIN_MS = 500;
/** A sleep is never shorter, milliseconds: clocks may differ by that. */
const MIN_SLEEP_MS = 50;
const DAY_MS = 24 * 60 * 60 * 1_000;
const PATIENCE_MS = WEBHOOK_PATIENCE_DAYS * DAY_MS;

/** @param signal of the activity: nothing new begins once it is aborted */
export async function drainTarget(
  deps: WebhookDeps,
  ref: WebhookWorkflowInput,
  signal: AbortSignal,
): Promise<DrainOutcome> {
  const target = await beginRound(deps.db, { id: ref.targetId, runNo: ref.runNo });
  if (target === undefined) return { kind: 'over' };
  const endsAtMs = performance.now() + ROUND_MS;
  const running = new Map<string, Promise<void>>();
  try {
    while (performance.now() < endsAtMs) {
      signal.throwIfAborted();
      const free = PARALLEL_ATTEMPTS[target.kind] - running.size;
      if (free > 0) {
        const receiver = await loadReceiver(deps, target);
        if (receiver === undefined) break;
        for (const delivery of await listStartable(deps, target, running, free)) {
          const attempted = attempt(deps, target, receiver, delivery, signal).then(
            () => void running.delete(delivery.id),
          );
          attempted.catch(() => undefined); // It stays among the running, where it is heard of.
          running.set(delivery.id, attempted);
        }
        if (running.size === 0) break;
      }
      await anyOf(running.values(), LOOK_AGAIN_MS);
    }
    await Promise.all(running.values());
  } finally {
    await Promise.allSettled(running.values());
  }
  return rest(deps, target);
}

/** What is due and not under way, at most `free`. */
async function listStartable(
  deps: WebhookDeps,
  target: TargetRow,
  running: ReadonlyMap<string, unknown>,
  free: number,
): Promise<DeliveryRow[]> {
  // As it was before the question: what ends meanwhile may still be in the answer.
  const before = new Set(running.keys());
  const due = await listDue(deps.db, target.id, target.kind, PARALLEL_ATTEMPTS[target.kind]);
  return due.filter((delivery) => !before.has(delivery.id)).slice(0, free);
}

/** Resolves with the first that does, or after that long; rejects with the first that does. */
async function anyOf(attempts: Iterable<Promise<void>>, ms: number): Promise<void> {
  const over = new AbortController();
  const later = sleep(ms, undefined, { signal: over.signal }).catch(() => undefined);
  try {
    await Promise.race([later, ...attempts]);
  } finally {
    over.abort();
  }
}

/** (D) */
async function rest(deps: WebhookDeps, target: TargetRow): Promise<DrainOutcome> {
  return transact<DrainOutcome>(deps, async (unit) => {
    const locked = await lockTarget(unit.trx, target);
    if (locked === undefined) return { kind: 'over' };
    const canSend = (await loadReceiver({ ...deps, db: unit.trx }, target)) !== undefined;
    const dueInMs = canSend ? await readNextDue(unit.trx, target.id, target.kind) : undefined;
    if (dueInMs === 0) return { kind: 'more' };
    await setDrain(unit.trx, target.id, dueInMs === undefined ? 'idle' : 'sleeping');
    return dueInMs === undefined
      ? { kind: 'over' }
      : { kind: 'sleep', ms: Math.max(MIN_SLEEP_MS, Math.ceil(dueInMs)) };
  });
}

async function attempt(
  deps: WebhookDeps,
  target: TargetRow,
  receiver: Receiver,
  delivery: DeliveryRow,
  signal: AbortSignal,
): Promise<void> {
  const at = new Date();
  const body = await receiver.bodyOf(delivery); // A
  const id = `msg_${delivery.replayOf ?? delivery.id}`;
  const answer = await deps.webhookUrls.request({
    url: receiver.url,
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'user-agent': 'Steelthread-Webhooks/1',
      ...signatureHeaders({ id, at, body }, receiver.keys),
      ...(receiver.bearerToken !== null && { authorization: `Bearer ${receiver.bearerToken}` }),
    },
    body,
    timeoutMs: ATTEMPT_TIMEOUT_MS,
    signal,
  });
  // The round is given up: whoever makes the next one makes this attempt.
  if (answer.kind === 'failed' && answer.code === 'aborted') return;
  const verdict = judgeAnswer(answer, {
    attempt: delivery.attempts + 1,
    isCallback: target.kind === 'callback',
    isOver: delivery.giveUpAt.getTime() <= at.getTime(),
  });
  await transact(deps, async (unit) => {
    // F
    const webhook = target.kind === 'subscription' ? await lockWebhook(unit.trx, target.id) : undefined;
    const isRecorded = await recordAttempt(unit.trx, delivery, outcomeOf(at, answer, verdict)); // B
    if (isRecorded && webhook !== undefined) await noteReceiver(unit, webhook, verdict);
  });
  deps.log.debug({
    event: 'webhook_attempt',
    deliveryId: delivery.id,
    targetId: target.id,
    verdict: verdict.kind,
    ...(answer.kind === 'answered' ? { status: answer.status } : { code: answer.code }),
  });
}

function outcomeOf(at: Date, answer: OutboundAnswer, verdict: Verdict): AttemptOutcome {
  const isAnswered = answer.kind === 'answered';
  return {
    at,
    durationMs: answer.kind === 'refused' ? 0 : answer.durationMs,
    status: isAnswered ? answer.status : null,
    errorCode: verdict.kind === 'taken' ? null : isAnswered ? 'not_taken' : answer.code,
    error: isAnswered ? null : answer.message,
    response: isAnswered ? keptText(answer.body) : null,
    state: verdict.kind === 'taken' ? 'delivered' : verdict.kind === 'never' ? 'failed' : 'pending',
    retryAfterMs: verdict.kind === 'later' ? verdict.delayMs : 0,
  };
}

/** A subscription whose receiver is gone, or has taken nothing for days, is disabled. */
async function noteReceiver(unit: Unit, webhook: WebhookRow, verdict: Verdict): Promise<void> {
  const { id: webhookId, name, failingSince } = webhook;
  if (verdict.kind === 'taken') {
    if (failingSince !== null) await setFailing(unit.trx, webhookId, null);
    return;
  }
  if (failingSince === null) await setFailing(unit.trx, webhookId, new Date());
  const isGone = verdict.kind === 'never' && verdict.isGone;
  const failingMs = failingSince === null ? 0 : Date.now() - failingSince.getTime();
  if (webhook.state !== 'active' || (!isGone && failingMs < PATIENCE_MS)) return;
  const reason = isGone ? 'gone' : 'failing';
  await updateWebhook(unit.trx, webhookId, { state: 'disabled', stateReason: reason });
  await cancelPending(unit.trx, webhookId);
  unit.emit('webhook.disabled', { data: { webhookId, name, reason } });
  unit.audit(engineActor, {
    action: 'webhook.disable',
    targetKind: 'webhook',
    targetId: webhookId,
    details: { reason },
  });
}
