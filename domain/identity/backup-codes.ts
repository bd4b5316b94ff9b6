/** Backup codes: for whoever has lost the authenticator. Each is good once and kept as sha256 only. */
import { createHash, randomBytes } from 'node:crypto';

/** Codes that are given out when the second factor is enabled. */
export const BACKUP_CODES = 10;
/** 80 random bits: out of reach for guessing, so that a fast hash is enough. */
const CODE_BYTES = 10;
/** Base32 without letters that look like digits (Crockford). */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const GROUP = /.{4}/g;

/** `xxxx-xxxx-xxxx-xxxx`, as many as BACKUP_CODES, no two alike. */
export function createBackupCodes(): string[] {
  const codes = new Set<string>();
  while (codes.size < BACKUP_CODES) codes.add(createBackupCode());
  return [...codes];
}

/** Whatever case, blanks and dashes it was typed with. */
export const hashBackupCode = (code: string): Buffer => createHash('sha256').update(plainCode(code)).digest();

/** Could it be a code? Anything else is not even hashed. */
export const looksLikeBackupCode = (text: string): boolean => /^[0-9a-z]{16}$/.test(plainCode(text));

function createBackupCode(): string {
  let bits = BigInt(`0x${randomBytes(CODE_BYTES).toString('hex')}`);
  let text = '';
  for (let i = 0; i < (CODE_BYTES * 8) / 5; i++) {
    text += ALPHABET[Number(bits & 31n)] ?? '';
    bits >>= 5n;
  }
  return text.match(GROUP)?.join('-') ?? text;
}

/** Letters that people read for digits are those digits. */
const plainCode = (text: string): string =>
  text.toLowerCase().replace(/[\s-]/g, '').replaceAll('o', '0').replace(/[il]/g, '1');
