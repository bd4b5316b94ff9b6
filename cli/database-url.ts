import { loadConfig } from '../config.ts';
import { findRunningPostgres } from '../stack/running-postgres.ts';

/**
 * DATABASE_URL, else the database of the `steelthread dev` that runs with STEELTHREAD_HOME: its address is written
 * nowhere for people. Standard error says which one it is. @throws ConfigError when there is neither
 */
export function findDatabaseUrl(): string {
  const { databaseUrl, steelthreadHome } = loadConfig('cli');
  if (databaseUrl !== null) return databaseUrl;
  const running = findRunningPostgres(steelthreadHome);
  if (running === null) return loadConfig('migrate').databaseUrl; // Refuses, and names the fix.
  process.stderr.write(`DATABASE_URL is not set: using the database that runs with ${steelthreadHome}.\n`);
  return running;
}
