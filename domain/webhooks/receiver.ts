/** Where a target's deliveries go, and how they are signed. */
import type { Queryable } from '../../db/database.ts';
import { findTask } from '../../db/tasks.ts';
import { type DeliveryRow, fixBody } from '../../db/webhook-deliveries.ts';
import type { TargetRow } from '../../db/webhook-targets.ts';
import { findWebhook } from '../../db/webhooks.ts';
import type { SecretBox } from '../secret-box.ts';
import { callbackTokenName } from '../tasks/task-secrets.ts';
import { callbackBody } from './callback.ts';
import { webhookBearerName, webhookSecretName } from './deps.ts';
import { keyOfSecret, keyOfToken } from './sign.ts';
import { isStillSigning } from './store.ts';

export interface Receiver {
  url: string;
  bearerToken: string | null;
  /** Keys that sign, the present one first. */
  keys: Buffer[];
  /** What is sent, the same at every attempt. */
  bodyOf(delivery: DeliveryRow): Promise<string>;
}

interface ReceiverDeps {
  db: Queryable;
  secrets: SecretBox;
}

/** @returns undefined when nothing is to be sent now: paused, disabled, deleted, or the callback was taken away */
export function loadReceiver(
  deps: ReceiverDeps,
  target: Pick<TargetRow, 'id' | 'kind'>,
): Promise<Receiver | undefined> {
  return target.kind === 'callback' ? loadCallback(deps, target.id) : loadSubscription(deps, target.id);
}

async function loadSubscription({ db, secrets }: ReceiverDeps, id: string): Promise<Receiver | undefined> {
  const webhook = await findWebhook(db, id);
  if (webhook?.state !== 'active') return undefined;
  const name = webhookSecretName(id);
  const { sealedPreviousSecret: previous, sealedBearerToken: bearer } = webhook;
  const sealed = [webhook.sealedSecret, ...(previous !== null && isStillSigning(webhook) ? [previous] : [])];
  return {
    url: webhook.url,
    bearerToken: bearer === null ? null : secrets.open(webhookBearerName(id), bearer),
    keys: sealed.flatMap((text) => secrets.open(name, text).split(' ')).map(keyOfSecret),
    bodyOf: async ({ body }) => body ?? '{}',
  };
}

async function loadCallback({ db, secrets }: ReceiverDeps, taskId: string): Promise<Receiver | undefined> {
  const task = await findTask(db, taskId);
  if (task === undefined || task.callbackUrl === null) return undefined;
  const { sealedCallbackToken } = task;
  const token =
    sealedCallbackToken === null ? null : secrets.open(callbackTokenName(taskId), sealedCallbackToken);
  return {
    url: task.callbackUrl,
    bearerToken: token,
    keys: token === null ? [] : [keyOfToken(token)],
    bodyOf: async (delivery) =>
      delivery.body ?? fixBody(db, delivery.id, JSON.stringify(await callbackBody(db, task, delivery))),
  };
}
