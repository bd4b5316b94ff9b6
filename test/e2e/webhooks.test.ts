/** Webhooks on the whole system: events and callbacks reach a receiver. */
import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { TaskView } from '../../contracts/tasks.ts';
import type { TaskCallbackBody, WebhookDeliveryView, WebhookEventBody } from '../../contracts/webhooks.ts';
import { type System, startSystem } from '../support/system.ts';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts';

let system: System;
let receiver: WebhookReceiver;

beforeAll(async () => {
  system = await startSystem({ env: { WEBHOOK_URL_ALLOW: '127.0.0.1' } });
  await system.startAgent({ agentId: 'hooked' });
});
afterAll(() => system.close());
beforeEach(async () => {
  receiver = await startWebhookReceiver();
});
afterEach(() => receiver.close());

interface Created {
  id: string;
  secret: string;
}
const subscribe = (eventTypes: string[]) =>
  system.call<Created>('POST', '/v1/webhooks', { name: 'hook', url: receiver.url, eventTypes });
const accepted = () => receiver.accepted<WebhookEventBody>();
const untilAccepted = (isEnough: (bodies: WebhookEventBody[]) => boolean, what: string) =>
  system.until(async () => accepted(), isEnough, what, 40_000);
const typesOf = (taskId: string) =>
  accepted()
    .filter(({ data }) => data.taskId === taskId)
    .map(({ type }) => type);

/** Made and canceled at once. */
async function makeTask(wish: object = {}): Promise<string> {
  const task = await system.call<TaskView>('POST', '/v1/tasks', {
    goal: 'echo hello',
    mode: 'manual',
    ...wish,
  });
  return task.id;
}

describe('a subscription', () => {
  it('hears of a task and its approval, each event once, signed', async () => {
    const { id, secret } = await subscribe(['task.*']);
    const taskId = await makeTask({ mode: 'supervised', target: { agentId: 'hooked' } });
    const proposed = await system.untilTask(taskId, ({ state }) => state === 'awaiting_decision');
    expect(proposed.state).toBe('awaiting_decision');
    await system.call('POST', `/v1/tasks/${taskId}/cancel`, {});
    await untilAccepted(() => typesOf(taskId).includes('task.canceled'), 'the task is told of');
    expect(typesOf(taskId)).toEqual(
      expect.arrayContaining(['task.created', 'task.proposed', 'task.canceled']),
    );
    for (const { body, headers } of receiver.taken)
      new Webhook(secret).verify(body, headers as Record<string, string>);
    expect(new Set(accepted().map(({ data }) => data.eventId)).size).toBe(receiver.taken.length);
    await system.call('DELETE', `/v1/webhooks/${id}`);
  });

  it('can be tried, and what was sent can be sent again', async () => {
    const { id, secret } = await subscribe(['task.created']);
    const test = await system.call<WebhookDeliveryView>('POST', `/v1/webhooks/${id}/test`);
    await untilAccepted((bodies) => bodies.length === 1, 'the test');
    expect(accepted()[0]).toMatchObject({ type: 'webhook.test', data: { details: { webhookId: id } } });
    const path = `/v1/webhooks/${id}/deliveries/${test.id}`;
    await system.until(
      () => system.call<WebhookDeliveryView>('GET', path),
      ({ state }) => state === 'delivered',
    );
    await system.call('POST', `${path}/replay`);
    await untilAccepted((bodies) => bodies.length === 2, 'the replay');
    const [first, second] = receiver.taken;
    expect(second?.headers['webhook-id']).toBe(first?.headers['webhook-id']);
    expect(second?.body).toBe(first?.body);
    new Webhook(secret).verify(second?.body ?? '', second?.headers as Record<string, string>);
    await system.call('DELETE', `/v1/webhooks/${id}`);
  });

  it('goes on when the worker was away', async () => {
    const { id } = await subscribe(['task.created']);
    await system.worker?.close();
    const taskId = await makeTask();
    await system.startWorker();
    await untilAccepted(() => typesOf(taskId).length === 1, 'told by the next worker');
    await system.call('DELETE', `/v1/webhooks/${id}`);
  });
});

