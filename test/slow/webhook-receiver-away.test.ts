/** A webhook whose receiver was away: what it missed comes when the pause between attempts is over. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import type { TaskView } from '../../contracts/tasks.ts';
import type { WebhookDeliveryView, WebhookEventBody } from '../../contracts/webhooks.ts';
import { type System, startSystem } from '../support/system.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts';

let system: System;
let receiver: WebhookReceiver;

beforeAll(async () => {
  system = await startSystem({ env: { WEBHOOK_URL_ALLOW: '127.0.0.1' } });
});
afterAll(() => system.close());
beforeEach(async () => {
  receiver = await startWebhookReceiver();
});
afterEach(() => receiver.close());

const accepted = () => receiver.accepted<WebhookEventBody>();
const typesOf = (taskId: string) =>
  accepted()
    .filter(({ data }) => data.taskId === taskId)
    .map(({ type }) => type);
const makeTask = async (): Promise<string> =>
  (await system.call<TaskView>('POST', '/v1/tasks', { goal: 'echo hello', mode: 'manual' })).id;

it('gets each event once after the receiver was away', async () => {
  const { id } = await system.call<{ id: string }>('POST', '/v1/webhooks', {
    name: 'hook',
    url: receiver.url,
    eventTypes: ['task.created', 'task.canceled'],
  });
  receiver.answer(503);
  const tasks = [await makeTask(), await makeTask(), await makeTask()];
  for (const taskId of tasks) await system.call('POST', `/v1/tasks/${taskId}/cancel`, {});
  await system.until(
    async () => receiver.taken.length,
    (count) => count >= 6,
    'first attempts',
  );
  receiver.answer(204);
  await system.until(
    async () => accepted(),
    (bodies) => bodies.length >= 6,
    'all six',
    40_000,
  );
  for (const taskId of tasks) expect(typesOf(taskId).sort()).toEqual(['task.canceled', 'task.created']);
  const log = await system.until(
    () =>
      system.call<{ items: WebhookDeliveryView[] }>('GET', `/v1/webhooks/${id}/deliveries?state=delivered`),
    ({ items }) => items.length === 6,
    'the log',
  );
  expect(log.items.every(({ attempts }) => attempts >= 2)).toBe(true);
  expect(accepted()).toHaveLength(6);
  await system.call('DELETE', `/v1/webhooks/${id}`);
});
