/** What a client learns where the database could not be had, or undid it all: nothing was done, and it may ask again. */
import { problem, type SteelthreadError } from '../contracts/errors.ts';
import { isDatabaseAway, isDeadlockVictim } from '../db/database.ts';

/** `database_unavailable` for an error that says so; undefined for every other. */
export const toDatabaseProblem = (error: unknown): SteelthreadError | undefined =>
  isDatabaseAway(error) || isDeadlockVictim(error)
    ? problem('database_unavailable', {}, { cause: error })
    : undefined;
