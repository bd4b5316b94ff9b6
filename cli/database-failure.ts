import { reasonOf } from '../run-service.ts';
import { CommandError } from './exit-codes.ts';

/** Codes of Node and of PostgreSQL for a database that cannot be had, in contrast to a query that is wrong. */
const codes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENOTFOUND',
  'ETIMEDOUT',
  'EAI_AGAIN',
  '28000', // invalid_authorization_specification
  '28P01', // invalid_password
  '3D000', // invalid_catalog_name
  '53300', // too_many_connections
  '57P03', // cannot_connect_now
]);

/** A server that says nothing has no code: these are the words of knex and pg. */
const unanswered: readonly RegExp[] = [
  /^Knex: Timeout acquiring a connection\b/,
  /^timeout expired$/,
  /^Query read timeout$/,
  /^Connection terminated\b/,
];

/** Runs what needs the database. @throws CommandError in one line when it cannot be had */
export async function withDatabaseFailure<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const isUnanswered = unanswered.some((words) => words.test(error.message));
    if (!isUnanswered && !('code' in error && codes.has(String(error.code)))) throw error;
    const reason = isUnanswered ? 'it did not answer in time, or no longer' : reasonOf(error);
    throw new CommandError(`The database cannot be used: ${reason}`, { cause: error });
  }
}
