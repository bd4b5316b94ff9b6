import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { fernetDecrypt, fernetEncrypt, parseFernetKey } from '../../domain/fernet.ts';
import { createSecretBox, SecretBoxError } from '../../domain/secret-box.ts';

/** Key, time, vector and token of the Fernet specification's generate.json. */
const vector = {
  key: parseFernetKey('cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4='),
  now: new Date('1985-10-26T01:20:00-07:00'),
  iv: Buffer.from(Array.from({ length: 16 }, (_, index) => index)),
  token:
    'gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==',
};

/** Tokens of its invalid.json, without those that are only too old or too new. */
const invalid: [string, string][] = [
  [
    'incorrect mac',
    'gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ==',
  ],
  ['too short', 'gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA=='],
  [
    'invalid base64',
    '%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==',
  ],
  [
    'payload size not multiple of block size',
    'gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm',
  ],
  [
    'payload padding error',
    'gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw==',
  ],
  [
    'incorrect IV',
    'gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ==',
  ],
];

describe('Fernet', () => {
  it('makes the token of the specification', () => {
    expect(fernetEncrypt(vector.key, Buffer.from('hello'), vector)).toBe(vector.token);
  });

  it('reads the token of the specification', () => {
    expect(fernetDecrypt(vector.key, vector.token)?.toString()).toBe('hello');
  });

  it.each(invalid)('refuses a token with %s', (_, token) => {
    expect(fernetDecrypt(vector.key, token)).toBeUndefined();
  });

  it('gives back what went in, whatever its length', () => {
    for (const length of [0, 1, 15, 16, 17, 31, 4096]) {
      const plain = randomBytes(length);
      expect(fernetDecrypt(vector.key, fernetEncrypt(vector.key, plain))).toEqual(plain);
    }
  });

  it('refuses every change of a single bit', () => {
    const bytes = Buffer.from(vector.token, 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      const at = bit >> 3;
      changed.writeUInt8(changed.readUInt8(at) ^ (1 << (bit & 7)), at);
      expect(fernetDecrypt(vector.key, changed.toString('base64url'))).toBeUndefined();
    }
  });

  it('knows a key by its length', () => {
    expect(() => parseFernetKey('short')).toThrow('32 bytes');
  });
});

describe('the secret box', () => {
  const [older = '', newer = ''] = [randomBytes(32), randomBytes(32)].map(
    (key) => `${key.toString('base64url')}=`,
  );

  it('opens what it sealed, and never seals twice alike', () => {
    const box = createSecretBox([newer]);
    const sealed = box.seal('setting/llm/api_key', 'sk-Zürich');
    expect(box.open('setting/llm/api_key', sealed)).toBe('sk-Zürich');
    expect(box.seal('setting/llm/api_key', 'sk-Zürich')).not.toBe(sealed);
    expect(sealed).not.toContain('sk-');
  });

  it('does not open under another name, also where one name begins with the other', () => {
    const box = createSecretBox([newer]);
    const sealed = box.seal('mfa/1', '23');
    for (const name of ['mfa/2', 'mfa/12', 'mfa/', '']) {
      expect(() => box.open(name, sealed)).toThrow(SecretBoxError);
    }
  });

  it('opens with every key of the list, seals with the first, and tells what is stale', () => {
    const before = createSecretBox([older]).seal('name', 'value');
    const rotated = createSecretBox([newer, older]);
    expect(rotated.open('name', before)).toBe('value');
    expect(rotated.isStale(before)).toBe(true);
    const after = rotated.seal('name', 'value');
    expect(rotated.isStale(after)).toBe(false);
    expect(createSecretBox([newer]).open('name', after)).toBe('value');
    expect(() => createSecretBox([newer]).open('name', before)).toThrow(SecretBoxError);
  });

  it('tells the name and nothing else when it cannot open', () => {
    const box = createSecretBox([newer]);
    const thrown = (): unknown => box.open('name', 'rubbish');
    expect(thrown).toThrow('name cannot be opened');
    expect(thrown).not.toThrow('rubbish');
  });

  it('needs a key', () => {
    expect(() => createSecretBox([])).toThrow('no key');
  });
});
