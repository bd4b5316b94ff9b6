/** The one place that says which passwords are accepted. */
import { problem, type SteelthreadError } from '../../contracts/errors.ts';
import { canonicalName } from './canonical-name.ts';
import { commonPasswordList } from './common-password-list.ts';

/** bcrypt reads no more than this of a password, bytes of UTF-8. */
export const MAX_PASSWORD_BYTES = 72;
/** Shortest password of any account, characters; some contracts ask for more. */
export const MIN_PASSWORD_LENGTH = 8;
/** An account does not go back to its present password or to this many before it. */
export const PASSWORD_HISTORY_LENGTH = 3;

/** What people try first here and in systems like this one, beside the common ones. Lower case. */
const localPasswords = `password12 p@ssword p@ssw0rd 12345678910 welcome123 letmein123 admin123 admin1234 administrator
  adminadmin changeme1 changeme123 default123 secret123 test1234 testtest root1234 toor1234 steelthread steelthread1
  steelthread123 password!1 password1! password123! passw0rd! qwerty123! welcome1! changeme!`;

const commonPasswords = new Set(`${commonPasswordList} ${localPasswords}`.trim().split(/\s+/));

export interface PasswordRules {
  /** Characters; MIN_PASSWORD_LENGTH when absent. */
  minLength?: number;
  /** At least one upper-case letter and one digit. */
  needsUpperAndDigit?: boolean;
  /** The account's names and addresses: none may be its password. */
  names: readonly (string | null | undefined)[];
}

export interface PasswordRefusal {
  /** For programs. */
  rule:
    | 'too_short'
    | 'too_long'
    | 'has_nul'
    | 'needs_upper_and_digit'
    | 'is_name'
    | 'too_common'
    | 'used_before';
  /** For people. */
  reason: string;
}

/** Unicode has several spellings of one character: what is typed on two keyboards must be one password. */
export const normalizePassword = (password: string): string => password.normalize('NFKC');

export const fitsBcrypt = (password: string): boolean => {
  const normalized = normalizePassword(password);
  return Buffer.byteLength(normalized, 'utf8') <= MAX_PASSWORD_BYTES && !normalized.includes('\u0000');
};

/** Why this password is refused; null when it is fine. */
export function refusePassword(password: string, rules: PasswordRules): PasswordRefusal | null {
  const normalized = normalizePassword(password);
  const minLength = Math.max(rules.minLength ?? 0, MIN_PASSWORD_LENGTH);
  const folded = canonicalName(normalized);
  if ([...normalized].length < minLength) {
    return { rule: 'too_short', reason: `A password has at least ${minLength} characters` };
  }
  if (Buffer.byteLength(normalized, 'utf8') > MAX_PASSWORD_BYTES) {
    return { rule: 'too_long', reason: `A password has at most ${MAX_PASSWORD_BYTES} bytes` };
  }
  if (!fitsBcrypt(password)) return { rule: 'has_nul', reason: 'A password holds no NUL character' };
  if (rules.needsUpperAndDigit && !(/\p{Lu}/u.test(normalized) && /\p{Nd}/u.test(normalized))) {
    return { rule: 'needs_upper_and_digit', reason: 'A password holds an upper-case letter and a digit' };
  }
  if (rules.names.some((name) => namesOf(name).includes(folded))) {
    return { rule: 'is_name', reason: 'A password is not the name of its account' };
  }
  if (commonPasswords.has(folded)) {
    return { rule: 'too_common', reason: 'This password is among the first that anybody tries' };
  }
  return null;
}

/** The name, and of an address also what stands before the @. */
function namesOf(name: string | null | undefined): string[] {
  if (name === null || name === undefined) return [];
  const canonical = canonicalName(name);
  return [canonical, canonical.split('@')[0] ?? canonical];
}

/** An account's earlier password. */
export const usedBefore: PasswordRefusal = {
  rule: 'used_before',
  reason: `A password is none of the last ${PASSWORD_HISTORY_LENGTH} and not the present one`,
};

/** `password_refused` with the rule for programs. */
export const passwordRefused = ({ rule, reason }: PasswordRefusal): SteelthreadError =>
  problem('password_refused', { reason }, { details: { rule } });

/** @throws password_refused */
export function assertPasswordAllowed(password: string, rules: PasswordRules): void {
  const refusal = refusePassword(password, rules);
  if (refusal !== null) throw passwordRefused(refusal);
}
