/** Using a second factor: a token of the authenticator or a backup code, each good once. */
import type { Queryable } from '../../db/database.ts';
import { countBackupCodes, findMfa, type MfaRow, useBackupCode, useMfaStep } from '../../db/mfa.ts';
import type { SecretBox } from '../secret-box.ts';
import { hashBackupCode, looksLikeBackupCode } from './backup-codes.ts';
import { findTotpStep } from './totp.ts';

export type SecondFactor =
  /** The account has none. */
  | { kind: 'none' }
  /** It has one, and nothing was given. */
  | { kind: 'missing' }
  /** Wrong, used before, or older than one that was used. */
  | { kind: 'refused' }
  | { kind: 'token' }
  | { kind: 'backup_code'; left: number };

/** Name under which the secret of an account is sealed. */
export const mfaSecretName = (userId: string): string => `mfa/${userId}`;

/**
 * Use what was given, within the transaction it lets in: of parallel uses of one token or code one gets through, and a
 * use that is rolled back was none.
 */
export async function useSecondFactor(
  deps: { secrets: SecretBox },
  db: Queryable,
  userId: string,
  given: string | undefined,
): Promise<SecondFactor> {
  const mfa = await findMfa(db, userId);
  if (!mfa || mfa.enabledAt === null) return { kind: 'none' };
  if (given === undefined || given.trim() === '') return { kind: 'missing' };
  const step = findTotpStep(openMfaSecret(deps, mfa), given);
  if (step !== null) {
    return (await useMfaStep(db, userId, step)) ? { kind: 'token' } : { kind: 'refused' };
  }
  if (looksLikeBackupCode(given) && (await useBackupCode(db, userId, hashBackupCode(given)))) {
    return { kind: 'backup_code', left: await countBackupCodes(db, userId) };
  }
  return { kind: 'refused' };
}

/** @throws SecretBoxError when no key opens it */
export const openMfaSecret = (deps: { secrets: SecretBox }, mfa: MfaRow): string =>
  deps.secrets.open(mfaSecretName(mfa.userId), mfa.sealedSecret);
