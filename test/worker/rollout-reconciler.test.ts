/** Rollouts whose workflow is gone: found by the same rules as tasks. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { createRolloutBodySchema } from '../../contracts/rollouts.ts';
import { rolloutWorkflowId } from '../../contracts/workflow-io.ts';
import { createDatabase, type Db, queryOne } from '../../db/database.ts';
import { createOutboxStore } from '../../db/outbox-store.ts';
import { findRolloutBatch } from '../../db/rollout-batches.ts';
import { insertUser } from '../../db/users.ts';
import type { Actor, DomainDeps } from '../../domain/deps.ts';
import { advanceRollout } from '../../domain/rollouts/advance.ts';
import { createRollout } from '../../domain/rollouts/create.ts';
import { noteRolloutNamespace } from '../../domain/rollouts/lost.ts';
import { createTemporalClient, type TemporalClient } from '../../temporal/connection.ts';
import { createOutboxDispatcher, type OutboxDispatcher } from '../../temporal/dispatcher.ts';
import { reconcileRollouts } from '../../worker/duties/rollout-reconciler.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { TEMPORAL_NAMESPACE, temporalAddress, uniqueTaskQueue } from '../support/temporal.ts';
import { until } from '../workflows/scripted-worker.ts';
import { createTestDomain, silentLog } from './deps.ts';

const operator: Actor = {
  principal: { kind: 'user', id: randomUUID(), name: 'ada', roles: ['operator'], sessionId: null },
  address: null,
  requestId: null,
};

let database: TestDatabase;
let db: Db;
let domain: DomainDeps;
let temporal: TemporalClient;
let dispatcher: OutboxDispatcher;
let rolloutId: string;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 4, applicationName: 'rollout-reconciler-test' });
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
  await insertUser(db, {
    ...{
      id: operator.principal.id,
      username: 'ada',
      canonicalName: 'ada',
      email: null,
      canonicalEmail: null,
    },
    ...{ role: 'operator', passwordHash: 'none', mustChangePassword: false },
  });
  await db('agents').insert({ id: 'a1', hostname: 'a1', shells: ['sh'], default_shell: 'sh' });
});

afterAll(async () => {
  await temporal.close();
  await db.destroy();
  await database.drop();
});

beforeEach(async () => {
  await db.raw('truncate rollouts, outbox cascade');
  const body = createRolloutBodySchema.parse({
    agents: { ids: ['a1'] },
    run: { act: { command: 'true' } },
    offline: { kind: 'queue', expiryMs: 3_600_000 },
  });
  rolloutId = (await createRollout(domain, operator, body, null)).id;
});

const read = () =>
  queryOne<{ state: string; reason: string | null; namespaceId: string | null }>(
    db,
    'select state, reason, namespace_id as "namespaceId" from rollouts',
  );
const reconcile = async (): Promise<number> => {
  await db.raw("update rollouts set progress_at = now() - interval '1 hour'");
  return reconcileRollouts({ domain, temporal });
};

it('leaves a rollout alone whose workflow is open, and one that has just moved', async () => {
  await dispatcher.drain();
  expect(await reconcileRollouts({ domain, temporal })).toBe(0);
  expect(await reconcile()).toBe(0);
  expect(await read()).toMatchObject({ state: 'created', namespaceId: await temporal.namespaceId() });
});

it('fails a rollout whose workflow was terminated, and what waits never runs', async () => {
  await dispatcher.drain();
  await advanceRollout(domain, rolloutId);
  await temporal.client().workflow.getHandle(rolloutWorkflowId(rolloutId)).terminate('by an operator');
  await dispatcher.drain();
  expect(await reconcile()).toBe(1);
  expect(await read()).toMatchObject({ state: 'failed', reason: 'workflow_lost' });
  const command = await queryOne(
    db,
    `select c.state, c.reason from commands c join rollout_targets t on t.command_id = c.command_id
     where t.rollout_id = :rolloutId`,
    { rolloutId },
  );
  expect(command).toEqual({ state: 'canceled', reason: 'workflow_lost' });
  const batch = await findRolloutBatch(db, rolloutId, 1);
  expect(batch).toMatchObject({ finishedAt: expect.any(Date), tally: { canceled: 1 } });
});

it('fails a rollout whose workflow is unknown to its own namespace, and believes no other', async () => {
  await db.raw('truncate outbox');
  await noteRolloutNamespace(domain, { rolloutId, namespaceId: '00000000-0000-4000-8000-000000000000' });
  expect(await reconcile()).toBe(0);
  await noteRolloutNamespace(domain, { rolloutId, namespaceId: await temporal.namespaceId() });
  expect(await reconcile()).toBe(1);
  expect(await read()).toMatchObject({ state: 'failed', reason: 'workflow_lost' });
});

it('waits for a start that was not delivered yet, and notes a namespace that was not', async () => {
  expect(await reconcile()).toBe(0);
  await dispatcher.drain();
  await db.raw('update rollouts set namespace_id = null');
  expect(await reconcile()).toBe(0);
  expect(await read()).toMatchObject({ state: 'created', namespaceId: await temporal.namespaceId() });
});
