/**
 * Secrets at rest: sealed under the first of the configured Fernet keys (SETTINGS_ENCRYPTION_KEY), opened with any.
 *
 *  A. The name of what is sealed stands inside the plaintext, length first: a sealed text that was moved to another row
 *     does not open there.
 */
import { FERNET_KEY_BYTES, fernetDecrypt, fernetEncrypt, parseFernetKey } from './fernet.ts';

export interface SecretBox {
  /** @param name of the one place it may be opened for, e.g. `setting/llm/api_key` or `mfa/<user id>` */
  seal(name: string, plain: string): string;
  /** @throws SecretBoxError when it was sealed by another key, for another name, or was changed */
  open(name: string, sealed: string): string;
  /** Was it sealed with a key that is no longer the first? */
  isStale(sealed: string): boolean;
}

/** Says which name did not open; never what was in it. */
export class SecretBoxError extends Error {
  readonly secretName: string;

  constructor(secretName: string) {
    super(
      `${secretName} cannot be opened: no key of SETTINGS_ENCRYPTION_KEY fits, or it was sealed for another place`,
    );
    this.name = 'SecretBoxError';
    this.secretName = secretName;
  }
}

const NAME_LENGTH_BYTES = 2;
const MAX_NAME_BYTES = 0xffff;

/**
 * @param keys Fernet keys: the first seals, all open
 * @throws Error when there is none, or one is not 32 bytes in URL-safe base64
 */
export function createSecretBox(keys: readonly string[]): SecretBox {
  const parsed = keys.map(parseFernetKey);
  const [first = Buffer.alloc(FERNET_KEY_BYTES)] = parsed;
  if (parsed.length === 0) throw new Error('no key to seal secrets with');

  return {
    seal: (name, plain) => fernetEncrypt(first, Buffer.concat([label(name), Buffer.from(plain, 'utf8')])),
    open(name, sealed) {
      const start = label(name);
      for (const key of parsed) {
        const bytes = fernetDecrypt(key, sealed);
        if (bytes === undefined) continue;
        if (!bytes.subarray(0, start.length).equals(start)) break; // A
        return bytes.subarray(start.length).toString('utf8');
      }
      throw new SecretBoxError(name);
    },
    isStale: (sealed) => fernetDecrypt(first, sealed) === undefined,
  };
}

function label(name: string): Buffer {
  const bytes = Buffer.from(name, 'utf8');
  if (bytes.length > MAX_NAME_BYTES) throw new Error('the name of a secret is too long');
  const length = Buffer.alloc(NAME_LENGTH_BYTES);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
