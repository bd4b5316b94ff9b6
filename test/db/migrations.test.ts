/** Migrations: up → down → up gives the same schema, for every migration; two runs at once apply each once. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createDatabase } from '../../db/database.ts';
import { migrateDown, migrateUp, readMigrationStatus } from '../../db/migrate.ts';
import { migrations } from '../../migrations/index.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase | undefined;
afterEach(() => database?.drop());

/** Everything a migration can make, as text. */
async function describeSchema(url: string): Promise<string[]> {
  const db = createDatabase({ url, poolMax: 1, applicationName: 'test-schema' });
  try {
    const rows = await db.raw(`
      select 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' '
             || coalesce(column_default, '') as line
      from information_schema.columns where table_schema = 'public'
      union all select 'index ' || indexdef from pg_indexes where schemaname = 'public'
      union all select 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint
                where connamespace = 'public'::regnamespace
      union all select 'function ' || proname || ' ' || prosrc from pg_proc where pronamespace = 'public'::regnamespace
      union all select 'trigger ' || pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
      order by 1`);
    return rows.rows
      .map((row: { line: string }) => row.line)
      .filter((line: string) => !line.includes('schema_migrations'));
  } finally {
    await db.destroy();
  }
}

describe('migrations', () => {
  it('are named after their order and file', () => {
    expect(migrations.map((migration) => migration.name.slice(0, 4))).toEqual(
      migrations.map((_, index) => String(index + 1).padStart(4, '0')),
    );
  });

  // Twice as many schemas are read as there are migrations: on a busy machine that takes longer than others may.
  it('give the same schema after up → down → up, one by one', { timeout: 120_000 }, async () => {
    database = await createTestDatabase({ empty: true });
    const schemas: string[][] = [await describeSchema(database.url)];
    await migrateUp(database.url);
    const full = await describeSchema(database.url);
    for (let i = 0; i < migrations.length; i++) {
      expect(await migrateDown(database.url)).toHaveLength(1);
      schemas.splice(1, 0, await describeSchema(database.url));
    }
    expect(schemas[1]).toEqual(schemas[0]);
    await migrateUp(database.url);
    expect(await describeSchema(database.url)).toEqual(full);
    expect(full.length).toBeGreaterThan(100);
  });

  it('are applied once when two runs start at the same time', async () => {
    database = await createTestDatabase({ empty: true });
    const { url } = database;
    const applied = await Promise.all([migrateUp(url), migrateUp(url), migrateUp(url)]);
    expect(applied.flat().sort()).toEqual(migrations.map((migration) => migration.name));
    const db = createDatabase({ url, poolMax: 1, applicationName: 'test-status' });
    expect(await readMigrationStatus(db)).toEqual({ applied: migrations.map((m) => m.name), pending: [] });
    await db.destroy();
  });

  it('are not held up by the lock row of a killed run', async () => {
    database = await createTestDatabase({ empty: true });
    await migrateUp(database.url);
    await migrateDown(database.url);
    const db = createDatabase({ url: database.url, poolMax: 1, applicationName: 'test-lock' });
    await db.raw('update schema_migrations_lock set is_locked = 1');
    await db.destroy();
    expect(await migrateUp(database.url)).toHaveLength(1);
  });

  it('keep others waiting however long they take', async () => {
    database = await createTestDatabase({ empty: true });
    const { url } = database;
    await migrateUp(url);
    await migrateDown(url);
    const db = createDatabase({ url, poolMax: 2, applicationName: 'test-slow' });
    /** What sessions of migrations wait for. */
    const waits = async (): Promise<string[]> =>
      (
        await db.raw(
          `select wait_event from pg_stat_activity
           where datname = current_database() and wait_event_type = 'Lock' order by 1`,
        )
      ).rows.map((row: { wait_event: string }) => row.wait_event);
    try {
      const runs: Promise<string[]>[] = [];
      await db.transaction(async (trx) => {
        await trx.raw('lock table schema_migrations_lock in exclusive mode');
        // Those that a pool looks for idle connections by.
        vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
        runs.push(migrateUp(url));
        await vi.waitFor(async () => expect(await waits()).toEqual(['relation']), 10_000);
        vi.advanceTimersByTime(10 * 60_000);
        vi.useRealTimers();
        runs.push(migrateUp(url));
        await vi.waitFor(async () => expect(await waits()).toHaveLength(2), 10_000);
        expect(await waits()).toEqual(['advisory', 'relation']);
      });
      expect((await Promise.all(runs)).map((applied) => applied.length)).toEqual([1, 0]);
    } finally {
      vi.useRealTimers();
      await db.destroy();
    }
  });
});
