/** Subscriptions to events, and what was delivered to them, as the house API speaks of them. */
import { z } from 'zod';
import { eventTypes } from './events.ts';
import { actorRefSchema, bearerTokenSchema, pageOf, pageQuery, timeSchema } from './shared.ts';

export const MAX_WEBHOOKS = 100;
export const MAX_WEBHOOK_NAME_LENGTH = 100;
export const MAX_WEBHOOK_URL_LENGTH = 2_048;
/** Attempts go on for this long, hours; a last one is made when it is over. */
export const WEBHOOK_RETRY_HOURS = 24;
/** After a rotation the earlier secret signs too for this long, hours. */
export const PREVIOUS_SECRET_HOURS = 24;
/** A webhook that took nothing for this long is disabled, days. */
export const WEBHOOK_PATIENCE_DAYS = 5;
/** Deliveries that have ended are kept this long, days. */
export const WEBHOOK_DELIVERY_RETENTION_DAYS = 30;
/** How much of an answer is kept, bytes. */
export const MAX_KEPT_RESPONSE_BYTES = 1_024;
/** Deliveries that one request may send again. */
export const MAX_REPLAYED = 1_000;

/** `task.*`, `alert.*` … for every prefix that events have. */
export const eventTypeGroups = [...new Set(eventTypes.map((type) => `${type.split('.')[0]}.*`))];

/** What one may subscribe to: an event, all with a prefix, or all. */
export const subscribableTypes = ['*', ...eventTypeGroups, ...eventTypes] as const;

/** The type of a delivery that is no event's. */
export const TEST_DELIVERY_TYPE = 'webhook.test';

