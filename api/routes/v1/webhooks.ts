import {
  createWebhookRoute,
  deleteWebhookRoute,
  getTaskCallbackRoute,
  getWebhookDeliveryRoute,
  getWebhookRoute,
  listTaskCallbacksRoute,
  listWebhookDeliveriesRoute,
  listWebhooksRoute,
  replayTaskCallbackRoute,
  replayWebhookDeliveryRoute,
  replayWebhookRoute,
  rotateWebhookSecretRoute,
  testWebhookRoute,
  updateWebhookRoute,
} from '../../../contracts/webhook-routes.ts';
import {
  getWebhookDelivery,
  listWebhookDeliveries,
  replayDelivery,
  replayMany,
  testWebhook,
} from '../../../domain/webhooks/deliveries.ts';
import type { WebhookDeps } from '../../../domain/webhooks/deps.ts';
import {
  changeWebhook,
  createWebhook,
  getWebhook,
  listWebhookPage,
  removeWebhook,
  rotateWebhookSecret,
} from '../../../domain/webhooks/store.ts';
import {
  getTaskCallback,
  listTaskCallbacks,
  replayTaskCallback,
} from '../../../domain/webhooks/task-callbacks.ts';
import { type MountedRoute, mount } from '../../mount.ts';

/** `/v1/webhooks`, and the callbacks of a task. */
export function webhookRoutes(deps: WebhookDeps): MountedRoute[] {
  return [
    mount(listWebhooksRoute, async (request) => ({
      status: 200,
      body: await listWebhookPage(deps, request, request.query),
    })),
    mount(createWebhookRoute, async (request) => {
      const webhook = await createWebhook(deps, request, request.body, request.idempotencyKey);
      return { status: 201, headers: { Location: `/v1/webhooks/${webhook.id}` }, body: webhook };
    }),
    mount(getWebhookRoute, async (request) => ({
      status: 200,
      body: await getWebhook(deps, request, request.params.webhookId),
    })),
    mount(updateWebhookRoute, async (request) => ({
      status: 200,
      body: await changeWebhook(deps, request, request.params.webhookId, request.body),
    })),
    mount(deleteWebhookRoute, async (request) => {
      await removeWebhook(deps, request, request.params.webhookId);
      return { status: 204 };
    }),
    mount(rotateWebhookSecretRoute, async (request) => ({
      status: 200,
      body: await rotateWebhookSecret(deps, request, request.params.webhookId, request.idempotencyKey),
    })),
    mount(testWebhookRoute, async (request) => ({
      status: 202,
      body: await testWebhook(deps, request, request.params.webhookId, request.idempotencyKey),
    })),
    mount(replayWebhookRoute, async (request) => {
      const { webhookId } = request.params;
      return {
        status: 202,
        body: await replayMany(deps, request, webhookId, request.body, request.idempotencyKey),
      };
    }),
    ...deliveryRoutes(deps),
  ];
}

const deliveryRoutes = (deps: WebhookDeps): MountedRoute[] => [
  mount(listWebhookDeliveriesRoute, async (request) => ({
    status: 200,
    body: await listWebhookDeliveries(deps, request, request.params.webhookId, request.query),
  })),
  mount(getWebhookDeliveryRoute, async (request) => {
    const { webhookId, deliveryId } = request.params;
    return { status: 200, body: await getWebhookDelivery(deps, request, webhookId, deliveryId) };
  }),
  mount(replayWebhookDeliveryRoute, async (request) => {
    const { webhookId, deliveryId } = request.params;
    const body = await replayDelivery(deps, request, webhookId, deliveryId, request.idempotencyKey);
    return { status: 202, body };
  }),
  mount(listTaskCallbacksRoute, async (request) => ({
    status: 200,
    body: await listTaskCallbacks(deps, request, request.params.taskId, request.query),
  })),
  mount(getTaskCallbackRoute, async (request) => {
    const { taskId, deliveryId } = request.params;
    return { status: 200, body: await getTaskCallback(deps, request, taskId, deliveryId) };
  }),
  mount(replayTaskCallbackRoute, async (request) => {
    const { taskId, deliveryId } = request.params;
    const body = await replayTaskCallback(deps, request, taskId, deliveryId, request.idempotencyKey);
    return { status: 202, body };
  }),
];
