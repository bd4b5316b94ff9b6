import { reasonOf } from '../run-service.ts';
import { CommandError } from './exit-codes.ts';

/** Codes of Node and of PostgreSQL for a database that cannot be had, in contrast to a query that is wrong. */
const codes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENOTFOUND',
  'ETIMEDOUT',
  '28000', // invalid_authorization_specification
  '28P01', // invalid_password
  '3D000', // invalid_catalog_name
]);

/** Runs what needs the database. @throws CommandError in one line when it cannot be had */
export async function withDatabaseFailure<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && codes.has(String(error.code)))) throw error;
    throw new CommandError(`The database cannot be used: ${reasonOf(error)}`, { cause: error });
  }
}
