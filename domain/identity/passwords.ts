/** Hashing of passwords: bcrypt after NFKC, never more than 72 bytes (bcrypt would silently cut there). */
import { availableParallelism } from 'node:os';
import bcrypt from 'bcrypt';
import { createLimiter } from './limit-concurrency.ts';
import { fitsBcrypt, normalizePassword } from './password-policy.ts';

/** bcrypt cost: about 0.2 s of one core for each hash. */
export const PASSWORD_HASH_COST = 12;
/**
 * Hashes computed at once: the thread pool that runs them also serves files and DNS, and one core is left to answer
 * everybody else.
 */
export const MAX_RUNNING_HASHES = Math.min(2, Math.max(1, availableParallelism() - 1));
/** Hashes that may wait (some eight seconds' worth); beyond it a login is refused instead of queueing for ever. */
export const MAX_WAITING_HASHES = 32 * MAX_RUNNING_HASHES;

export interface PasswordHasher {
  /** @throws RangeError for a password the policy should have refused; service_unavailable when overloaded. */
  hash(password: string): Promise<string>;
  /**
   * Does the password belong to the hash? With `null` (nobody has that name) it takes as long and says no,
   * so that the time does not tell which names exist.
   * @throws service_unavailable when overloaded
   */
  verify(password: string, hash: string | null): Promise<boolean>;
}

/** @param options.cost lower only in tests */
export function createPasswordHasher(options: { cost?: number } = {}): PasswordHasher {
  const cost = options.cost ?? PASSWORD_HASH_COST;
  const limit = createLimiter({ maxRunning: MAX_RUNNING_HASHES, maxWaiting: MAX_WAITING_HASHES });
  // A well-formed hash of the same cost that no password is known to have.
  const dummyHash = `$2b$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`;

  return {
    async hash(password) {
      if (!fitsBcrypt(password)) throw new RangeError('the password does not fit bcrypt');
      return limit(() => bcrypt.hash(normalizePassword(password), cost));
    },
    async verify(password, hash) {
      const known = hash !== null && fitsBcrypt(password);
      const candidate = known ? normalizePassword(password) : '';
      const matches = await limit(() => bcrypt.compare(candidate, known ? hash : dummyHash));
      return known && matches;
    },
  };
}
