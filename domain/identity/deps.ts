/** What the identity functions need beside the common deps, and the lifetimes of what they hand out. */
import type { SettingsDeps } from '../settings/port.ts';
import type { PasswordHasher } from './passwords.ts';

/** A refresh token not used for this long is dead, milliseconds. */
export const REFRESH_TOKEN_TTL_MS = 7 * 24 * 60 * 60 * 1000;
/** Longest life of a login session, however often it is refreshed, milliseconds. */
export const SESSION_TTL_MS = 30 * 24 * 60 * 60 * 1000;
/** A refresh token used twice within this time answers the same successor (a lost reply), milliseconds. */
export const REFRESH_GRACE_MS = 10_000;

export interface IdentitySettings {
  /** Keys of access tokens and of derived refresh tokens: the first signs, all verify. At least one. */
  secretKeys: readonly string[];
  /** Life of every access token, milliseconds; null: as the family of the login has it (see tokens.ts). */
  readonly accessTokenTtlMs: number | null;
  /** Shared token of the `system` principal as it is now (it may be rotated), or null when there is none. */
  agentToken(): string | null;
  /** AGENT_TOKEN itself, whether or not it was replaced since. */
  configuredAgentToken: string | null;
  /** May people create an account themselves? It may change while the process runs. */
  readonly registration: 'open' | 'off';
  /** The system principal also holds the rights of an administrator. */
  agentTokenAdmin: boolean;
}

/** `secrets` seals what must be read again: second factors, encrypted settings, the rotated agent token. */
export interface IdentityDeps extends SettingsDeps {
  identity: IdentitySettings;
  passwords: PasswordHasher;
}
