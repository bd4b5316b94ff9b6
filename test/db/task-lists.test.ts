/** Lists of many tasks: which index answers them, on which page and by which filter. */
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { listChildGoals } from '../../db/child-tasks.ts';
import { createDatabase, type Db, type Trx } from '../../db/database.ts';
import { lockWaitingFor } from '../../db/task-dependencies.ts';
import { listTasksByOffset, type TaskListFilter } from '../../db/task-list.ts';
import { listTaskEvents } from '../../db/task-timeline.ts';
import { listTasks, type TaskFilter } from '../../db/tasks.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const TASKS = 30_000;

let database: TestDatabase;
let db: Db;
let client: pg.Client;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 1, applicationName: 'task-lists-test' });
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
  await client.query(
    `insert into tasks (id, public_id, title, goal, mode, state, creator_kind, creator_id, creator_name, target,
                        max_steps, deadline_at, approval_timeout_ms, command_timeout_ms, expiry_ms, ended_at,
                        archived_at, created_at)
     select gen_random_uuid(), n, n, n, case when n % 5000 = 0 then 'auto' else 'supervised' end,
            case when n % 100 = 0 then 'failed' when n % 3000 = 1 then 'running' else 'completed' end,
            'user', n % 100, 'ada', '{"any": true}', 25, now(), 1, 1, 1,
            case when n % 3000 = 1 then null else now() end, case when n % 5000 = 2 then now() end,
            now() - n / 3 * interval '1 second'
     from generate_series(1, $1) as n`,
    [TASKS],
  );
  await client.query('vacuum (analyze) tasks');
});

afterAll(async () => {
  await client.end();
  await db.destroy();
  await database.drop();
});

const page = (filter: Partial<TaskFilter>) => listTasks(db, { archived: false, limit: 51, ...filter });

const planOf = (filter: Partial<TaskFilter>) =>
  planSentBy((trx) => listTasks(trx, { archived: false, limit: 51, ...filter }));

/** The plan of the very statement that a function sends. */
async function planSentBy(send: (trx: Trx) => Promise<unknown>): Promise<string> {
  const sent: { text: string; values: unknown[] }[] = [];
  const driver = {
    async query(statement: { text: string; values: unknown[] }) {
      sent.push(statement);
      return { rows: [] };
    },
  };
  const trx: Trx = { driver: driver as unknown as pg.ClientBase };
  await send(trx);
  const [statement] = sent;
  if (statement === undefined) throw new Error('nothing was sent');
  const { rows } = await client.query<{ 'QUERY PLAN': string }>(
    `explain ${statement.text}`,
    statement.values,
  );
  return rows.map((row) => row['QUERY PLAN']).join('\n');
}

const deep = { at: new Date(Date.now() - 5_000_000), id: 'ffffffff-ffff-7fff-bfff-ffffffffffff' };

describe('a list of many tasks', () => {
  it.each<[string, Partial<TaskFilter>, string]>([
    ['everything', {}, 'tasks_list_idx'],
    ['a common state', { state: 'completed' }, 'tasks_'],
    ['a rare state', { state: 'failed' }, 'tasks_state_idx'],
    ['a rare mode', { mode: 'auto' }, 'tasks_mode_idx'],
    ['a creator', { creatorId: '7' }, 'tasks_creator_idx'],
    ['a creator and a state', { creatorId: '7', state: 'failed' }, 'tasks_'],
    ['an agent', { agentId: 'host-1' }, 'tasks_'],
    ['another kind', { kind: 'job' }, 'tasks_'],
    ['open ones', { open: true }, 'tasks_'],
    ['ended ones', { open: false }, 'tasks_list_idx'],
    ['archived ones', { archived: true }, 'tasks_archived_idx'],
  ])('finds %s by an index, on the first page and on a deep one', async (_, filter, index) => {
    for (const plan of [await planOf(filter), await planOf({ ...filter, before: deep })]) {
      expect(plan).toContain(index);
      expect(plan).not.toContain('Seq Scan');
    }
  });

  it.each<[string, Partial<TaskListFilter>, string]>([
    ['everything', {}, 'tasks_list_idx'],
    ['one of two rare states', { states: ['failed', 'expired'] }, 'tasks_state_idx'],
    ['an agent in one of two states', { agentIds: ['host-1'], states: ['failed', 'expired'] }, 'tasks_'],
    ['a team', { teamId: 'team-1' }, 'tasks_team_idx'],
    ['a creator', { creatorId: '7' }, 'tasks_creator_idx'],
    ['archived ones', { archived: true }, 'tasks_archived_idx'],
  ])('counted by rows, finds %s by an index', async (_, filter, index) => {
    const plan = await planSentBy((trx) =>
      listTasksByOffset(trx, { archived: false, limit: 100, offset: 0, ...filter }),
    );
    expect(plan).toContain(index);
    expect(plan).not.toContain('Seq Scan on tasks');
  });

  it('finds those that wait for a task among many that wait', async () => {
    await client.query('begin');
    await client.query(
      `update tasks set state = 'blocked', ended_at = null, depends_on = array[cast(cast(public_id as int) + 1 as text)]
       where id in (select id from tasks order by created_at limit 3000)`,
    );
    await client.query('analyze tasks');
    const plan = await planSentBy((trx) => lockWaitingFor(trx, '17'));
    await client.query('rollback');
    expect(plan).toContain('tasks_waiting_idx');
  });

  it('finds the parts of a task and what happened to it, by an index', async () => {
    expect(await planSentBy((trx) => listChildGoals(trx, '17', 100))).toContain('tasks_parent_idx');
    const wish = { types: ['task.created'], failedOnly: false, limit: 100 } as const;
    const taskIds = ['01930000-0000-7000-8000-0000000000aa'];
    await client.query('begin');
    await client.query(
      `insert into events (at, type, task_id)
       select now() - (60000 - n) * interval '1 second', 'task.created', gen_random_uuid()
       from generate_series(1, 60000) as n`,
    );
    await client.query('analyze events');
    const ofAll = await planSentBy((trx) => listTaskEvents(trx, wish));
    const ofOne = await planSentBy((trx) => listTaskEvents(trx, { ...wish, taskIds }));
    await client.query('rollback');
    expect(ofAll).toContain('events_at_idx');
    expect(ofOne).toContain('events_task_idx');
  });

  it('holds every task once from page to page, also of tasks made in the same millisecond', async () => {
    const seen = new Set<string>();
    let before: TaskFilter['before'];
    for (;;) {
      const rows = await page({ before, limit: 2_000 });
      for (const row of rows) seen.add(row.id);
      const last = rows.at(-1);
      if (last === undefined) break;
      before = { at: last.createdAt, id: last.id };
    }
    expect(seen.size).toBe(TASKS - TASKS / 5000);
  });
});
