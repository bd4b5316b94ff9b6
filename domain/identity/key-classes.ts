/**
 * One key per use, derived from SECRET_KEY: what is signed for one use verifies for no other, and whoever learns one of
 * them learns neither the others nor SECRET_KEY.
 */
import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';

/** What a key is for. The text goes into the derivation: changing one ends everything that was made with it. */
const keyInfos = {
  access_token: 'steelthread access token v1',
  refresh_token: 'steelthread refresh token v1',
  unknown_name: 'steelthread unknown name v1',
} as const;

export type KeyClass = keyof typeof keyInfos;

const KEY_BYTES = 32;
const derived = new Map<string, KeyObject>();

/** HKDF-SHA-256 (RFC 5869) of one entry of SECRET_KEY with the class as `info`. Remembered: a process has few of them. */
export function deriveKey(secretKey: string, keyClass: KeyClass): KeyObject {
  const name = `${keyClass}\0${secretKey}`;
  const known = derived.get(name);
  if (known !== undefined) return known;
  const bytes = hkdfSync('sha256', secretKey, Buffer.alloc(0), keyInfos[keyClass], KEY_BYTES);
  const made = createSecretKey(Buffer.from(bytes));
  derived.set(name, made);
  return made;
}
