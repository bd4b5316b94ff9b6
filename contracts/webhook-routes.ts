/** The house routes of webhooks; the shapes are in `webhooks.ts`. */
import { z } from 'zod';
import { defineRoute, empty, json } from './route.ts';
import { pageQuery } from './shared.ts';
import { taskIdSchema } from './tasks.ts';
import {
  createWebhookBodySchema,
  deliveryListQuerySchema,
  deliveryPageSchema,
  replayBodySchema,
  replayedSchema,
  updateWebhookBodySchema,
  webhookDeliveryDetailSchema,
  webhookDeliverySchema,
  webhookPageSchema,
  webhookSchema,
  webhookWithSecretSchema,
} from './webhooks.ts';

const shared = { family: 'house', tags: ['webhooks'], auth: 'user', resource: 'webhook' } as const;
const params = z.object({ webhookId: z.uuid() });
const deliveryParams = params.extend({ deliveryId: z.uuid() });

export const listWebhooksRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/webhooks',
  summary: 'List webhooks, newest first',
  rateClass: 'read',
  verb: 'list',
  query: z.strictObject(pageQuery),
  replies: { 200: webhookPageSchema },
  errors: ['invalid_cursor'],
});

export const createWebhookRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/webhooks',
  summary: 'Subscribe a URL to events',
  description:
    'Every event that is committed from now on is posted to it, signed as Standard Webhooks says. An attempt that is ' +
    'not answered 2xx is made again for up to 24 hours. The same event may come twice; its `webhook-id` is the same.',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'create',
  body: createWebhookBodySchema,
  replies: { 201: json(webhookWithSecretSchema, { headers: { Location: 'Path of the webhook' } }) },
  errors: ['webhook_url_refused', 'conflict', 'idempotency_conflict'],
});

export const getWebhookRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/webhooks/{webhookId}',
  summary: 'Read a webhook',
  rateClass: 'read',
  verb: 'read',
  params,
  replies: { 200: webhookSchema },
  errors: ['webhook_not_found'],
});

export const updateWebhookRoute = defineRoute({
  ...shared,
  method: 'PATCH',
  path: '/v1/webhooks/{webhookId}',
  summary: 'Change, pause or resume a webhook',
  rateClass: 'write',
  verb: 'update',
  params,
  body: updateWebhookBodySchema,
  replies: { 200: webhookSchema },
  errors: ['webhook_not_found', 'webhook_url_refused'],
});

export const deleteWebhookRoute = defineRoute({
  ...shared,
  method: 'DELETE',
  path: '/v1/webhooks/{webhookId}',
  summary: 'Delete a webhook, what is pending for it, and its log',
  rateClass: 'write',
  verb: 'delete',
  params,
  replies: { 204: empty() },
  errors: ['webhook_not_found'],
});

export const rotateWebhookSecretRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/webhooks/{webhookId}/rotate-secret',
  summary: 'Make a new secret; the earlier one signs too for 24 hours',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'update',
  params,
  replies: { 200: webhookWithSecretSchema },
  errors: ['webhook_not_found', 'conflict', 'idempotency_conflict'],
});

export const testWebhookRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/webhooks/{webhookId}/test',
  summary: 'Send it an event `webhook.test`',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'update',
  params,
  replies: { 202: webhookDeliverySchema },
  errors: ['webhook_not_found', 'conflict', 'idempotency_conflict'],
});

export const listWebhookDeliveriesRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/webhooks/{webhookId}/deliveries',
  summary: 'List what was sent to a webhook, newest first',
  rateClass: 'read',
  verb: 'read',
  params,
  query: deliveryListQuerySchema,
  replies: { 200: deliveryPageSchema },
  errors: ['webhook_not_found', 'invalid_cursor'],
});

export const getWebhookDeliveryRoute = defineRoute({
  ...shared,
  method: 'GET',
  path: '/v1/webhooks/{webhookId}/deliveries/{deliveryId}',
  summary: 'Read a delivery with its body and every attempt',
  rateClass: 'read',
  verb: 'read',
  params: deliveryParams,
  replies: { 200: webhookDeliveryDetailSchema },
  errors: ['webhook_not_found', 'webhook_delivery_not_found'],
});

export const replayWebhookDeliveryRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/webhooks/{webhookId}/deliveries/{deliveryId}/replay',
  summary: 'Send the same body again, under the same webhook-id',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'update',
  params: deliveryParams,
  replies: { 202: webhookDeliverySchema },
  errors: ['webhook_not_found', 'webhook_delivery_not_found', 'conflict', 'idempotency_conflict'],
});

export const replayWebhookRoute = defineRoute({
  ...shared,
  method: 'POST',
  path: '/v1/webhooks/{webhookId}/replay',
  summary: 'Send again what failed since a time',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'update',
  params,
  body: replayBodySchema,
  replies: { 202: replayedSchema },
  errors: ['webhook_not_found', 'conflict', 'idempotency_conflict'],
});

const ofTask = { family: 'house', tags: ['tasks', 'webhooks'], auth: 'user', resource: 'task' } as const;
const callbackParams = z.object({ taskId: taskIdSchema, deliveryId: z.uuid() });

export const listTaskCallbacksRoute = defineRoute({
  ...ofTask,
  method: 'GET',
  path: '/v1/tasks/{taskId}/callbacks',
  summary: 'List what was sent to the callback URL of a task, newest first',
  rateClass: 'read',
  verb: 'read',
  params: z.object({ taskId: taskIdSchema }),
  query: deliveryListQuerySchema,
  replies: { 200: deliveryPageSchema },
  errors: ['task_not_found', 'invalid_cursor'],
});

export const getTaskCallbackRoute = defineRoute({
  ...ofTask,
  method: 'GET',
  path: '/v1/tasks/{taskId}/callbacks/{deliveryId}',
  summary: 'Read a callback of a task with its body and every attempt',
  rateClass: 'read',
  verb: 'read',
  params: callbackParams,
  replies: { 200: webhookDeliveryDetailSchema },
  errors: ['task_not_found', 'webhook_delivery_not_found'],
});

export const replayTaskCallbackRoute = defineRoute({
  ...ofTask,
  method: 'POST',
  path: '/v1/tasks/{taskId}/callbacks/{deliveryId}/replay',
  summary: 'Send a callback of a task again: the same body, under the same webhook-id',
  takesIdempotencyKey: true,
  rateClass: 'write',
  verb: 'update',
  params: callbackParams,
  replies: { 202: webhookDeliverySchema },
  errors: ['task_not_found', 'webhook_delivery_not_found', 'conflict', 'idempotency_conflict'],
});
