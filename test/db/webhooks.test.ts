/** Webhooks against real rows and a real receiver: which events become deliveries, who is rung for, what is sent. */
import { createHash, createHmac } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createTaskBodySchema } from '../../contracts/tasks.ts';
import type { CreateWebhookBody } from '../../contracts/webhooks.ts';
import { createDatabase, type Db, inTransaction, query, queryOne } from '../../db/database.ts';
import { updateTask } from '../../db/tasks.ts';
import { cancelPending, deleteOldDeliveries, listDeliveriesSql } from '../../db/webhook-deliveries.ts';
import { deleteEmptyCallbacks } from '../../db/webhook-targets.ts';
import { listWebhooksSql, lockWebhook, updateWebhook } from '../../db/webhooks.ts';
import { type Actor, engineActor } from '../../domain/deps.ts';
import { resealSecrets } from '../../domain/reseal-secrets.ts';
import { createSecretBox } from '../../domain/secret-box.ts';
import { createTask } from '../../domain/tasks/create.ts';
import { drainTarget } from '../../domain/webhooks/deliver.ts';
import {
  getWebhookDelivery,
  listWebhookDeliveries,
  replayDelivery,
  replayMany,
} from '../../domain/webhooks/deliveries.ts';
import type { WebhookDeps } from '../../domain/webhooks/deps.ts';
import { feedWebhooks, freeLostTargets, ringTargets, takeEvents } from '../../domain/webhooks/feed.ts';
import {
  changeWebhook,
  createWebhook,
  getWebhook,
  removeWebhook,
  rotateWebhookSecret,
} from '../../domain/webhooks/store.ts';
import {
  getTaskCallback,
  listTaskCallbacks,
  replayTaskCallback,
} from '../../domain/webhooks/task-callbacks.ts';
import { createOutbound } from '../../outbound/outbound.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { insertEvents } from '../support/rows.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts';
import { createTestDomain } from '../worker/deps.ts';

const admin: Actor = {
  principal: { kind: 'user', id: 'admin-1', name: 'ada', roles: ['admin'], sessionId: null },
  address: null,
  requestId: null,
};
const keyOf = (word: string) => createHash('sha256').update(word).digest('base64url');
const never = new AbortController().signal;

let database: TestDatabase;
let db: Db;
let deps: WebhookDeps;
let receiver: WebhookReceiver;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 6, applicationName: 'webhooks-test' });
  deps = {
    ...createTestDomain(db),
    secrets: createSecretBox([keyOf('first')]),
    webhookUrls: createOutbound({
      allow: ['127.0.0.1'],
      allowsPublic: true,
      listName: 'WEBHOOK_URL_ALLOW',
    }),
  };
});
afterAll(async () => {
  await db.destroy();
  await database.drop();
});
beforeEach(async () => {
  receiver = await startWebhookReceiver();
});
afterEach(async () => {
  await receiver.close();
  await db.raw(
    'truncate webhooks, webhook_targets, webhook_deliveries, webhook_attempts, outbox, events, tasks cascade',
  );
});

const subscribe = (body: Partial<CreateWebhookBody> = {}) =>
  createWebhook(deps, admin, { name: 'hook', url: receiver.url, eventTypes: ['*'], ...body }, null);

const emit = (...types: string[]) =>
  insertEvents(
    db,
    types.map((type) => ({ type }) as never),
  );

/**
 * What was emitted is below the horizon: it lies behind every open transaction of the server, those of other databases
 * included, and other tests have some.
 */
