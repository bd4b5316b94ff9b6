import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { usernameSchema } from '../../contracts/users.ts';
import { canonicalName } from '../../domain/identity/canonical-name.ts';

describe('the canonical form of a name', () => {
  it.each([
    ['case', 'ADA'],
    ['white space', '  a d\ta\u00a0\u3000'],
    ['full-width letters', '\uff21\uff44\uff41'],
    ['zero-width characters', 'a\u200bd\u200d\ufeffa'],
    ['a right-to-left override', '\u202eada\u202c'],
    ['a soft hyphen', 'a\u00adda'],
    ['a variation selector', 'ada\ufe0f'],
    ['a filler', 'ada\u3164'],
    ['controls', 'a\u0000d\u001ba'],
    ['tag characters', 'ada\u{e0041}'],
  ])('is the same whatever the %s', (_what, twin) => {
    expect(canonicalName(twin)).toBe('ada');
  });

  it.each([
    ['Caf\u00e9', 'cafe\u0301'],
    ['stra\u00dfe', 'STRASSE'],
    ['\u017fam', 'Sam'],
    ['\u039f\u0394\u039f\u03a3', '\u03bf\u03b4\u03bf\u03c3'],
    ['\ufb01le', 'FILE'],
    ['e\u200b\u0301', '\u00c9'],
  ])('takes %j and %j for one', (one, other) => {
    expect(canonicalName(one)).toBe(canonicalName(other));
  });

  it('keeps different names apart, also where letters only look alike', () => {
    const names = ['ada', 'bob', 'a.da', 'a_da', 'a-da', 'ada1', 'ada@example.org', '\u0430da'];
    expect(new Set(names.map(canonicalName)).size).toBe(names.length);
  });

  it('is its own canonical form', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
        const once = canonicalName(text);
        expect(canonicalName(once)).toBe(once);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('a new user name', () => {
  it.each([
    'ada',
    'Ada.Lovelace',
    'ada@example.org',
    'a_b-c+d',
    '\u00c5sa',
    '\u0410\u043d\u043d\u0430',
    '\u5c71\u7530',
    '1st',
  ])('may be %j', (name) => expect(usernameSchema.parse(name)).toBe(name.normalize('NFKC')));

  it.each([
    '',
    ' ada',
    'a da',
    'a\u200bda',
    'ada\u0000',
    '\u001b[31mada',
    'ada\r\nSet-Cookie: x',
    '.ada',
    '<script>',
    "ada' or 1=1",
    '\u0430da', // the first letter is Cyrillic
    'x'.repeat(256),
    '\ufdfa'.repeat(100), // 18 characters each in NFKC
    '__proto__',
  ])('is not %j', (name) => expect(usernameSchema.safeParse(name).success).toBe(false));
});