describe('a callback', () => {
  it('tells the whole way of a task, in order, with the outcome of its command', async () => {
    const command = 'echo told; exit 0';
    const taskId = await makeTask({
      mode: 'auto',
      goal: `run \`${command}\``,
      preApproved: [command],
      target: { agentId: 'hooked' },
      callbackUrl: receiver.url,
      callbackToken: 'the-callback-token',
    });
    await system.untilTask(taskId, ({ state }) => state === 'completed');
    const bodies = await system.until(
      async () => receiver.accepted<TaskCallbackBody>(),
      (found) => found.at(-1)?.status === 'completed',
      'the end is told',
    );
    expect(bodies[0]).toEqual({ id: taskId, status: 'proposing', parent_task_id: null });
    expect(bodies.map(({ status }) => status)).toContain('in_progress');
    expect(bodies.at(-1)).toEqual({
      id: taskId,
      status: 'completed',
      parent_task_id: null,
      last_output: 'told\n',
      last_exit_code: 0,
    });
    for (const { headers, body } of receiver.taken) {
      expect(headers.authorization).toBe('Bearer the-callback-token');
      new Webhook('the-callback-token', { format: 'raw' }).verify(body, headers as Record<string, string>);
    }
    const { items } = await system.call<{ items: WebhookDeliveryView[] }>(
      'GET',
      `/v1/tasks/${taskId}/callbacks`,
    );
    expect(items).toHaveLength(bodies.length);
    const [last] = items;
    const path = `/v1/tasks/${taskId}/callbacks/${last?.id}`;
    await system.until(
      () => system.call<WebhookDeliveryView>('GET', path),
      ({ state }) => state === 'delivered',
      'the end is in the log',
    );
    expect(await system.request('POST', `${path}/replay`)).toMatchObject({
      status: 202,
      body: { replayOf: last?.id },
    });
    await system.until(
      async () => receiver.taken.length,
      (count) => count === bodies.length + 1,
      'the end is told again',
    );
    const [told, again] = receiver.taken.slice(-2);
    expect(again?.body).toBe(told?.body);
    expect(again?.headers['webhook-id']).toBe(told?.headers['webhook-id']);
    new Webhook('the-callback-token', { format: 'raw' }).verify(
      again?.body ?? '',
      again?.headers as Record<string, string>,
    );
    expect(JSON.stringify(await system.call('GET', `/v1/tasks/${taskId}`))).not.toContain(
      'the-callback-token',
    );
  });
});

describe('the routes', () => {
  it('show secrets once, and refuse what may not be called', async () => {
    const made = await system.request<Created>('POST', '/v1/webhooks', {
      name: 'hook',
      url: receiver.url,
      eventTypes: ['alert.*', 'task.decided'],
      bearerToken: 'hidden-bearer',
    });
    expect(made).toMatchObject({ status: 201, body: { state: 'active', hasBearerToken: true } });
    const { id, secret } = made.body;
    expect(secret).toMatch(/^whsec_/);
    const shown = JSON.stringify([
      await system.call('GET', `/v1/webhooks/${id}`),
      await system.call('GET', '/v1/webhooks'),
      await system.call('PATCH', `/v1/webhooks/${id}`, { name: 'renamed', bearerToken: null }),
    ]);
    expect(shown).not.toContain(secret);
    expect(shown).not.toContain('hidden-bearer');
    expect(shown).toContain('renamed');
    const rotated = await system.call<Created>('POST', `/v1/webhooks/${id}/rotate-secret`);
    expect(rotated.secret).not.toBe(secret);
    for (const url of ['http://169.254.169.254/', 'http://[::1]/', 'ftp://x/', 'http://a:b@example.com/']) {
      for (const [method, path] of [
        ['POST', '/v1/webhooks'],
        ['PATCH', `/v1/webhooks/${id}`],
      ] as const) {
        const body = method === 'POST' ? { name: 'x', url, eventTypes: ['*'] } : { url };
        expect(await system.request(method, path, body), url).toMatchObject({
          status: 422,
          body: { code: 'webhook_url_refused' },
        });
      }
      expect(await system.request('POST', '/v1/tasks', { goal: 'x', callbackUrl: url })).toMatchObject({
        status: 422,
        body: { code: 'webhook_url_refused' },
      });
    }
    for (const wish of [{ eventTypes: ['no.such'] }, { eventTypes: [] }, { secret: 'short' }, { more: 1 }])
      expect(
        (
          await system.request('POST', '/v1/webhooks', {
            name: 'x',
            url: receiver.url,
            eventTypes: ['*'],
            ...wish,
          })
        ).status,
      ).toBe(422);
    await system.call('DELETE', `/v1/webhooks/${id}`);
    expect(await system.request('GET', `/v1/webhooks/${id}`)).toMatchObject({
      status: 404,
      body: { code: 'webhook_not_found' },
    });
  });

  it('page, and answer an Idempotency-Key once', async () => {
    const body = { name: 'keyed', url: receiver.url, eventTypes: ['*'] };
    const headers = { 'idempotency-key': 'make-one' };
    const made = await system.request<Created>('POST', '/v1/webhooks', body, { headers });
    expect(made.status).toBe(201);
    expect((await system.request('POST', '/v1/webhooks', body, { headers })).status).toBe(409);
    const other = await subscribe(['agent.*']);
    const page = await system.call<{ items: { id: string }[]; nextCursor: string }>(
      'GET',
      '/v1/webhooks?limit=1',
    );
    expect(page.items.map(({ id }) => id)).toEqual([other.id]);
    const rest = await system.call<{ items: { id: string }[] }>(
      'GET',
      `/v1/webhooks?limit=1&cursor=${page.nextCursor}`,
    );
    expect(rest.items.map(({ id }) => id)).toEqual([made.body.id]);
    await system.call('PATCH', `/v1/webhooks/${other.id}`, { state: 'paused' });
    expect((await system.request('POST', `/v1/webhooks/${other.id}/test`)).status).toBe(409);
    for (const id of [other.id, made.body.id]) await system.call('DELETE', `/v1/webhooks/${id}`);
  });
});
