/** A database of its own for a test file, cloned from the migrated template in a fraction of a second. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { TEMPLATE_DATABASE } from './template-database.ts';

/** Key of the advisory lock under which databases are cloned one at a time: clones would only slow each other down. */
const CLONE_LOCK_KEY = 7_305_998;

export interface TestDatabase {
  name: string;
  url: string;
  /** Ends remaining connections and removes the database; idempotent. */
  drop(): Promise<void>;
}

/**
 * @param options.empty without tables and rows, for tests of migrations
 * @throws with the error of the migrations when there is no template
 */
export async function createTestDatabase(options: { empty?: boolean } = {}): Promise<TestDatabase> {
  const templateError = inject('templateError');
  if (!options.empty && templateError !== null)
    throw new Error(`There is no migrated template: ${templateError}`);
  const name = `test_${randomBytes(8).toString('hex')}`;
  const template = options.empty ? 'template0' : TEMPLATE_DATABASE;
  await withAdmin(async (admin) => {
    await admin.query('select pg_advisory_lock($1)', [CLONE_LOCK_KEY]);
    await admin.query(`create database ${name} template ${template} strategy file_copy`);
  });
  const url = new URL(inject('postgresUrl'));
  url.pathname = `/${name}`;
  return {
    name,
    url: url.href,
    drop: () =>
      withAdmin(async (admin) => void (await admin.query(`drop database if exists ${name} with (force)`))),
  };
}

/** Runs with a fresh database and removes it afterwards. */
export async function withDatabase<T>(run: (database: TestDatabase) => Promise<T>): Promise<T> {
  const database = await createTestDatabase();
  try {
    return await run(database);
  } finally {
    await database.drop();
  }
}

async function withAdmin<T>(run: (admin: pg.Client) => Promise<T>): Promise<T> {
  const admin = new pg.Client({ connectionString: inject('postgresUrl') });
  await admin.connect();
  try {
    return await run(admin);
  } finally {
    await admin.end(); // Also gives the advisory lock back.
  }
}