/** 24 to 64 bytes in base64 after `whsec_`, as Standard Webhooks has it. */
export const webhookSecretSchema = z
  .string()
  .regex(/^whsec_(?:[A-Za-z0-9+/]{4}){8,21}(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, {
    message: 'must be whsec_ and 24 to 64 bytes in base64',
  });

const writable = {
  name: z.string().trim().min(1).max(MAX_WEBHOOK_NAME_LENGTH),
  url: z
    .string()
    .min(1)
    .max(MAX_WEBHOOK_URL_LENGTH)
    .meta({ description: 'http or https. Public, or listed in WEBHOOK_URL_ALLOW' }),
  eventTypes: z
    .array(z.enum(subscribableTypes as unknown as [string, ...string[]]))
    .min(1)
    .max(eventTypes.length)
    .meta({ description: 'Events it is told of; `task.*` and the like, `*` for all' }),
};

export const createWebhookBodySchema = z.strictObject({
  ...writable,
  secret: webhookSecretSchema
    .optional()
    .meta({ description: 'Signs what is sent. One is made when absent, and shown in the answer' }),
  bearerToken: bearerTokenSchema.optional().meta({ description: 'Sent as Authorization; never shown again' }),
});
export type CreateWebhookBody = z.infer<typeof createWebhookBodySchema>;

export const updateWebhookBodySchema = z.strictObject({
  name: writable.name.optional(),
  url: writable.url.optional(),
  eventTypes: writable.eventTypes.optional(),
  bearerToken: bearerTokenSchema.nullable().optional().meta({ description: 'Null: no longer any' }),
  state: z.enum(['active', 'paused']).optional().meta({
    description:
      'While it is paused, events pass it by and nothing is sent; what was pending goes on when it is active again',
  }),
});
export type UpdateWebhookBody = z.infer<typeof updateWebhookBodySchema>;

export const webhookSchema = z
  .object({
    id: z.uuid(),
    name: z.string(),
    url: z.string(),
    eventTypes: z.array(z.string()),
    hasBearerToken: z.boolean(),
    state: z.enum(['active', 'paused', 'disabled']),
    stateReason: z
      .string()
      .nullable()
      .meta({ description: '`gone`: it answered 410. `failing`: it took nothing for days' }),
    failingSince: timeSchema.nullable(),
    previousSecretUntil: timeSchema
      .nullable()
      .meta({ description: 'Until then the earlier secret signs too' }),
    pending: z.int().meta({ description: 'Deliveries that are still to be made' }),
    createdBy: actorRefSchema,
    createdAt: timeSchema,
    updatedAt: timeSchema,
  })
  .meta({ id: 'Webhook' });
export type WebhookView = z.infer<typeof webhookSchema>;

export const webhookWithSecretSchema = webhookSchema
  .extend({ secret: z.string().meta({ description: 'Shown only here' }) })
  .meta({ id: 'WebhookWithSecret' });

export const deliveryStates = ['pending', 'delivered', 'failed', 'canceled'] as const;
export type DeliveryState = (typeof deliveryStates)[number];

export const webhookDeliverySchema = z
  .object({
    id: z
      .uuid()
      .meta({ description: 'Also its `webhook-id`, with `msg_` before it; of a replay it is `replayOf`' }),
    type: z.string(),
    state: z.enum(deliveryStates),
    attempts: z.int(),
    nextAttemptAt: timeSchema.nullable(),
    giveUpAt: timeSchema,
    status: z.int().nullable().meta({ description: 'HTTP status of the last answer' }),
    errorCode: z.string().nullable().meta({ description: 'Why the last attempt has no good answer' }),
    replayOf: z.uuid().nullable(),
    createdAt: timeSchema,
    endedAt: timeSchema.nullable(),
  })
  .meta({ id: 'WebhookDelivery' });
export type WebhookDeliveryView = z.infer<typeof webhookDeliverySchema>;

export const webhookAttemptSchema = z.object({
  attempt: z.int(),
  at: timeSchema,
  durationMs: z.int(),
  status: z.int().nullable(),
  errorCode: z.string().nullable(),
  error: z.string().nullable(),
  response: z
    .string()
    .nullable()
    .meta({
      description: `The first ${MAX_KEPT_RESPONSE_BYTES} bytes of the answer; of a callback only for who sees webhooks`,
    }),
});

export const webhookDeliveryDetailSchema = webhookDeliverySchema
  .extend({
    body: z
      .string()
      .nullable()
      .meta({ description: 'As it is sent; null before the first attempt of a callback' }),
    log: z.array(webhookAttemptSchema),
  })
  .meta({ id: 'WebhookDeliveryDetail' });
export type WebhookDeliveryDetail = z.infer<typeof webhookDeliveryDetailSchema>;

export const deliveryListQuerySchema = z.strictObject({
  ...pageQuery,
  state: z.enum(deliveryStates).optional(),
});
export type DeliveryListQuery = z.infer<typeof deliveryListQuerySchema>;

export const replayBodySchema = z.strictObject({
  state: z.enum(['failed', 'delivered', 'canceled']).default('failed'),
  since: timeSchema.meta({ description: 'Deliveries that came to be then or later' }),
  until: timeSchema.optional(),
});
export type ReplayBody = z.infer<typeof replayBodySchema>;

export const replayedSchema = z.object({
  replayed: z.int().meta({ description: 'How many are sent again' }),
  hasMore: z.boolean().meta({ description: `There are more than ${MAX_REPLAYED}` }),
});

export const webhookPageSchema = pageOf(webhookSchema);
export const deliveryPageSchema = pageOf(webhookDeliverySchema);

/** What is posted to a subscription. */
export const webhookEventBodySchema = z
  .object({
    type: z.string(),
    timestamp: timeSchema.meta({ description: 'When it happened' }),
    data: z.object({
      eventId: z.int(),
      taskId: z.string().nullable(),
      commandId: z.string().nullable(),
      batchId: z.string().nullable(),
      agentId: z.string().nullable(),
      details: z.record(z.string(), z.unknown()),
    }),
  })
  .meta({ id: 'WebhookEvent' });
export type WebhookEventBody = z.infer<typeof webhookEventBodySchema>;

/** What is posted to the `callback_url` of a task whenever its status changes. */
export const taskCallbackBodySchema = z
  .object({
    id: z.string(),
    status: z.string(),
    parent_task_id: z.string().nullable(),
    last_output: z.string().optional(),
    last_exit_code: z.int().optional(),
  })
  .meta({ id: 'TaskCallback' });
export type TaskCallbackBody = z.infer<typeof taskCallbackBodySchema>;
