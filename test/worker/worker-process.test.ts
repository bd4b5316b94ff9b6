/** The worker as a process: it starts with Temporal away, works when it is there, and ends in order. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { wholeEnvironment } from '../../config.ts';
import { createTaskBodySchema } from '../../contracts/tasks.ts';
import { taskWorkflowId } from '../../contracts/workflow-io.ts';
import { createDatabase, type Db, queryOne } from '../../db/database.ts';
import { engineActor } from '../../domain/deps.ts';
import { createTask } from '../../domain/tasks/create.ts';
import { endTask } from '../../domain/tasks/engine.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { temporalAddress, uniqueTaskQueue, withTemporal } from '../support/temporal.ts';
import { until } from '../workflows/scripted-worker.ts';
import { createTestDomain } from './deps.ts';
import { createRoad, type Road } from './road.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
let database: TestDatabase;
let db: Db;
let road: Road;
let worker: ChildProcess;
const events: string[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 2, applicationName: 'worker-process-test' });
  road = await createRoad(temporalAddress());
  await road.block();
  worker = spawn(process.execPath, ['--import', 'tsx', 'worker/main.ts'], {
    cwd: root,
    env: {
      ...wholeEnvironment(),
      NODE_ENV: 'development',
      DATABASE_URL: database.url,
      TEMPORAL_ADDRESS: road.address,
      TEMPORAL_TASK_QUEUE: uniqueTaskQueue(),
      LOG_FORMAT: 'json',
      LOG_LEVEL: 'info',
      ANTHROPIC_API_KEY: '',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (worker.stdout === null) throw new Error('no output');
  createInterface({ input: worker.stdout }).on('line', (line) => {
    events.push((JSON.parse(line) as { event?: string }).event ?? line);
  });
});

afterAll(async () => {
  if (worker.exitCode === null && worker.signalCode === null) {
    worker.kill('SIGKILL');
    await once(worker, 'exit');
  }
  await road.block();
  await db.destroy();
  await database.drop();
});

it('starts without Temporal and does the work when it is there', async () => {
  await until('the worker waits', async () => events.includes('worker_waits_for_temporal'));
  const domain = createTestDomain(db);
  const body = createTaskBodySchema.parse({ goal: 'find the largest files' });
  const { task } = await createTask(domain, engineActor, body, { idempotencyKey: null });
  expect(events).not.toContain('worker_ready');

  await road.open();
  await until('the task waits for an agent', async () => {
    const row = await queryOne<{ reason: string | null }>(db, 'select waiting_reason as reason from tasks');
    return row?.reason === 'no_agent';
  });
  expect(events).toContain('worker_ready');

  await endTask({ ...domain }, { taskId: task.id, runNo: 1, end: 'canceled', reason: 'enough' });
  await withTemporal(async (client) => {
    const handle = client.workflow.getHandle(taskWorkflowId(task.id, 1));
    await handle.signal('ended', { end: 'canceled' });
    expect(await handle.result()).toEqual({ end: 'canceled', steps: 1 });
  });
  await until('audit rows are sealed', async () => {
    const row = await queryOne<{ open: number }>(
      db,
      'select count(*) as open from audit_events where seal_no is null',
    );
    return row?.open === 0;
  });
});

it('ends in order on SIGTERM, twice', async () => {
  worker.kill('SIGTERM');
  worker.kill('SIGTERM');
  const [code] = (await once(worker, 'exit')) as [number | null];
  expect(code).toBe(0);
  expect(events.at(-1)).toBe('worker_stopped');
});
