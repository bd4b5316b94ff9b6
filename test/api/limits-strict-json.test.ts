import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MAX_JSON_DEPTH, parseStrictJson } from '../../api/middleware/strict-json.ts';

const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);

test('what it accepts, it reads as JSON.parse does', () => {
  const value = fc.jsonValue({ maxDepth: 8, stringUnit: 'binary' });
  const layout = fc.constantFrom(undefined, 1, '\t');
  fc.assert(
    fc.property(value, layout, (json, indent) => {
      const text = JSON.stringify(json, null, indent);
      fc.pre(!/\\u0000|__proto__|constructor|prototype/.test(text));
      expect(parseStrictJson(text)).toEqual(JSON.parse(text));
    }),
  );
});

test('it accepts nothing that JSON.parse refuses', () => {
  const pieces = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '"a"',
    '1',
    'null',
    ' ',
    '\\"',
    '\\u0061',
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 12 }), (parts) => {
      const text = parts.join('');
      let expected: unknown;
      try {
        expected = JSON.parse(text);
      } catch {
        expect(() => parseStrictJson(text)).toThrow();
        return;
      }
      try {
        expect(parseStrictJson(text)).toEqual(expected);
      } catch (error) {
        expect(String(error)).toContain('twice');
      }
    }),
    { numRuns: 500 },
  );
});

test('a key that is there twice in one object is found at any depth, and only there', () => {
  const key = fc
    .string({ unit: 'binary', maxLength: 4 })
    .filter((text) => !text.includes('\0') && text.isWellFormed());
  fc.assert(
    fc.property(key, fc.nat(10), (name, depth) => {
      const quoted = JSON.stringify(name);
      const escaped = `"${[...name].map(escape).join('')}"`;
      const wrap = (text: string) => '[{"x":'.repeat(depth) + text + '}]'.repeat(depth);
      expect(() => parseStrictJson(wrap(`{${quoted}:1,"other":[{${quoted}:1}],${escaped}:2}`))).toThrow(
        'twice',
      );
      if (name === 'other') return;
      expect(() =>
        parseStrictJson(wrap(`{${quoted}:${quoted},"other":{${quoted}:[${quoted}]}}`)),
      ).not.toThrow();
    }),
  );
});

function escape(character: string): string {
  return character
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');
}

test.each([
  ['{"__proto__":1}', 'not allowed'],
  ['{"a":{"constructor":1}}', 'not allowed'],
  ['[{"protot\\u0079pe":1}]', 'not allowed'],
  ['{"a":"\\u0000"}', 'U+0000'],
  ['"\\ud800"', 'surrogate'],
  [nested(MAX_JSON_DEPTH + 1), 'deeper'],
  [nested(100_000), 'deeper'],
  ['{"a":1', 'not acceptable JSON'],
  ['', 'not acceptable JSON'],
])('%.40s is refused', (text, reason) => {
  expect(() => parseStrictJson(text)).toThrow(reason);
});

test.each([
  '"__proto__"',
  '["constructor"]',
  '{"a":"prototype"}',
  nested(MAX_JSON_DEPTH),
  '"\\ud83d\\ude00"',
])('%.40s is taken', (text) => {
  expect(parseStrictJson(text)).toEqual(JSON.parse(text));
});
