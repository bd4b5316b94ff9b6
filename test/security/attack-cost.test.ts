/** What one request of a stranger may cost: nothing that grows faster than what was sent. */
import { expect, it } from 'vitest';
import { z } from 'zod';
import { clientAddress, stripSecrets } from '../../api/context.ts';
import { parseStrictJson } from '../../api/middleware/strict-json.ts';
import { parameterLists } from '../../api/parse-request.ts';
import { laxFloat, laxInt } from '../../contracts/families/dex/lax.ts';
import { familyOfPath } from '../../contracts/families/family.ts';
import { visibleText } from '../../contracts/visible-text.ts';
import { canonicalName } from '../../domain/identity/canonical-name.ts';
import { networkOf } from '../../domain/identity/network.ts';
import { redactText } from '../../log.ts';

/** Far more than a request may hold: what grows with its square would take hours and not end within a test's time. */
const SIZE = 2_000_000;

const names = (size: number, suffix: string): string =>
  Array.from({ length: Math.ceil(size / 10) }, (_, i) => `n${i}${suffix}=1`).join('&');
const tolerate = (work: () => unknown): void => {
  try {
    work();
  } catch {
    // Refused, which is an answer.
  }
};

const numbers = ['1'.repeat(3_999), '1_'.repeat(1_999), `${'1'.repeat(2_000)}.${'1'.repeat(1_998)}`].map(
  (digits) => `${digits}x`,
);

const works: Record<string, (size: number) => unknown> = {
  'a log line that is one word': (size) => redactText('a'.repeat(size)),
  'a log line of half tokens': (size) => redactText('eyJ-'.repeat(size / 4)),
  'a log line of half tokens with dots': (size) => redactText('eyJaaaaaaaa.'.repeat(size / 12)),
  'a log line of half addresses': (size) => redactText('a://b:'.repeat(size / 6)),
  'a log line of half headers': (size) => redactText('Bearer '.repeat(size / 7)),
  'a log line of one long parameter': (size) => redactText(`?${'token'.repeat(size / 5)}`),
  'a query of many names': (size) => parameterLists(new URLSearchParams(names(size, ''))),
  'a query of many secrets': (size) => stripSecrets(`/x?${names(size, 'token')}`),
  'a query of one long name': (size) => stripSecrets(`/x?${'token'.repeat(size / 5)}x=1`),
  'a body of escapes': (size) => tolerate(() => parseStrictJson(`{"a":"${'\\\\\\"'.repeat(size / 4)}"}`)),
  'a body of keys': (size) => tolerate(() => parseStrictJson(`{${'"k":1,'.repeat(size / 6)}"z":1}`)),
  'a body that is nested': (size) =>
    tolerate(() => parseStrictJson('['.repeat(size / 2) + ']'.repeat(size / 2))),
  'a body of numbers that are none': (size) =>
    [laxFloat(), laxInt()].map((schema) =>
      numbers.map((number) => z.array(schema).safeParse(Array(size / 4_000).fill(number)).success),
    ),
  'a name of ligatures': (size) => canonicalName('ﷺ'.repeat(size / 20)),
  'an address that is none': (size) => networkOf(':'.repeat(size)),
  'a path of slashes': (size) => familyOfPath('/'.repeat(size), 'steel'),
  'a path of many parts': (size) => familyOfPath('/a'.repeat(size / 2), 'steel'),
  'control characters': (size) => visibleText('\u0000'.repeat(size)),
};

it.each(Object.entries(works))('%s comes to its end', (_name, work) => {
  expect(() => work(SIZE)).not.toThrow();
});

it('redacts as before', () => {
  const jwt = `eyJhbGciOiJIUzI1NiJ9.${'e'.repeat(300)}.${'s'.repeat(43)}`;
  const text = `postgres://ada:secret@db/x Bearer abc.def ?a=1&access_token=xyz x-${jwt} amqps://u:p%40w@h`;
  const redacted = redactText(text);
  for (const secret of ['secret', 'abc.def', 'xyz', jwt, 'p%40w']) expect(redacted).not.toContain(secret);
  expect(redacted).toContain('postgres://ada:');
});

it('an address that a proxy names with its port is that address', () => {
  const from = (header: string, hops = 1): string =>
    clientAddress(
      { headers: { 'x-forwarded-for': header }, socket: { remoteAddress: '10.0.0.1' } } as never,
      hops,
    );
  expect(from('198.51.100.7:40001')).toBe('198.51.100.7');
  expect(from('198.51.100.7')).toBe('198.51.100.7');
  expect(from('"[2001:db8::1]:40001"')).toBe('2001:db8::1');
  expect(from('[2001:db8::1]')).toBe('2001:db8::1');
  expect(from('2001:db8::1')).toBe('2001:db8::1');
  expect(from('1.1.1.1, 198.51.100.7:40001')).toBe('198.51.100.7');
  expect(from('unknown')).toBe('unknown');
  expect(networkOf(from('[2001:db8::5]:1'))).toBe(networkOf('2001:db8::1'));
});
