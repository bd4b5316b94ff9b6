/** Locks between a task that ends and one that begins to wait for it. */
import pg from 'pg';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { asProblem } from '../../api/errors/describe-error.ts';
import { createDatabase, type Db, execute, inTransaction, query } from '../../db/database.ts';
import { lockWaitingFor, needTasks } from '../../db/task-dependencies.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let db: Db;
let client: pg.Client;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 4, applicationName: 'task-dependencies-test' });
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
  await addTask(1, 'early', ['late']);
  await addTask(2, 'late', []);
});
afterAll(async () => {
  await client.end();
  await db.destroy();
  await database.drop();
});

/** @param order of its id among the others */
const addTask = (order: number, publicId: string, dependsOn: string[]) =>
  client.query(
    `insert into tasks (id, public_id, title, goal, mode, state, creator_kind, creator_id, creator_name, target,
                        max_steps, deadline_at, approval_timeout_ms, command_timeout_ms, expiry_ms, depends_on)
     values ($1, $2, $2, $2, 'manual', $3, 'user', '1', 'ada', '{"any": true}', 25, now(), 1, 1, 1, $4)`,
    [
      `00000000-0000-7000-8000-00000000000${order}`,
      publicId,
      dependsOn.length > 0 ? 'blocked' : 'running',
      dependsOn,
    ],
  );

const lockTask = (trx: Parameters<typeof lockWaitingFor>[0], publicId: string) =>
  execute(trx, 'select id from tasks where public_id = :id for update', { id: publicId });

const waitForLocks = (count: number) =>
  vi.waitFor(async () => {
    const { rows } = await client.query<{ n: number }>(
      `select cast(count(*) as integer) as n from pg_stat_activity
       where application_name = 'task-dependencies-test' and wait_event_type = 'Lock'`,
    );
    expect(rows[0]?.n).toBe(count);
  }, 10_000);

it('a task may need two of which one waits for the other while that one ends', async () => {
  let needed: ReturnType<typeof needTasks> | undefined;
  const ended = await inTransaction(db, async (trx) => {
    await lockTask(trx, 'late');
    needed = inTransaction(db, (other) => needTasks(other, ['early', 'late']));
    needed.catch(() => undefined);
    await waitForLocks(1);
    const waiting = await lockWaitingFor(trx, 'late');
    await execute(trx, "update tasks set state = 'completed' where public_id = 'late'");
    return waiting.map(({ publicId }) => publicId);
  });
  expect(ended).toEqual(['early']);
  expect((await needed)?.map(({ publicId, state }) => [publicId, state]).sort()).toEqual([
    ['early', 'blocked'],
    ['late', 'completed'],
  ]);
  expect(await query(db, 'select public_id as id from tasks where is_needed order by id')).toHaveLength(2);
});

it('who had to give way in a deadlock is told to ask again', async () => {
  const lockBoth = (first: string, second: string, meet: Promise<void>, met: () => void) =>
    inTransaction(db, async (trx) => {
      await lockTask(trx, first);
      met();
      await meet;
      await lockTask(trx, second);
    });
  let met = 0;
  let open: () => void = () => undefined;
  const both = new Promise<void>((resolve) => {
    open = resolve;
  });
  const arrive = (): void => {
    met += 1;
    if (met === 2) open();
  };
  const outcomes = await Promise.allSettled([
    lockBoth('early', 'late', both, arrive),
    lockBoth('late', 'early', both, arrive),
  ]);
  const [lost, ...more] = outcomes.flatMap((outcome) =>
    outcome.status === 'rejected' ? [outcome.reason] : [],
  );
  expect(more).toEqual([]);
  expect(asProblem(lost)).toMatchObject({ code: 'database_unavailable', status: 503, retryable: true });
});
