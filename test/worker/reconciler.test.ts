import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createTaskBodySchema } from '../../contracts/tasks.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { createDatabase, type Db, queryOne } from '../../db/database.ts';
import { createOutboxStore } from '../../db/outbox-store.ts';
import { type DomainDeps, engineActor } from '../../domain/deps.ts';
import { createTask } from '../../domain/tasks/create.ts';
import { setTaskNamespace } from '../../domain/tasks/lost.ts';
import { createTemporalClient, type TemporalClient } from '../../temporal/connection.ts';
import { createOutboxDispatcher, type OutboxDispatcher } from '../../temporal/dispatcher.ts';
import { reconcileTasks } from '../../worker/duties/reconciler.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { TEMPORAL_NAMESPACE, temporalAddress, uniqueTaskQueue } from '../support/temporal.ts';
import { until } from '../workflows/scripted-worker.ts';
import { createTestDomain, silentLog } from './deps.ts';

let database: TestDatabase;
let db: Db;
let domain: DomainDeps;
let temporal: TemporalClient;
let dispatcher: OutboxDispatcher;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 4, applicationName: 'reconciler-test' });
  domain = createTestDomain(db);
  temporal = createTemporalClient({
    address: temporalAddress(),
    namespace: TEMPORAL_NAMESPACE,
    log: silentLog,
  });
  dispatcher = createOutboxDispatcher({
    outbox: createOutboxStore(db),
    temporal,
    taskQueue: uniqueTaskQueue(), // nobody polls it: workflows stay open
    log: silentLog,
  });
  await until('Temporal is ready', async () => temporal.ready());
});

afterAll(async () => {
  await temporal.close();
  await db.destroy();
  await database.drop();
});

let taskId: string;

beforeEach(async () => {
  await db.raw('truncate tasks, outbox cascade');
  const body = createTaskBodySchema.parse({ goal: 'find the largest files' });
  const { task } = await createTask(domain, engineActor, body, { idempotencyKey: null });
  taskId = task.id;
});

const readTask = () =>
  queryOne<{ state: string; reason: string | null; namespaceId: string | null }>(
    db,
    `select state, result ->> 'reason' as reason, namespace_id as "namespaceId" from tasks`,
  );

const reconcile = async (): Promise<number> => {
  await db.raw("update tasks set progress_at = now() - interval '1 hour'");
  return reconcileTasks({ domain, temporal });
};

it('leaves a task alone whose workflow is open, and one that has just moved', async () => {
  await dispatcher.drain();
  expect(await reconcileTasks({ domain, temporal })).toBe(0);
  expect(await reconcile()).toBe(0);
  expect(await readTask()).toMatchObject({ state: 'created', namespaceId: await temporal.namespaceId() });
});

it('fails a task whose workflow was terminated', async () => {
  await dispatcher.drain();
  await temporal.client().workflow.getHandle(taskWorkflowId(taskId, 1)).terminate('by an operator');
  expect(await reconcile()).toBe(1);
  expect(await readTask()).toMatchObject({ state: 'failed', reason: 'workflow_lost' });
});

it('fails a task whose workflow is unknown to its own namespace', async () => {
  await db.raw('truncate outbox');
  await setTaskNamespace(domain, { taskId, namespaceId: await temporal.namespaceId() });
  expect(await reconcile()).toBe(1);
  expect(await readTask()).toMatchObject({ state: 'failed', reason: 'workflow_lost' });
});

it('believes no other namespace', async () => {
  await db.raw('truncate outbox');
  await setTaskNamespace(domain, { taskId, namespaceId: '00000000-0000-4000-8000-000000000000' });
  expect(await reconcile()).toBe(0);
  expect(await readTask()).toMatchObject({ state: 'created' });
});

it('waits for a start that was not delivered yet', async () => {
  expect(await reconcile()).toBe(0);
  expect(await readTask()).toMatchObject({ state: 'created' });
});

it('notes the namespace of a running task where the note was lost', async () => {
  await dispatcher.drain();
  await db.raw('update tasks set namespace_id = null');
  expect(await reconcile()).toBe(0);
  expect(await readTask()).toMatchObject({ namespaceId: await temporal.namespaceId() });
});
