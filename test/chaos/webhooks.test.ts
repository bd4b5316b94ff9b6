/** kill -9 of the worker at every step of a webhook's way: what was to be told is told, under the same `webhook-id`. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { TaskView } from '../../contracts/tasks.ts';
import type {
  TaskCallbackBody,
  WebhookDeliveryDetail,
  WebhookDeliveryView,
  WebhookEventBody,
} from '../../contracts/webhooks.ts';
import { inTransaction, query, queryOne } from '../../db/database.ts';
import { createInstallation, type Installation, type Part } from '../support/installation.ts';
import { withTemporal } from '../support/temporal.ts';
import { type Gate, openGate } from './gate.ts';

interface Taken {
  headers: IncomingHttpHeaders;
  body: string;
  isAnswered: boolean;
}

/** A receiver that reads every request, and answers only while it is not told to hold. */
interface HoldingReceiver {
  url: string;
  taken: Taken[];
  hold(): void;
  /** From now on every request is answered; those that are open stay open. */
  letGo(): void;
  /** Answer those that are open. */
  answerOpen(): void;
  close(): Promise<void>;
}

async function startReceiver(): Promise<HoldingReceiver> {
  const taken: Taken[] = [];
  const open: (() => void)[] = [];
  let isHolding = false;
  const answer = (request: Taken, response: ServerResponse): void => {
    request.isAnswered = true;
    response.writeHead(204).end();
  };
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const seen = { headers: request.headers, body: Buffer.concat(chunks).toString(), isAnswered: false };
    if (isHolding) open.push(() => answer(seen, response));
    else answer(seen, response);
    taken.push(seen);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    taken,
    hold() {
      isHolding = true;
    },
    letGo() {
      isHolding = false;
    },
    answerOpen() {
      for (const reply of open.splice(0)) reply();
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

let installation: Installation;
let worker: Part;
/** Between the worker and Temporal. */
let gate: Gate;
let receiver: HoldingReceiver;

beforeAll(async () => {
  let temporalPort = 0;
  gate = await openGate(() => temporalPort);
  installation = await createInstallation({
    env: { WEBHOOK_URL_ALLOW: '127.0.0.1' },
    workerEnv: { TEMPORAL_ADDRESS: gate.address },
  });
  temporalPort = Number(installation.temporalAddress.split(':').at(-1));
  await installation.startApi();
  worker = await installation.startWorker();
});
afterAll(async () => {
  gate?.release();
  await installation?.close();
  await gate?.close();
});
beforeEach(async () => {
  receiver = await startReceiver();
});
afterEach(async () => {
  gate.release();
  await worker.start();
  await receiver.close();
});

interface Subscription {
  id: string;
  secret: string;
}
const subscribe = () =>
  installation.call<Subscription>('POST', '/v1/webhooks', {
    name: 'hook',
    url: receiver.url,
    eventTypes: ['task.created'],
  });
const makeTask = async (wish: object = {}): Promise<string> =>
  (await installation.call<TaskView>('POST', '/v1/tasks', { goal: 'x', mode: 'manual', ...wish })).id;

const idsOf = (taken: readonly Taken[]) => taken.map(({ headers }) => String(headers['webhook-id']));
const untilTaken = (isEnough: (taken: Taken[]) => boolean, what: string) =>
  installation.until(async () => receiver.taken, isEnough, what);
const killAndStart = async () => {
  await worker.kill();
  receiver.letGo();
  gate.release();
  await worker.start();
};

const logOf = async (path: string): Promise<WebhookDeliveryView[]> =>
  (await installation.call<{ items: WebhookDeliveryView[] }>('GET', path)).items;
const untilDelivered = (path: string, count: number) =>
  installation.until(
    () => logOf(path),
    (items) => items.length === count && items.every(({ state }) => state === 'delivered'),
    `${count} deliveries in the log`,
  );

/** Each of these tasks was told of, under one id of its own, with valid signatures; the log holds one delivery for each. */
async function expectAllTold({ id, secret }: Subscription, taskIds: readonly string[]): Promise<void> {
  const log = await untilDelivered(`/v1/webhooks/${id}/deliveries`, taskIds.length);
  const idOfTask = new Map<string, Set<string>>();
  for (const { body, headers } of receiver.taken) {
    new Webhook(secret).verify(body, headers as Record<string, string>);
    const told = (JSON.parse(body) as WebhookEventBody).data.taskId ?? '';
    idOfTask.set(told, (idOfTask.get(told) ?? new Set()).add(String(headers['webhook-id'])));
  }
  expect([...idOfTask.keys()].sort()).toEqual([...taskIds].sort());
  const ids = [...idOfTask.values()].flatMap((each) => [...each]);
  expect(ids.sort()).toEqual(log.map((delivery) => `msg_${delivery.id}`).sort());
}

describe('kill -9 of the worker', () => {
  test('while the receiver has the request and has not answered', async () => {
    const hook = await subscribe();
    receiver.hold();
    const taskIds = [await makeTask()];
    const [open] = await untilTaken((taken) => taken.length > 0, 'a request that is held open');
    const heldId = String(open?.headers['webhook-id']);
    // These wait for their turn meanwhile.
    taskIds.push(await makeTask(), await makeTask());
    await installation.until(
      () => logOf(`/v1/webhooks/${hook.id}/deliveries`),
      (items) => items.length === 3,
      'three deliveries',
    );
    await killAndStart();
    await untilTaken((taken) => idsOf(answered(taken)).includes(heldId), 'it comes again');
    await expectAllTold(hook, taskIds);
    const path = `/v1/webhooks/${hook.id}/deliveries/${heldId.replace('msg_', '')}`;
    const detail = await installation.call<WebhookDeliveryDetail>('GET', path);
    expect(detail.log.at(-1)).toMatchObject({ attempt: detail.attempts, status: 204, errorCode: null });
    const sent = receiver.taken.filter(({ headers }) => headers['webhook-id'] === heldId);
    expect(new Set(sent.map(({ body }) => body))).toEqual(new Set([detail.body]));
    // The attempt that was open at the kill is in no log: nobody is left who could tell how it ended.
    expect(sent.length).toBeGreaterThan(1);
    expect(sent.length).toBeGreaterThanOrEqual(detail.log.length);
    await installation.call('DELETE', `/v1/webhooks/${hook.id}`);
  });

  test('after the receiver has taken it, before that is on record', async () => {
    const hook = await subscribe();
    receiver.hold();
    const taskId = await makeTask();
    await untilTaken((taken) => taken.length === 1, 'the request');
    await inTransaction(installation.db, async (trx) => {
      // The record waits for this row.
      await query(trx, 'select 1 from webhooks where id = :id for update', { id: hook.id });
      receiver.answerOpen();
      await installation.until(
        () =>
          query(
            installation.db,
            `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
          ),
        (rows) => rows.length > 0,
        'the record waits',
      );
      await worker.kill();
    });
    receiver.letGo();
    await worker.start();
    const taken = await untilTaken((all) => answered(all).length === 2, 'it comes again');
    expect(new Set(idsOf(taken)).size).toBe(1);
    await expectAllTold(hook, [taskId]);
    expect(await logOf(`/v1/webhooks/${hook.id}/deliveries`)).toMatchObject([{ attempts: 1, status: 204 }]);
    await installation.call('DELETE', `/v1/webhooks/${hook.id}`);
  });

  test('before anything was made of the event', async () => {
    const hook = await subscribe();
    await worker.kill();
    const taskIds = [await makeTask(), await makeTask()];
    expect(await logOf(`/v1/webhooks/${hook.id}/deliveries`)).toEqual([]);
    await worker.start();
    await expectAllTold(hook, taskIds);
    expect(receiver.taken).toHaveLength(2);
    await installation.call('DELETE', `/v1/webhooks/${hook.id}`);
  });

  test('when the deliveries are committed and Temporal has not heard of them', async () => {
    const hook = await subscribe();
    gate.hold('up');
    const taskIds = [await makeTask()];
    await untilRung(hook.id);
    await killAndStart();
    await expectAllTold(hook, taskIds);
    expect(receiver.taken).toHaveLength(1);
    await installation.call('DELETE', `/v1/webhooks/${hook.id}`);
  });

  test('when Temporal has begun the workflow and no worker its first round', async () => {
    const hook = await subscribe();
    gate.hold('down');
    const taskIds = [await makeTask()];
    await installation.until(
      () =>
        withTemporal(async (client) => {
          const { status } = await client.workflow.getHandle(`webhook/${hook.id}/1`).describe();
          return status.name;
        }),
      (status) => status === 'RUNNING',
      'the workflow at Temporal',
    );
    expect(receiver.taken).toEqual([]);
    await killAndStart();
    await expectAllTold(hook, taskIds);
    await installation.call('DELETE', `/v1/webhooks/${hook.id}`);
  });

  test('while the receiver has the callback of a task: it comes again, and what follows comes after it', async () => {
    receiver.hold();
    const token = 'the-callback-token';
    const taskId = await makeTask({ callbackUrl: receiver.url, callbackToken: token });
    const { agentId } = await installation.startAgent({ start: false });
    await installation.call('POST', `/v1/tasks/${taskId}/assign`, { agentId });
    await untilTaken((taken) => taken.length === 1, 'the first callback');
    await installation.call('POST', `/v1/tasks/${taskId}/cancel`, {});
    await killAndStart();
    const taken = await untilTaken(
      (all) => answered(all).some(({ body }) => body.includes('cancelled')),
      'the end',
    );
    const [first, second] = idsOf(taken);
    expect(second).toBe(first);
    expect(taken[1]?.body).toBe(taken[0]?.body);
    const statuses = answered(taken).map(({ body }) => (JSON.parse(body) as TaskCallbackBody).status);
    expect(statuses[0]).toBe('assigned');
    expect(statuses.at(-1)).toBe('cancelled');
    for (const { body, headers } of taken)
      new Webhook(token, { format: 'raw' }).verify(body, headers as Record<string, string>);
    const log = await untilDelivered(`/v1/tasks/${taskId}/callbacks`, statuses.length);
    expect(log.map(({ id }) => `msg_${id}`).sort()).toEqual([...new Set(idsOf(taken))].sort());
  });
});

const answered = (taken: readonly Taken[]) => taken.filter(({ isAnswered }) => isAnswered);

/** The bell is in the outbox, where it stays while Temporal is out of reach. */
const untilRung = (targetId: string) =>
  installation.until(
    () =>
      queryOne(installation.db, `select 1 from outbox where kind = 'start_webhook' and workflow_id = :id`, {
        id: `webhook/${targetId}/1`,
      }),
    (row) => row !== undefined,
    'the bell in the outbox',
  );
