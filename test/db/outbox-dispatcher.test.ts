import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { createDatabase, type Db, query } from '../../db/database.ts';
import type { OutboxEntry, OutboxRow } from '../../db/outbox.ts';
import { createOutboxStore } from '../../db/outbox-store.ts';
import { createTemporalClient, type TemporalClient } from '../../temporal/connection.ts';
import { createOutboxDispatcher, type OutboxDispatcher } from '../../temporal/dispatcher.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { insertOutbox } from '../support/rows.ts';
import { TEMPORAL_NAMESPACE, temporalAddress, uniqueTaskQueue } from '../support/temporal.ts';
import { createRoad, type Road } from '../worker/road.ts';
import { until } from '../workflows/scripted-worker.ts';

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined };

let database: TestDatabase;
let db: Db;
let road: Road;
let temporal: TemporalClient;
let dispatcher: OutboxDispatcher;
let started: unknown[];

beforeEach(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 4, applicationName: 'outbox-test' });
  road = await createRoad(temporalAddress());
  temporal = createTemporalClient({ address: road.address, namespace: TEMPORAL_NAMESPACE, log: silent });
  started = [];
  const store = createOutboxStore(db);
  dispatcher = createOutboxDispatcher({
    outbox: {
      ...store,
      removeStart(id, facts) {
        started.push(facts);
        return store.removeStart(id, facts);
      },
    },
    temporal,
    taskQueue: uniqueTaskQueue(),
    log: silent,
  });
  await until('Temporal is ready', async () => temporal.ready());
});

afterEach(async () => {
  await temporal.close();
  await road.block();
  await db.destroy();
  await database.drop();
});

function startRow(taskId: string, title = 'a title'): OutboxEntry {
  const input = {
    taskId,
    runNo: 1,
    mode: 'supervised',
    maxSteps: 25,
    deadlineAtMs: Date.now() + 3_600_000,
    approvalTimeoutMs: 60_000,
  };
  return { workflowId: taskWorkflowId(taskId, 1), kind: 'start_task', payload: { input, title } };
}

const signalRow = (taskId: string, step: number): OutboxEntry => ({
  workflowId: taskWorkflowId(taskId, 1),
  kind: 'signal',
  payload: { name: 'decided', arg: { step, then: 'again', batchId: null } },
});

const insert = (...entries: OutboxEntry[]): Promise<OutboxRow[]> => insertOutbox(db, entries);

const countRows = async (): Promise<number> =>
  (await query<{ count: number }>(db, 'select count(*) as count from outbox'))[0]?.count ?? -1;

/** Steps of the `decided` signals in the workflow's history, in order. */
async function heardSteps(taskId: string): Promise<number[]> {
  const { events } = await temporal.client().workflow.getHandle(taskWorkflowId(taskId, 1)).fetchHistory();
  return (events ?? []).flatMap((event) => {
    const data = event.workflowExecutionSignaledEventAttributes?.input?.payloads?.[0]?.data;
    return data ? [(JSON.parse(Buffer.from(data).toString()) as { step: number }).step] : [];
  });
}

describe('delivery right after the commit', () => {
  it('starts the workflow once, with its title, and tells the namespace', async () => {
    const taskId = randomUUID();
    const rows = await insert(startRow(taskId, 'ü'.repeat(300)));
    expect(await dispatcher.deliver(rows)).toBe(1);
    expect(await countRows()).toBe(0);
    expect(started).toEqual([{ taskId, namespaceId: await temporal.namespaceId() }]);
    const described = await temporal.client().workflow.getHandle(taskWorkflowId(taskId, 1)).describe();
    const summary = (await described.staticSummary()) ?? '';
    expect(summary).toMatch(/^ü+…$/);
    expect(Buffer.byteLength(summary)).toBeLessThanOrEqual(200);
  });

  it('and the drainer at the same time is harmless', async () => {
    const taskId = randomUUID();
    const rows = await insert(startRow(taskId));
    await Promise.all([dispatcher.deliver(rows), dispatcher.drain(), dispatcher.drain()]);
    expect(await countRows()).toBe(0);
    const again = await insert(startRow(taskId), signalRow(taskId, 1));
    expect(await dispatcher.deliver(again)).toBe(2); // already started is success
    expect(await heardSteps(taskId)).toEqual([1]);
  });

  it('has its time before the drainer takes the row, and gives up what it could not deliver', async () => {
    const [fresh, unheard] = [randomUUID(), randomUUID()];
    const young = { minAgeMs: 60_000 };
    const rows = await insert(startRow(fresh), signalRow(unheard, 1));
    expect(await dispatcher.drain(undefined, young)).toBe(0);
    expect(await dispatcher.deliver(rows.filter((row) => row.kind === 'signal'))).toBe(0);
    expect(await dispatcher.drain(undefined, young)).toBe(1); // the signal, to nobody
    expect(await countRows()).toBe(1);
    expect(await dispatcher.drain()).toBe(1);
  });

  it('leaves a row whose workflow has an older one waiting', async () => {
    const taskId = randomUUID();
    await insert(startRow(taskId));
    const later = await insert(signalRow(taskId, 1));
    expect(await dispatcher.deliver(later)).toBe(0);
    expect(await countRows()).toBe(2);
    expect(await dispatcher.drain()).toBe(2);
    expect(await heardSteps(taskId)).toEqual([1]);
  });
});

describe('with Temporal away', () => {
  it('rows stay, requests do not wait, and all is delivered in order when it is back', async () => {
    const taskId = randomUUID();
    await road.block();
    const rows = await insert(startRow(taskId), signalRow(taskId, 1));
    await dispatcher.deliver(rows);
    await until('it is noticed', async () => !temporal.ready());
    const startedAt = performance.now();
    for (let step = 2; step <= 5; step++) await dispatcher.deliver(await insert(signalRow(taskId, step)));
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    expect(await dispatcher.drain()).toBe(0);
    expect(await countRows()).toBe(6);

    await road.open();
    await until('Temporal is back', async () => temporal.ready());
    await until('all is delivered', async () => {
      await dispatcher.drain();
      return (await countRows()) === 0;
    });
    expect(await heardSteps(taskId)).toEqual([1, 2, 3, 4, 5]);
  });
});

describe('a row that cannot be delivered', () => {
  it('is dropped when it is a signal to a workflow that is gone', async () => {
    await insert(signalRow(randomUUID(), 1));
    await dispatcher.drain();
    expect(await countRows()).toBe(0);
  });

  it('is tried again later and holds up nobody else', async () => {
    const other = randomUUID();
    await insert(
      { workflowId: '', kind: 'start_task', payload: { input: {}, title: 'no id' } },
      startRow(other),
    );
    expect(await dispatcher.drain()).toBe(1);
    const [row] = await query<{ attempts: number; last_error: string; is_later: boolean }>(
      db,
      'select attempts, last_error, next_attempt_at > now() as is_later from outbox',
    );
    expect(row).toMatchObject({ attempts: 1, is_later: true });
    expect(row?.last_error).not.toBe('');
  });
});