async function allSettled(): Promise<void> {
  const isOpen =
    'select exists (select 1 from events where xid >= pg_snapshot_xmin(pg_current_snapshot())) as is_open';
  while ((await queryOne<{ is_open: boolean }>(db, isOpen))?.is_open) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** One round over all that was emitted. */
async function feed(): Promise<number> {
  await allSettled();
  return feedWebhooks(deps, never);
}

const deliveriesOf = (targetId: string) =>
  query<{ type: string; state: string; attempts: number }>(
    db,
    'select event_type as type, state, attempts from webhook_deliveries where target_id = :id order by seq',
    { id: targetId },
  );
const typesOf = async (targetId: string) => (await deliveriesOf(targetId)).map(({ type }) => type);
const bells = () =>
  query<{ kind: string; workflowId: string }>(
    db,
    'select kind, workflow_id as "workflowId" from outbox order by id',
  );
const targetOf = (id: string) =>
  queryOne<{ drain: string; runNo: number; hasNews: boolean }>(
    db,
    'select drain, run_no as "runNo", has_news as "hasNews" from webhook_targets where id = :id',
    { id },
  );
const hurry = () => db.raw("update webhook_deliveries set next_attempt_at = now() where state = 'pending'");
const drain = (targetId: string, runNo = 1) => drainTarget(deps, { targetId, runNo }, never);

describe('the feed', () => {
  it('takes what a subscription wants, in order, once', async () => {
    const all = await subscribe();
    const tasks = await subscribe({ eventTypes: ['task.*', 'agent.online'] });
    await emit('task.created', 'command.sent', 'agent.online', 'task.completed');
    expect(await feed()).toBe(4 + 3 + 2);
    expect(await typesOf(all.id)).toEqual(['task.created', 'command.sent', 'agent.online', 'task.completed']);
    expect(await typesOf(tasks.id)).toEqual(['task.created', 'agent.online', 'task.completed']);
    expect(await feed()).toBe(0);
  });

  it('takes each once although many take at the same time', async () => {
    const { id } = await subscribe();
    for (let round = 0; round < 5; round++) {
      await Promise.all([
        emit(...Array.from({ length: 40 }, () => 'task.updated')),
        ...Array.from({ length: 4 }, () => feedWebhooks(deps, never)),
      ]);
    }
    await feed();
    expect(await typesOf(id)).toHaveLength(200);
    expect((await bells()).filter(({ kind }) => kind === 'start_webhook')).toHaveLength(1);
  });

  it('loses none that commits late, with a lower id than those before', async () => {
    const { id } = await subscribe();
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let isInserted = () => {};
    const inserted = new Promise<void>((resolve) => {
      isInserted = resolve;
    });
    const late = inTransaction(db, async (trx) => {
      await insertEvents(trx, [{ type: 'task.failed' }]);
      isInserted();
      await held;
    });
    await inserted;
    await emit('task.completed');
    await feedWebhooks(deps, never);
    // Behind the open transaction nothing is taken yet.
    expect(await typesOf(id)).toEqual([]);
    release();
    await late;
    await feed();
    expect((await typesOf(id)).sort()).toEqual(['task.completed', 'task.failed']);
  });

  it('tells of what is committed after the subscription, although its transaction began before', async () => {
    await emit('task.created');
    let isInserted = () => {};
    const inserted = new Promise<void>((resolve) => {
      isInserted = resolve;
    });
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const early = inTransaction(db, async (trx) => {
      await insertEvents(trx, [{ type: 'task.failed' }]);
      isInserted();
      await held;
    });
    await inserted;
    const { id } = await subscribe();
    release();
    await early;
    await feed();
    expect(await typesOf(id)).toEqual(['task.failed']);
  });

  it('adds nothing to a webhook that is disabled meanwhile', async () => {
    const [gone, stays] = [await subscribe(), await subscribe()];
    await emit('task.created');
    await allSettled();
    let fed: ReturnType<typeof takeEvents> | undefined;
    await inTransaction(db, async (trx) => {
      await lockWebhook(trx, gone.id);
      await updateWebhook(trx, gone.id, { state: 'disabled', stateReason: 'gone' });
      await cancelPending(trx, gone.id);
      fed = takeEvents(deps);
      let isFed = false;
      void fed.finally(() => {
        isFed = true;
      });
      // It has found the webhook active, whether or not it waits to hear what becomes of that.
      await vi.waitFor(async () => {
        const waits = await query(
          db,
          `select pid from pg_stat_activity
           where application_name = 'webhooks-test' and wait_event_type = 'Lock'`,
        );
        expect(isFed || waits.length > 0).toBe(true);
      }, 10_000);
    });
    expect(await fed).toMatchObject({ deliveries: 1 });
    expect(await typesOf(gone.id)).toEqual([]);
    expect(await typesOf(stays.id)).toEqual(['task.created']);
  });

  it('goes through a long backlog in pages', async () => {
    const { id } = await subscribe({ eventTypes: ['task.created'] });
    for (let page = 0; page < 3; page++)
      await emit(...Array.from({ length: 400 }, (_, n) => (n === 0 ? 'task.created' : 'task.updated')));
    await allSettled();
    expect(await takeEvents(deps)).toMatchObject({ isMore: true });
    await feed();
    expect(await typesOf(id)).toHaveLength(3);
  });

  it('passes by what happens while it is paused, and goes on afterwards', async () => {
    const { id } = await subscribe();
    await emit('task.created');
    await feed();
    await changeWebhook(deps, admin, id, { state: 'paused' });
    await emit('task.updated');
    await feed();
    expect(await drain(id)).toEqual({ kind: 'over' });
    expect(receiver.taken).toHaveLength(0);
    await changeWebhook(deps, admin, id, { state: 'active' });
    await emit('task.completed');
    await feed();
    expect(await typesOf(id)).toEqual(['task.created', 'task.completed']);
    await drain(id, 2);
    expect(
      receiver
        .accepted<{ type: string }>()
        .map(({ type }) => type)
        .sort(),
    ).toEqual(['task.completed', 'task.created']);
  });

  it('costs one query and no row where nobody subscribes', async () => {
    await emit('task.created', 'task.updated');
    const before = await queryOne(db, 'select xid, id from webhook_cursor');
    expect(await feed()).toBe(0);
    expect(await queryOne(db, 'select xid, id from webhook_cursor')).toEqual(before);
    expect(await bells()).toEqual([]);
  });
});

describe('the bell', () => {
  it('starts a workflow, wakes a sleeping one, and leaves a working one alone', async () => {
    const { id } = await subscribe();
    await emit('task.created');
    await feed();
    await emit('task.updated');
    await feed();
    expect(await bells()).toEqual([{ kind: 'start_webhook', workflowId: `webhook/${id}/1` }]);
    receiver.answer(503);
    expect(await drain(id)).toMatchObject({ kind: 'sleep' });
    expect(await targetOf(id)).toMatchObject({ drain: 'sleeping', runNo: 1 });
    await emit('task.completed');
    await feed();
    expect((await bells()).at(-1)).toEqual({ kind: 'signal', workflowId: `webhook/${id}/1` });
    receiver.answer(204);
    await hurry();
    expect(await drain(id)).toEqual({ kind: 'over' });
    expect(await targetOf(id)).toMatchObject({ drain: 'idle', hasNews: false });
    await emit('task.archived');
    await feed();
    expect((await bells()).at(-1)).toEqual({ kind: 'start_webhook', workflowId: `webhook/${id}/2` });
    // A workflow of an earlier number has nothing to say any more.
    expect(await drain(id, 1)).toEqual({ kind: 'over' });
    expect(receiver.accepted()).toHaveLength(3);
  });

  it('is rung again for what a lost workflow left', async () => {
    const { id } = await subscribe();
    await emit('task.created');
    await feed();
    expect(await freeLostTargets(deps)).toBe(0);
    await db.raw(`update webhook_targets set active_at = now() - interval '1 hour'`);
    await db.raw(`update webhook_deliveries set next_attempt_at = now() - interval '1 hour'`);
    expect(await freeLostTargets(deps)).toBe(1);
    expect(await ringTargets(deps)).toBe(1);
    expect((await bells()).at(-1)).toEqual({ kind: 'start_webhook', workflowId: `webhook/${id}/2` });
  });
});

describe('a delivery', () => {
  it('carries the event, its signatures and the bearer token', async () => {
    const { id, secret } = await subscribe({ bearerToken: 'let-me-in' });
    await insertEvents(db, [
      { type: 'alert.opened' as never, agentId: 'a1', data: { severity: 'critical' } },
    ]);
    await feed();
    await drain(id);
    const [taken] = receiver.taken;
    if (taken === undefined) throw new Error('nothing came');
    expect(new Webhook(secret).verify(taken.body, taken.headers as Record<string, string>)).toMatchObject({
      type: 'alert.opened',
      data: { agentId: 'a1', taskId: null, details: { severity: 'critical' } },
    });
    expect(taken.headers).toMatchObject({
      authorization: 'Bearer let-me-in',
      'content-type': 'application/json',
    });
    expect(() =>
      new Webhook(secret).verify(`${taken.body} `, taken.headers as Record<string, string>),
    ).toThrow();
    const { secret: next } = await rotateWebhookSecret(deps, admin, id, null);
    await emit('task.created');
    await feed();
    await drain(id, 2);
    const rotated = receiver.taken[1];
    for (const key of [secret, next])
      new Webhook(key).verify(rotated?.body ?? '', (rotated?.headers ?? {}) as Record<string, string>);
    await db.raw(`update webhooks set previous_until = now() - interval '1 second'`);
    await emit('task.created');
    await feed();
    await drain(id, 3);
    expect(String(receiver.taken[2]?.headers['webhook-signature']).split(' ')).toHaveLength(1);
  });

  it('is signed by every secret of the last day: a rotation that is made again breaks no receiver', async () => {
    const { id, secret } = await subscribe();
    const secrets = [secret];
    for (let times = 0; times < 2; times++)
      secrets.push((await rotateWebhookSecret(deps, admin, id, null)).secret);
    await emit('task.created');
    await feed();
    await drain(id);
    const [taken] = receiver.taken;
    for (const key of secrets)
      new Webhook(key).verify(taken?.body ?? '', (taken?.headers ?? {}) as Record<string, string>);
    await db.raw(`update webhooks set previous_until = now() - interval '1 second'`);
    secrets.push((await rotateWebhookSecret(deps, admin, id, null)).secret);
    await emit('task.created');
    await feed();
    await drain(id, 2);
    const signatures = String(receiver.taken[1]?.headers['webhook-signature']).split(' ');
    expect(signatures).toHaveLength(2);
    for (const key of secrets.slice(-2))
      new Webhook(key).verify(
        receiver.taken[1]?.body ?? '',
        (receiver.taken[1]?.headers ?? {}) as Record<string, string>,
      );
  });

  it('is made again with the same bytes and id until it is taken, then never', async () => {
    const { id } = await subscribe();
    receiver.answer(500);
    await emit('task.created');
    await feed();
    for (let round = 0; round < 3; round++) {
      await hurry();
      expect(await drain(id)).toMatchObject({ kind: 'sleep' });
    }
    receiver.answer(200);
    await hurry();
    expect(await drain(id)).toEqual({ kind: 'over' });
    expect(await drain(id)).toEqual({ kind: 'over' });
    expect(receiver.taken).toHaveLength(4);
    expect(new Set(receiver.taken.map(({ body }) => body)).size).toBe(1);
    expect(new Set(receiver.taken.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(receiver.accepted()).toHaveLength(1);
    const [delivery] = (await listWebhookDeliveries(deps, admin, id, { limit: 50 })).items;
    expect(delivery).toMatchObject({ state: 'delivered', attempts: 4, status: 200, errorCode: null });
    const detail = await getWebhookDelivery(deps, admin, id, delivery?.id ?? '');
    expect(detail.log.map(({ status }) => status)).toEqual([500, 500, 500, 200]);
    expect(detail.log[0]).toMatchObject({ errorCode: 'not_taken', response: 'not now\ufffd' });
  });

  it('gives up after its time with a last attempt', async () => {
    const { id } = await subscribe();
    receiver.answer(500);
    await emit('task.created');
    await feed();
    await drain(id);
    await db.raw(`update webhook_deliveries set next_attempt_at = now(), give_up_at = now()`);
    expect(await drain(id)).toEqual({ kind: 'over' });
    expect(await deliveriesOf(id)).toEqual([{ type: 'task.created', state: 'failed', attempts: 2 }]);
  });

  it('gives up by the clock of the database: one that is behind it makes no attempt more', async () => {
    const { id } = await subscribe();
    receiver.answer(500);
    await emit('task.created');
    await feed();
    await db.raw(`update webhook_deliveries set next_attempt_at = now(), give_up_at = now()`);
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 60_000 });
    try {
      expect(await drain(id)).toEqual({ kind: 'over' });
    } finally {
      vi.useRealTimers();
    }
    expect(await deliveriesOf(id)).toEqual([{ type: 'task.created', state: 'failed', attempts: 1 }]);
  });

  it('is not sent to what the guard refuses', async () => {
    const { id } = await subscribe();
    await db.raw(`update webhooks set url = 'http://10.0.0.1/'`);
    await emit('task.created');
    await feed();
    expect(await drain(id)).toEqual({ kind: 'over' });
    const [delivery] = (await listWebhookDeliveries(deps, admin, id, { limit: 50 })).items;
    expect(delivery).toMatchObject({ state: 'failed', errorCode: 'address_not_allowed', attempts: 1 });
  });

  it('disables a webhook that is gone, or has taken nothing for days', async () => {
    for (const [status, reason] of [
      [410, 'gone'],
      [500, 'failing'],
    ] as const) {
      const { id } = await subscribe({ name: reason });
      receiver.answer(status);
      if (reason === 'failing') await db.raw(`update webhooks set failing_since = now() - interval '6 days'`);
      await emit('task.created', 'task.updated');
      await feed();
      expect(await drain(id)).toEqual({ kind: 'over' });
      expect(await getWebhook(deps, admin, id)).toMatchObject({
        state: 'disabled',
        stateReason: reason,
        pending: 0,
      });
      const told = await query(db, `select 1 from events where type = 'webhook.disabled'`);
      expect(told).toHaveLength(1);
      await removeWebhook(deps, admin, id);
      await db.raw('truncate events');
    }
  });

  it('is recorded once when two rounds make it at the same time', async () => {
    const { id } = await subscribe();
    await emit('task.created');
    await feed();
    await Promise.all([drain(id), drain(id)]);
    expect(await deliveriesOf(id)).toEqual([{ type: 'task.created', state: 'delivered', attempts: 1 }]);
    expect(new Set(receiver.taken.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  });

  it('goes on beside one that the receiver holds, with what comes meanwhile too, each once', async () => {
    const { id } = await subscribe();
    let release = (): void => undefined;
    const held = new Promise<number>((resolve) => {
      release = () => resolve(204);
    });
    receiver.answer(({ body }) => (body.includes('task.created') ? held : 204));
    await emit('task.created', ...Array.from({ length: 9 }, () => 'task.updated'));
    await feed();
    const round = drain(id);
    await expect.poll(() => receiver.taken.length, { timeout: 20_000 }).toBe(9);
    await emit('task.completed');
    await feed();
    await expect.poll(() => receiver.taken.length, { timeout: 20_000 }).toBe(10);
    release();
    await round;
    expect(receiver.taken).toHaveLength(11);
    expect((await deliveriesOf(id)).map(({ state, attempts }) => `${state} ${attempts}`)).toEqual(
      Array.from({ length: 11 }, () => 'delivered 1'),
    );
  });

  it('is sent again on request, under the same id', async () => {
    const { id } = await subscribe();
    receiver.answer(410);
    await emit('task.created', 'task.updated');
    await feed();
    await drain(id);
    receiver.answer(200);
    await changeWebhook(deps, admin, id, { state: 'active' });
    const since = new Date(Date.now() - 60_000).toISOString();
    const [first] = (await listWebhookDeliveries(deps, admin, id, { limit: 50, state: 'failed' })).items;
    const again = await replayDelivery(deps, admin, id, first?.id ?? '', 'key-1');
    expect(await replayDelivery(deps, admin, id, first?.id ?? '', 'key-1')).toEqual(again);
    expect(again).toMatchObject({ replayOf: first?.id, state: 'pending', attempts: 0 });
    await ringTargets(deps);
    await drain(id, 2);
    expect(receiver.taken.at(-1)?.headers['webhook-id']).toBe(`msg_${first?.id}`);
    const failed = (await listWebhookDeliveries(deps, admin, id, { limit: 50, state: 'failed' })).items;
    expect(await replayMany(deps, admin, id, { state: 'failed', since }, null)).toEqual({
      replayed: failed.length,
      hasMore: false,
    });
  });
});

describe('the callback of a task', () => {
  const make = async (token?: string) => {
    const body = createTaskBodySchema.parse({
      goal: 'x',
      mode: 'manual',
      callbackUrl: receiver.url,
      ...(token === undefined ? {} : { callbackToken: token }),
    });
    const { task } = await createTask(deps, admin, body, { idempotencyKey: null, publicId: 'sub-1' });
    const row = await queryOne<{ id: string }>(db, `select id from tasks where public_id = 'sub-1'`);
    return { task, id: row?.id ?? '' };
  };

  it('tells of every change of its status, in order, whatever changes it', async () => {
    const { id } = await make('callback-token');
    for (const state of ['proposing', 'awaiting_decision', 'running', 'proposing', 'completed'] as const)
      await updateTask(db, id, { state });
    await feed();
    expect(await bells()).toContainEqual({ kind: 'start_webhook', workflowId: `webhook/${id}/1` });
    receiver.answer(({ body }) => (body.includes('in_progress') && receiver.taken.length < 3 ? 500 : 204));
    while ((await drain(id)).kind !== 'over') await hurry();
    expect(receiver.accepted()).toEqual(
      ['proposing', 'in_progress', 'proposing', 'completed'].map((status) => ({
        id: 'sub-1',
        status,
        parent_task_id: null,
      })),
    );
    expect(receiver.taken).toHaveLength(6);
    const [taken] = receiver.taken;
    expect(taken?.headers.authorization).toBe('Bearer callback-token');
    const signed = `${taken?.headers['webhook-id']}.${taken?.headers['webhook-timestamp']}.${taken?.body}`;
    const expected = createHmac('sha256', 'callback-token').update(signed).digest('base64');
    expect(taken?.headers['webhook-signature']).toBe(`v1,${expected}`);
    new Webhook('callback-token', { format: 'raw' }).verify(
      taken?.body ?? '',
      taken?.headers as Record<string, string>,
    );
    expect((await listTaskCallbacks(deps, admin, 'sub-1', { limit: 50 })).items).toHaveLength(4);
  });

  it('that waits for one before it is nothing that a lost workflow left', async () => {
    const { id } = await make();
    await updateTask(db, id, { state: 'proposing' });
    await updateTask(db, id, { state: 'running' });
    await feed();
    receiver.answer(500);
    expect(await drain(id)).toMatchObject({ kind: 'sleep' });
    const shift = (seq: 'min' | 'max', minutes: number) =>
      db.raw(
        `update webhook_deliveries set next_attempt_at = now() + make_interval(mins => ${minutes})
         where seq = (select ${seq}(seq) from webhook_deliveries)`,
      );
    await db.raw(`update webhook_targets set active_at = now() - interval '1 hour'`);
    await shift('min', 30);
    await shift('max', -60);
    expect(await freeLostTargets(deps)).toBe(0);
    await shift('min', -30);
    expect(await freeLostTargets(deps)).toBe(1);
  });

  it('goes unsigned without a token, and goes on behind what is never taken', async () => {
    const { id } = await make();
    await updateTask(db, id, { state: 'running' });
    await updateTask(db, id, { state: 'failed' });
    await feed();
    receiver.answer(({ body }) => (body.includes('in_progress') ? 422 : 204));
    expect(await drain(id)).toEqual({ kind: 'over' });
    expect(receiver.taken.map(({ status }) => status)).toEqual([422, 204]);
    expect(receiver.taken[1]?.headers).not.toHaveProperty('webhook-signature');
    expect(receiver.taken[1]?.headers).not.toHaveProperty('authorization');
  });

  it('is told again on request: the same bytes and id, signed anew, behind what is still to be told', async () => {
    const { id } = await make('callback-token');
    await updateTask(db, id, { state: 'running' });
    await feed();
    const logOf = async () => (await listTaskCallbacks(deps, admin, 'sub-1', { limit: 50 })).items;
    const [first] = await logOf();
    const again = (deliveryId: string, key: string | null = null, actor = admin) =>
      replayTaskCallback(deps, actor, 'sub-1', deliveryId, key);
    const firstId = first?.id ?? '';
    // It is still to be made.
    await expect(again(firstId)).rejects.toMatchObject({ code: 'conflict' });
    await drain(id);
    // The next one is held up by its receiver.
    await updateTask(db, id, { state: 'completed' });
    await feed();
    receiver.answer(503);
    await drain(id, 2);
    const askedAt = Math.floor(Date.now() / 1000);
    const made = await again(firstId, 'callback-key');
    expect(made).toMatchObject({ replayOf: firstId, state: 'pending', attempts: 0, type: 'task.status' });
    expect(await again(firstId, 'callback-key')).toEqual(made);
    await expect(again(made.id, 'callback-key')).rejects.toMatchObject({ code: 'idempotency_conflict' });
    const audited = await query<{ targetId: string; details: unknown }>(
      db,
      `select target_id as "targetId", details from audit_events where action = 'task.replay_callback'
       and details ->> 'deliveryId' = :id`,
      { id: made.id },
    );
    expect(audited).toMatchObject([
      { targetId: 'sub-1', details: { deliveryId: made.id, replayOf: firstId } },
    ]);
    receiver.answer(204);
    await hurry();
    expect(await drain(id, 2)).toEqual({ kind: 'over' });
    const taken = receiver.taken.filter(({ status }) => status === 204);
    expect(taken.map(({ body }) => (JSON.parse(body) as { status: string }).status)).toEqual([
      'in_progress',
      'completed',
      'in_progress',
    ]);
    const [original, , replayed] = taken;
    expect(replayed?.body).toBe(original?.body);
    expect(replayed?.headers['webhook-id']).toBe(`msg_${firstId}`);
    expect(replayed?.headers['webhook-id']).toBe(original?.headers['webhook-id']);
    expect(Number(replayed?.headers['webhook-timestamp'])).toBeGreaterThanOrEqual(askedAt);
    new Webhook('callback-token', { format: 'raw' }).verify(
      replayed?.body ?? '',
      replayed?.headers as Record<string, string>,
    );
    expect(await getTaskCallback(deps, admin, 'sub-1', made.id)).toMatchObject({
      state: 'delivered',
      body: original?.body,
      log: [{ attempt: 1, status: 204 }],
    });
    // A replay of the replay is one of the first.
    expect(await again(made.id)).toMatchObject({ replayOf: firstId });
  });

  it('is seen and told again by whoever may change the task, and only what was its own', async () => {
    const { id } = await make();
    await updateTask(db, id, { state: 'running' });
    await feed();
    receiver.answer(422);
    await drain(id);
    const [first] = (await listTaskCallbacks(deps, admin, 'sub-1', { limit: 50 })).items;
    const firstId = first?.id ?? '';
    const as = (role: 'viewer' | 'user' | 'operator'): Actor => ({
      ...admin,
      principal: { ...admin.principal, id: `the-${role}`, name: role, roles: [role] },
    });
    // What answered may be inside the network, and whoever named it in a task may be anybody.
    const answerFor = async (actor: Actor) =>
      (await getTaskCallback(deps, actor, 'sub-1', firstId)).log.map(({ status, response }) => [
        status,
        response,
      ]);
    expect(await answerFor(admin)).toEqual([[422, 'not now\ufffd']]);
    expect(await answerFor(as('viewer'))).toEqual([[422, null]]);
    expect(await answerFor(as('operator'))).toEqual([[422, null]]);
    const outcome = (actor: Actor, taskId = 'sub-1', deliveryId = firstId) =>
      replayTaskCallback(deps, actor, taskId, deliveryId, null).then(
        ({ state }) => state,
        (error: { code: string }) => error.code,
      );
    expect(await outcome(as('viewer'))).toBe('forbidden');
    expect(await outcome(as('user'))).toBe('task_not_found');
    expect(await outcome(engineActor)).toBe('forbidden');
    expect(await outcome(admin, 'no-such')).toBe('task_not_found');
    const hook = await subscribe();
    await emit('task.updated');
    await feed();
    const [others] = (await listWebhookDeliveries(deps, admin, hook.id, { limit: 1 })).items;
    for (const deliveryId of [others?.id ?? '', crypto.randomUUID(), 'x']) {
      expect(await outcome(admin, 'sub-1', deliveryId)).toBe('webhook_delivery_not_found');
      await expect(getTaskCallback(deps, admin, 'sub-1', deliveryId)).rejects.toMatchObject({
        code: 'webhook_delivery_not_found',
      });
    }
    expect(await outcome(as('operator'))).toBe('pending');
    expect((await listTaskCallbacks(deps, admin, 'sub-1', { limit: 50 })).items).toHaveLength(2);
  });

  it('costs a task without a callback nothing', async () => {
    const body = createTaskBodySchema.parse({ goal: 'x', mode: 'manual' });
    await createTask(deps, admin, body, { idempotencyKey: null });
    await db.raw(`update tasks set state = 'running'`);
    expect(await query(db, 'select 1 from webhook_targets')).toEqual([]);
  });

  it('is refused where it could never be called', async () => {
    const body = createTaskBodySchema.parse({ goal: 'x', callbackUrl: 'http://169.254.169.254/' });
    await expect(createTask(deps, admin, body, { idempotencyKey: null })).rejects.toMatchObject({
      code: 'webhook_url_refused',
    });
  });
});

it('forgets what ended long ago, and callbacks of which nothing is left', async () => {
  const { id } = await subscribe();
  await emit('task.created');
  await feed();
  await drain(id);
  await db.raw(`insert into webhook_targets (id, kind) values (gen_random_uuid(), 'callback')`);
  expect(await deleteOldDeliveries(db, new Date(Date.now() + 60_000), 10)).toBe(1);
  expect(await deleteEmptyCallbacks(db, 10)).toBe(1);
  expect(await query(db, 'select 1 from webhook_targets')).toHaveLength(1);
});

it('puts its secrets under a new first key', async () => {
  const { id, secret } = await subscribe({ bearerToken: 'bearer' });
  await rotateWebhookSecret(deps, admin, id, null);
  const secrets = createSecretBox([keyOf('second'), keyOf('first')]);
  expect(await resealSecrets({ db, secrets, log: deps.log })).toEqual({ resealed: 3, unreadable: 0 });
  const both = { ...deps, secrets: createSecretBox([keyOf('second')]) };
  await emit('task.created');
  await feed();
  await drainTarget(both, { targetId: id, runNo: 1 }, never);
  new Webhook(secret).verify(
    receiver.taken[0]?.body ?? '',
    receiver.taken[0]?.headers as Record<string, string>,
  );
});

describe('the lists', () => {
  it('are read from indexes', async () => {
    const plan = async ({ sql, bindings }: { sql: string; bindings: Record<string, unknown> }) => {
      return inTransaction(db, async (trx) => {
        await query(trx, 'set local enable_seqscan = off');
        await query(trx, 'set local enable_sort = off');
        const rows = await query<{ 'QUERY PLAN': string }>(trx, `explain ${sql}`, bindings);
        return rows.map((row) => row['QUERY PLAN']).join('\n');
      });
    };
    const before = { at: new Date(), id: '01890000-0000-7000-8000-000000000000' };
    const targetId = before.id;
    expect(await plan(listWebhooksSql({ before, limit: 10 }))).toContain('webhooks_list_idx');
    expect(await plan(listDeliveriesSql({ targetId, state: undefined, before, limit: 10 }))).toContain(
      'webhook_deliveries_list_idx',
    );
    expect(await plan(listDeliveriesSql({ targetId, state: 'failed', before, limit: 10 }))).toContain(
      'webhook_deliveries_state_idx',
    );
  });
});

it('is for administrators', async () => {
  await expect(createWebhook(deps, engineActor, {} as never, null)).rejects.toMatchObject({
    code: 'forbidden',
  });
});
