/** Time-based one-time passwords (RFC 6238) as authenticator apps expect them: SHA-1, 6 digits, 30 seconds. */
import { randomBytes } from 'node:crypto';
import { Secret, TOTP } from 'otpauth';

/** Name of the system in authenticator apps. */
export const TOTP_ISSUER = 'Steelthread';
export const TOTP_DIGITS = 6;
export const TOTP_PERIOD_S = 30;
/** Steps before and after the present one that are accepted: clocks of phones differ. */
export const TOTP_WINDOW_STEPS = 1;
/** RFC 4226 section 4 recommends 160 bits. */
const SECRET_BYTES = 20;

/** A new secret, base32. */
export const createTotpSecret = (): string =>
  new Secret({ buffer: new Uint8Array(randomBytes(SECRET_BYTES)).buffer }).base32;

/** What the QR code holds: `otpauth://totp/…` with issuer and account. */
export const otpauthUrl = (secret: string, account: string): string => totp(secret, account).toString();

/** The step in which this token is good, or null when it is none of this secret around `now`. */
export function findTotpStep(secret: string, token: string, now = new Date()): number | null {
  if (!isTotpToken(token)) return null;
  const timestamp = now.getTime();
  const delta = totp(secret).validate({ token: digitsOf(token), timestamp, window: TOTP_WINDOW_STEPS });
  return delta === null ? null : Math.floor(timestamp / 1000 / TOTP_PERIOD_S) + delta;
}

/** Six digits; apps show them in groups. */
export const isTotpToken = (token: string): boolean => /^\d{6}$/.test(digitsOf(token));

const digitsOf = (token: string): string => token.replace(/\s/g, '');

const totp = (secret: string, label = ''): TOTP =>
  new TOTP({
    issuer: TOTP_ISSUER,
    label,
    algorithm: 'SHA1',
    digits: TOTP_DIGITS,
    period: TOTP_PERIOD_S,
    secret: Secret.fromBase32(secret),
  });
