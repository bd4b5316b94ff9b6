/** The one place that says which passwords are accepted. */

/** bcrypt reads no more than this of a password, bytes of UTF-8. */
export const MAX_PASSWORD_BYTES = 72;
/** Shortest password of any account, characters; some contracts ask for more. */
export const MIN_PASSWORD_LENGTH = 8;

/** Passwords everybody tries first, in lower case. */
const commonPasswords = new Set(
  `password password1 password12 password123 passw0rd p@ssword p@ssw0rd 12345678 123456789 1234567890 87654321
   11111111 00000000 qwertyui qwerty123 qwertyuiop 1q2w3e4r 1qaz2wsx abcd1234 abc12345 iloveyou sunshine princess
   football baseball superman trustno1 welcome1 welcome123 letmein1 letmein123 admin123 administrator admin1234
   changeme changeme1 changeme123 default123 secret123 test1234 testtest root1234 toor1234 master123 monkey123
   dragon123 starwars whatever computer internet steelthread`.split(/\s+/),
);

export interface PasswordRules {
  /** Characters; MIN_PASSWORD_LENGTH when absent. */
  minLength?: number;
  /** At least one upper-case letter and one digit. */
  needsUpperAndDigit?: boolean;
  /** The account's names: none may be its password. */
  names: readonly (string | null)[];
}

/** Unicode has several spellings of one character: what is typed on two keyboards must be one password. */
export const normalizePassword = (password: string): string => password.normalize('NFKC');

export const fitsBcrypt = (password: string): boolean => {
  const normalized = normalizePassword(password);
  return Buffer.byteLength(normalized, 'utf8') <= MAX_PASSWORD_BYTES && !normalized.includes('\u0000');
};

/** Why this password is refused, as a sentence for people; null when it is fine. */
export function refusePassword(password: string, rules: PasswordRules): string | null {
  const normalized = normalizePassword(password);
  const minLength = rules.minLength ?? MIN_PASSWORD_LENGTH;
  const folded = normalized.toLowerCase();
  if ([...normalized].length < minLength) return `A password has at least ${minLength} characters`;
  if (Buffer.byteLength(normalized, 'utf8') > MAX_PASSWORD_BYTES)
    return `A password has at most ${MAX_PASSWORD_BYTES} bytes`;
  if (!fitsBcrypt(password)) return 'A password holds no NUL character';
  if (rules.needsUpperAndDigit && !(/\p{Lu}/u.test(normalized) && /\p{Nd}/u.test(normalized)))
    return 'A password holds an upper-case letter and a digit';
  if (rules.names.some((name) => name !== null && normalizePassword(name).toLowerCase() === folded))
    return 'A password is not the name of its account';
  if (commonPasswords.has(folded)) return 'This password is among the first that anybody tries';
  return null;
}
