/**
 * Run migrations. Safe when two processes run it at once: a session advisory lock is held for the whole run, and
 * under it knex's own lock row (which a killed process would leave behind) is freed.
 */

import type { Knex } from 'knex';
import pg from 'pg';
import { migrations } from '../migrations/index.ts';
import type { Migration } from '../migrations/migration.ts';
import { ACQUIRE_TIMEOUT_MS, createDatabase } from './database.ts';
import { lockKeys } from './lock-keys.ts';

export interface MigrationStatus {
  applied: string[];
  pending: string[];
}

const source: Knex.MigrationSource<Migration> = {
  getMigrations: async () => [...migrations],
  getMigrationName: (migration) => migration.name,
  getMigration: async (migration) => ({
    up: async (trx) => void (await trx.raw(migration.up)),
    down: async (trx) => void (await trx.raw(migration.down)),
  }),
};

const migratorConfig: Knex.MigratorConfig = { migrationSource: source, tableName: 'schema_migrations' };

/** Apply all pending migrations. Returns the names applied, in order. */
export async function migrateUp(url: string): Promise<string[]> {
  return withMigrationLock(url, async (db) => {
    const [, applied] = (await db.migrate.latest(migratorConfig)) as [number, string[]];
    return applied;
  });
}

/** Take back the newest `count` migrations. Returns their names, newest first. */
export async function migrateDown(url: string, count = 1): Promise<string[]> {
  return withMigrationLock(url, async (db) => {
    const undone: string[] = [];
    for (let i = 0; i < count; i++) {
      const [, names] = (await db.migrate.down(migratorConfig)) as [number, string[]];
      if (names.length === 0) break;
      undone.push(...names);
    }
    return undone;
  });
}

/** Which migrations are applied and which are pending, without changing anything. */
export async function readMigrationStatus(db: Knex): Promise<MigrationStatus> {
  const present = await db.raw(`select to_regclass('schema_migrations') is not null as present`);
  const names: string[] = present.rows[0].present
    ? (await db.raw('select name from schema_migrations order by id')).rows.map(
        (row: { name: string }) => row.name,
      )
    : [];
  const applied = new Set(names);
  return { applied: names, pending: migrations.map((m) => m.name).filter((name) => !applied.has(name)) };
}

async function withMigrationLock<T>(url: string, run: (db: Knex) => Promise<T>): Promise<T> {
  // Not of a pool: a pool ends connections that were idle for long, and a migration may take longer than that.
  const locker = new pg.Client({
    connectionString: url,
    application_name: 'steelthread-migrate-lock',
    connectionTimeoutMillis: ACQUIRE_TIMEOUT_MS,
    keepAlive: true,
  });
  locker.on('error', () => undefined); // The lock is lost; the run goes on, and another that begins now may fail.
  await locker.connect();
  // A migration may rewrite a large table: no statement timeout.
  const db = createDatabase({
    url,
    poolMax: 2,
    applicationName: 'steelthread-migrate',
    statementTimeoutMs: 0,
  });
  try {
    await locker.query('select pg_advisory_lock($1)', [lockKeys.migrations]);
    await db.migrate.currentVersion(migratorConfig);
    await db.migrate.forceFreeMigrationsLock(migratorConfig);
    return await run(db);
  } finally {
    await db.destroy();
    await locker.end(); // ends the session, and with it the advisory lock
  }
}
