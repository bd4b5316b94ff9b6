/**
 * Fernet (https://github.com/fernet/spec): AES-128-CBC, then HMAC-SHA256 over everything before it.
 * A token is `version(1) time(8) iv(16) ciphertext mac(32)` in padded URL-safe base64.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

/** Bytes of a key: half signs, half encrypts. */
export const FERNET_KEY_BYTES = 32;
const SIGNING_BYTES = 16;
const VERSION = 0x80;
const TIME_OFFSET = 1;
const IV_OFFSET = 9;
const IV_BYTES = 16;
const HEAD_BYTES = IV_OFFSET + IV_BYTES;
const MAC_BYTES = 32;
const BLOCK_BYTES = 16;

/** The bytes of a key as it is configured. @throws Error when they are not 32 in URL-safe base64 */
export function parseFernetKey(text: string): Buffer {
  const key = Buffer.from(text, 'base64url');
  if (key.length !== FERNET_KEY_BYTES) throw new Error('a Fernet key has 32 bytes in URL-safe base64');
  return key;
}

/** @param given time and initialisation vector, for the vectors of the specification only */
export function fernetEncrypt(key: Buffer, plain: Buffer, given: { now?: Date; iv?: Buffer } = {}): string {
  const head = Buffer.alloc(IV_OFFSET);
  head.writeUInt8(VERSION);
  head.writeBigUInt64BE(BigInt(Math.floor((given.now?.getTime() ?? Date.now()) / 1000)), TIME_OFFSET);
  const iv = given.iv ?? randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-128-cbc', key.subarray(SIGNING_BYTES), iv);
  const signed = Buffer.concat([head, iv, cipher.update(plain), cipher.final()]);
  return toPaddedBase64Url(Buffer.concat([signed, macOf(key, signed)]));
}

/** The plaintext, or undefined when this key did not make the token. A token has no age here: settings do not expire. */
export function fernetDecrypt(key: Buffer, token: string): Buffer | undefined {
  if (!/^[\w-]+={0,2}$/.test(token)) return undefined;
  const bytes = Buffer.from(token, 'base64url');
  const cipherLength = bytes.length - HEAD_BYTES - MAC_BYTES;
  if (cipherLength < BLOCK_BYTES || cipherLength % BLOCK_BYTES !== 0 || bytes[0] !== VERSION)
    return undefined;
  const signed = bytes.subarray(0, -MAC_BYTES);
  if (!timingSafeEqual(macOf(key, signed), bytes.subarray(-MAC_BYTES))) return undefined;
  const iv = signed.subarray(IV_OFFSET, HEAD_BYTES);
  const decipher = createDecipheriv('aes-128-cbc', key.subarray(SIGNING_BYTES), iv);
  try {
    return Buffer.concat([decipher.update(signed.subarray(HEAD_BYTES)), decipher.final()]);
  } catch {
    return undefined; // the padding is wrong, which only the holder of the key can bring about
  }
}

const macOf = (key: Buffer, bytes: Buffer): Buffer =>
  createHmac('sha256', key.subarray(0, SIGNING_BYTES)).update(bytes).digest();

function toPaddedBase64Url(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}
