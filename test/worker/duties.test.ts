import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLockSession, type LockSession } from '../../db/advisory-lock.ts';
import { createDatabase, type Db } from '../../db/database.ts';
import { lockKeys } from '../../db/lock-keys.ts';
import { defineDuty, type RunningDuty, startDuty } from '../../worker/duties/duty.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../workflows/scripted-worker.ts';

const LOCK_KEY = 7_305_999;
let database: TestDatabase;
let db: Db;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 2, applicationName: 'duties-test' });
});

afterAll(async () => {
  await db.destroy();
  await database.drop();
});

interface Instance {
  locks: LockSession;
  running: RunningDuty;
  runs: number;
  failures: unknown[];
  close(): Promise<void>;
}

function startInstance(name: string, { everyMs = 20, fails = false } = {}): Instance {
  const locks = createLockSession({ url: database.url, applicationName: name });
  const instance = { runs: 0, failures: [] as unknown[] };
  const duty = defineDuty<null>({
    name,
    lockKey: LOCK_KEY,
    everyMs,
    async run() {
      instance.runs++;
      if (fails) throw new Error('no luck');
      return 1;
    },
  });
  const observer = {
    held: () => undefined,
    ran: () => undefined,
    failed: (_name: string, error: unknown) => void instance.failures.push(error),
  };
  const running = startDuty(duty, null, { locks, observer });
  return Object.assign(instance, {
    locks,
    running,
    async close() {
      await running.close();
      await locks.close();
    },
  });
}

it('no two locks of the system have the same key', () => {
  const { duties, ...others } = lockKeys;
  const keys = [...Object.values(others), ...Object.values(duties)];
  expect(new Set(keys).size).toBe(keys.length);
});

it('one instance acts at a time, and the other takes over when its session dies', async () => {
  const first = startInstance('first');
  await until('the first acts', async () => first.runs > 3);
  const second = startInstance('second');
  await until('the second stands by', async () => {
    const { rows } = await db.raw("select 1 from pg_stat_activity where application_name = 'second'");
    return rows.length > 0;
  });
  const runsBefore = first.runs;
  await until('the first goes on beside it', async () => first.runs > runsBefore + 10);
  expect(second.runs).toBe(0);

  // As kill -9 does: the session ends without a word.
  await db.raw("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'first'");
  await until('somebody acts again', async () => second.runs + first.runs > 6);
  await first.close();
  await until('the second acts', async () => second.runs > 3);
  await second.close();
});

it('acts at once when it is woken, and ends at once when it is closed', async () => {
  const instance = startInstance('woken', { everyMs: 60_000 });
  await until('the first run', async () => instance.runs === 1);
  await until('the second run', async () => {
    instance.running.wake();
    return instance.runs >= 2;
  });
  await instance.close();
});

it('goes on after a run that failed', async () => {
  const instance = startInstance('failing', { fails: true });
  await until('a second run', async () => instance.runs > 1);
  expect(instance.failures.length).toBeGreaterThan(0);
  await instance.close();
});

it('waits for a database that is away', async () => {
  const locks = createLockSession({ url: 'postgres://nobody@127.0.0.1:1/none', applicationName: 'away' });
  await expect(locks.tryLock(1)).rejects.toThrow();
  expect(locks.holds(1)).toBe(false);
  await locks.close();
});
