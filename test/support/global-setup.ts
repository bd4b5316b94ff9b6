/**
 * Once for a run: one PostgreSQL cluster with a migrated template database, and one Temporal dev server, both in
 * temporary folders that go away at the end, also when the run is killed.
 */
import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { loadConfig } from '../../config.ts';
import { createLogger } from '../../log.ts';
import { type Postgres, startPostgres } from '../../stack/postgres.ts';
import { startTemporal, type Temporal } from '../../stack/temporal.ts';
import { TEMPLATE_DATABASE } from './template-database.ts';

export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const config = loadConfig('cli');
  const log = createLogger({ name: 'stack', format: 'pretty', level: 'info' });
  const [postgres, temporal] = await startBoth(
    startPostgres({ log, ephemeral: true }),
    startTemporal({
      log,
      ephemeral: true,
      cliPath: config.temporalCliPath,
      cacheDir: config.steelthreadCache,
    }),
  );
  project.provide('postgresUrl', postgres.url);
  project.provide('temporalAddress', temporal.address);
  project.provide('templateError', await createTemplate(postgres.url));
  return async () => {
    await Promise.all([temporal.stop(), postgres.stop()]);
  };
}

/** When one cannot start, the other is not left behind. */
async function startBoth(
  postgres: Promise<Postgres>,
  temporal: Promise<Temporal>,
): Promise<[Postgres, Temporal]> {
  const results = await Promise.allSettled([postgres, temporal]);
  const [first, second] = results;
  if (first.status === 'fulfilled' && second.status === 'fulfilled') return [first.value, second.value];
  for (const result of results) if (result.status === 'fulfilled') await result.value.stop();
  throw first.status === 'rejected'
    ? first.reason
    : second.status === 'rejected'
      ? second.reason
      : new Error();
}

async function createTemplate(url: string): Promise<string | null> {
  const templateUrl = new URL(url);
  templateUrl.pathname = `/${TEMPLATE_DATABASE}`;
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`create database ${TEMPLATE_DATABASE}`);
    const { migrateUp } = await import('../../db/migrate.ts');
    await migrateUp(templateUrl.href);
    // A template is cloned only while nobody is connected to it: from here on, nobody can be.
    await client.query(`alter database ${TEMPLATE_DATABASE} with allow_connections false`);
    return null;
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  } finally {
    await client.end();
  }
}
