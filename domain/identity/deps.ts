/** What the identity functions need beside the common deps, and the lifetimes of what they hand out. */
import type { DomainDeps } from '../deps.ts';
import type { PasswordHasher } from './passwords.ts';

/** Life of an access token unless configured otherwise, milliseconds. */
export const DEFAULT_ACCESS_TOKEN_TTL_MS = 15 * 60 * 1000;
/** A refresh token not used for this long is dead, milliseconds. */
export const REFRESH_TOKEN_TTL_MS = 7 * 24 * 60 * 60 * 1000;
/** Longest life of a login session, however often it is refreshed, milliseconds. */
export const SESSION_TTL_MS = 30 * 24 * 60 * 60 * 1000;
/** A refresh token used twice within this time answers the same successor (a lost reply), milliseconds. */
export const REFRESH_GRACE_MS = 10_000;

export interface IdentitySettings {
  /** Keys of access tokens and of derived refresh tokens: the first signs, all verify. At least one. */
  secretKeys: readonly string[];
  /** Life of an access token, milliseconds; a login may ask for another (families differ). */
  accessTokenTtlMs: number;
  /** Shared token of the `system` principal, or null when there is none. */
  agentToken: string | null;
  /** The system principal also holds the rights of an administrator. */
  agentTokenAdmin: boolean;
}

export interface IdentityDeps extends DomainDeps {
  identity: IdentitySettings;
  passwords: PasswordHasher;
}
