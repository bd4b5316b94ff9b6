/** Canonical JSON against what Python wrote (`json.dumps(value, sort_keys=True)`, CPython 3), and the headers with ETags. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { canonicalJson, etagOf, isExpectedEtag, isKnownEtag, parseEtags } from '../../api/etag.ts';

/** Each with the text that Python gave, and the sha256 it had there. */
const vectors: [name: string, value: unknown, text: string, sha256: string][] = [
  [
    'sorted keys, separators, words',
    { b: 1, a: [1, 2, { z: null, y: true }], c: 'x' },
    '{"a": [1, 2, {"y": true, "z": null}], "b": 1, "c": "x"}',
    '423b3b2ea8a5f741b0ef180155ce8fab4acb0f67ef6694e270b933c9d9eec78b',
  ],
  [
    'an empty list of jobs',
    { jobs: [] },
    '{"jobs": []}',
    '921e8f3293fce9361134d3b09cc4cf53f832e92dd9bc5c98bd865d2fadaf51e5',
  ],
  ['an empty list', [], '[]', '4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945'],
  ['an empty object', {}, '{}', '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a'],
  [
    'letters beyond ASCII',
    { name: 'Größe ≤ 5 µm' },
    String.raw`{"name": "Gr\u00f6\u00dfe \u2264 5 \u00b5m"}`,
    '6205605c326884be2f9277afc76f0571e9c0cfe164735d84e2dfec7a321797ad',
  ],
  [
    'surrogate pairs, controls, DEL, quotes',
    { name: '🚀 \u2028 \x7f \x00 \x1f \b\f\n\r\t "\\/ <>&' },
    String.raw`{"name": "\ud83d\ude80 \u2028 \u007f \u0000 \u001f \b\f\n\r\t \"\\/ <>&"}`,
    'd965ade3b30e5884674a6bd74f2c759a58d80b44f6786a7e07e4a3fd3ab7bb94',
  ],
  [
    'keys in the order of code points, not of UTF-16 units',
    { '\ufb01': 1, '\u{1f680}': 2, z: 3 },
    String.raw`{"z": 3, "\ufb01": 1, "\ud83d\ude80": 2}`,
    '1174c5a0f48408434ca3f61b9b7c9ecb77fb48ff774eaa733cc6f61de3b2f0cb',
  ],
  [
    'floats',
    {
      a: 1.5,
      b: 0.0001,
      c: 0.00001234,
      d: 1e21,
      e: -2.5e-7,
      f: 123456789.125,
      g: -0.5,
      h: 5e-324,
      i: 1.7976931348623157e308,
    },
    '{"a": 1.5, "b": 0.0001, "c": 1.234e-05, "d": 1e+21, "e": -2.5e-07, "f": 123456789.125, "g": -0.5, ' +
      '"h": 5e-324, "i": 1.7976931348623157e+308}',
    '286aa6ae1c1c3b42672bed90ea767293b7869ada4f5533672588f9efcbd8fbfd',
  ],
  [
    'half of a surrogate pair',
    { lone: '\ud800' },
    String.raw`{"lone": "\ud800"}`,
    '000444900e015c6950209b4a4753c056064b5705a0fbcd8b466bc955bf203492',
  ],
  [
    'a job, nulls included',
    {
      id: '01890000-0000-7000-8000-000000000000',
      name: 'Process payroll',
      status: 'pending',
      created_at: '2025-01-14T10:00:00.000000',
      updated_at: null,
    },
    '{"created_at": "2025-01-14T10:00:00.000000", "id": "01890000-0000-7000-8000-000000000000", ' +
      '"name": "Process payroll", "status": "pending", "updated_at": null}',
    '612adcd5c3a06141d838b8e36a580917934aa841243c1f3491aea9389c24161f',
  ],
];

describe('canonical JSON', () => {
  it.each(vectors)('%s', (_name, value, text, sha256) => {
    expect(canonicalJson(value)).toBe(text);
    expect(createHash('sha256').update(text).digest('hex')).toBe(sha256);
    expect(etagOf(value)).toBe(`"${sha256}"`);
  });

  it('is that of what a client reads: the same before and after the way through JSON', () => {
    const value = { n: -0, big: 9_007_199_254_740_991, gone: undefined, list: [undefined, 'ä'] };
    const read: unknown = JSON.parse(JSON.stringify(value));
    expect(canonicalJson(value)).toBe(canonicalJson(read));
    expect(canonicalJson(read)).toBe(String.raw`{"big": 9007199254740991, "list": [null, "\u00e4"], "n": 0}`);
  });
});

const etag = '"abc"';

describe('If-None-Match', () => {
  it.each([
    ['"abc"'],
    ['abc'],
    ['W/"abc"'],
    ['W/abc'],
    ['*'],
    [' * '],
    ['"x", "abc"'],
    ['"x","abc" , "y"'],
    ['x, abc'],
    ['"x, y", W/"abc"'],
    [',, ,"abc"'],
    ['"broken, , abc'],
    ['"" , "abc"'],
  ])('%s names it', (header) => {
    expect(isKnownEtag(header, etag)).toBe(true);
  });

  it.each([
    [''],
    [','],
    ['"abcd"'],
    ['ABC'],
    ['"abc'],
    ['abc"'],
    ['"abc" x'],
    ['w/"abc"'],
    ['W/ "abc"'],
    ['"x", *'],
    ['"ab c"'],
    ['\\"abc\\"'],
  ])('%s does not', (header) => {
    expect(isKnownEtag(header, etag)).toBe(false);
  });

  it('is nothing when it is not sent', () => {
    expect(isKnownEtag(undefined, etag)).toBe(false);
  });

  it('takes no longer for hostile lists than their length', () => {
    const hostile = ['"', '",', 'W/', ' ,', '"a', '"a,'].map((part) => part.repeat(300_000));
    // A reader that looks back for each part would need minutes: the test's own time limit ends it.
    for (const header of hostile) expect(parseEtags(header)).toBeDefined();
  });
});

describe('If-Match', () => {
  it.each([['"abc"'], ['abc'], ['*'], ['"x", "abc"']])('%s names it', (header) => {
    expect(isExpectedEtag(header, etag)).toBe(true);
  });

  it.each([[''], ['W/"abc"'], ['"x"'], ['"abc'], ['"abc" x']])('%s does not', (header) => {
    expect(isExpectedEtag(header, etag)).toBe(false);
  });
});
