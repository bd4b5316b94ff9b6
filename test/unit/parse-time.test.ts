import fc from 'fast-check';
import pg from 'pg';
import { describe, expect, it } from 'vitest';

// The driver's own parser, before ours takes its place.
const driversParser: (text: string) => Date | number = pg.types.getTypeParser(pg.types.builtins.TIMESTAMPTZ);
const { parseTime } = await import('../../db/parse-time.ts');

describe('a time of the database', () => {
  it.each([
    ['2025-01-14 10:00:00+00', '2025-01-14T10:00:00.000Z'],
    ['2025-01-14 10:00:00.5+00', '2025-01-14T10:00:00.500Z'],
    ['2025-01-14 10:00:00.07+00', '2025-01-14T10:00:00.070Z'],
    ['2025-12-31 23:59:59.999+00', '2025-12-31T23:59:59.999Z'],
    ['2025-01-14 10:00:00.123999+00', '2025-01-14T10:00:00.123Z'],
    ['2024-02-29 00:00:00+00', '2024-02-29T00:00:00.000Z'],
    ['2025-01-14 10:00:00.5+02', '2025-01-14T08:00:00.500Z'],
    ['2025-01-14 10:00:00+05:30', '2025-01-14T04:30:00.000Z'],
    ['0099-01-14 10:00:00+00', '0099-01-14T10:00:00.000Z'],
    ['12025-01-14 10:00:00+00', '+012025-01-14T10:00:00.000Z'],
    ['0044-03-15 10:00:00+00 BC', '-000043-03-15T10:00:00.000Z'],
  ])('%s is read as %s', (text, expected) => {
    expect(parseTime(text).toISOString()).toBe(expected);
  });

  it('is what the driver reads', () => {
    expect(parseTime('infinity')).toBe(driversParser('infinity'));
    const written = fc.date({
      min: new Date(0),
      max: new Date('9999-12-31T23:59:59.999Z'),
      noInvalidDate: true,
    });
    fc.assert(
      fc.property(written, (date) => {
        // Postgres leaves trailing zeros of the fraction out.
        const text = date
          .toISOString()
          .replace('T', ' ')
          .replace(/\.?0*Z$/, '+00');
        expect(parseTime(text)).toEqual(date);
        expect(parseTime(text)).toEqual(driversParser(text));
      }),
    );
  });
});
