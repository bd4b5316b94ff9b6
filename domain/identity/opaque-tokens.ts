/** Random tokens: shown once, kept as sha256 only. With 256 random bits a slow hash would protect nothing more. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { deriveKey } from './key-classes.ts';

/** The prefix says what a token is, to people and to scanners for leaked secrets. */
export const tokenPrefixes = {
  agent: 'sta_',
  shared: 'sts_',
  enrolment: 'ste_',
  refresh: 'str_',
  api: 'stp_',
  ticket: 'stk_',
  /** Reports on one task that was handed to another installation. */
  callback: 'stc_',
} as const;
export type TokenKind = keyof typeof tokenPrefixes;

const TOKEN_BYTES = 32;
/** No token of ours is longer; longer input is not even hashed. */
const MAX_TOKEN_LENGTH = 128;

export const createToken = (kind: TokenKind): string =>
  tokenPrefixes[kind] + randomBytes(TOKEN_BYTES).toString('base64url');

export const hashToken = (token: string): Buffer => createHash('sha256').update(token, 'utf8').digest();

export const isTokenOf = (kind: TokenKind, text: string): boolean =>
  text.startsWith(tokenPrefixes[kind]) && text.length <= MAX_TOKEN_LENGTH;

/**
 * The refresh token that follows `predecessor`. Derived, so that a repeated request can be answered with the same
 * token although only its hash is kept; without the key nobody can compute it, not even with both rows.
 */
export function deriveRefreshToken(key: string, predecessor: string, successorId: string): string {
  const mac = createHmac('sha256', deriveKey(key, 'refresh_token'))
    .update(`${successorId}\n${predecessor}`)
    .digest();
  return tokenPrefixes.refresh + mac.toString('base64url');
}

/** Compares in a time that depends on neither text. */
export const isSameSecret = (a: string, b: string): boolean => timingSafeEqual(hashToken(a), hashToken(b));

/** Tells whether a secret is still the same one without keeping it. */
export const fingerprintOf = (secret: string): string => hashToken(secret).toString('base64url').slice(0, 22);
