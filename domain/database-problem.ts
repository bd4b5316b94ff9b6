/** What a client learns where the database cannot be had: nothing was done, and it may ask again. */
import { problem, type SteelthreadError } from '../contracts/errors.ts';
import { isDatabaseAway } from '../db/database.ts';

/** `database_unavailable` for an error that says so; undefined for every other. */
export const toDatabaseProblem = (error: unknown): SteelthreadError | undefined =>
  isDatabaseAway(error) ? problem('database_unavailable', {}, { cause: error }) : undefined;
