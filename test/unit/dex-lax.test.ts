/** What dex's server made of numbers and booleans in bodies and queries, by the rules of pydantic 2 in lax mode. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { dexCommandBodySchema, dexHistoryRoute } from '../../contracts/families/dex/commands.ts';
import { dexInstallerBodySchema } from '../../contracts/families/dex/installer.ts';
import { laxBoolean, laxFloat, laxInt } from '../../contracts/families/dex/lax.ts';
import {
  dexExecuteSavedBodySchema,
  dexSavedBodySchema,
} from '../../contracts/families/dex/saved-commands.ts';
import { dexModelConfigBodySchema, dexSettingBodySchema } from '../../contracts/families/dex/settings.ts';

/** Stands for a refusal. */
const no = Symbol('refused');
type Row = [value: unknown, made: unknown];

const table: Record<string, { schema: z.ZodType; rows: Row[] }> = {
  int: {
    schema: laxInt(),
    rows: [
      [30, 30],
      [-1, -1],
      [30.0, 30],
      [1e3, 1000],
      ['30', 30],
      ['-30', -30],
      ['+30', 30],
      [' 30\n', 30],
      ['007', 7],
      ['30.0', 30],
      ['30.', 30],
      ['1_000', 1000],
      [true, 1],
      [false, 0],
      [30.5, no],
      ['30.5', no],
      ['1e3', no],
      ['0x10', no],
      ['', no],
      [' ', no],
      ['3 0', no],
      ['_1', no],
      ['1_', no],
      ['1__0', no],
      ['.0', no],
      ['thirty', no],
      ['٣', no],
      ['9'.repeat(20), no],
      ['9'.repeat(5_000), no],
      [Number.POSITIVE_INFINITY, no],
      [null, no],
      [[30], no],
      [{ value: 30 }, no],
    ],
  },
  float: {
    schema: laxFloat(),
    rows: [
      [1.5, 1.5],
      [2, 2],
      ['1.5', 1.5],
      ['2', 2],
      ['-.5', -0.5],
      ['+1.', 1],
      [' 1.5 ', 1.5],
      ['1e3', 1000],
      ['1.5E-1', 0.15],
      ['1_000.5', 1000.5],
      [true, 1],
      [false, 0],
      ['', no],
      ['.', no],
      ['1,5', no],
      ['1.5s', no],
      ['0x10', no],
      ['1_.5', no],
      ['e3', no],
      // Pydantic takes these; what they are for here (seconds, temperatures) has an end.
      ['inf', no],
      ['nan', no],
      ['1e999', no],
      [null, no],
      [[1.5], no],
    ],
  },
  bool: {
    schema: laxBoolean(),
    rows: [
      ...[true, 1, 1.0, '1', 't', 'T', 'y', 'Y', 'yes', 'YES', 'on', 'On', 'true', 'True', 'TRUE'].map(
        (value): Row => [value, true],
      ),
      ...[
        false,
        0,
        0.0,
        -0,
        '0',
        'f',
        'F',
        'n',
        'N',
        'no',
        'NO',
        'off',
        'Off',
        'false',
        'False',
        'FALSE',
      ].map((value): Row => [value, false]),
      ...[2, -1, 0.5, '', ' true', 'true ', '2', '1.0', 'enabled', 'ja', 'tru', null, [], [true], {}].map(
        (value): Row => [value, no],
      ),
    ],
  },
};

describe.each(Object.entries(table))('%s', (_name, { schema, rows }) => {
  it.each(rows)('of %j is %s', (value, made) => {
    const read = schema.safeParse(value);
    expect(read.success ? read.data : no).toEqual(made);
  });

  it('is absent, null or given where that may be', () => {
    const shape = z.object({ given: schema.nullish() });
    expect(shape.parse({})).toEqual({});
    expect(shape.parse({ given: null })).toEqual({ given: null });
    expect(shape.safeParse({ given: 'nonsense' }).success).toBe(false);
  });
});

describe('the bodies', () => {
  it('take what clients of dex send', () => {
    expect(dexCommandBodySchema.parse({ command: 'ls', timeout: '30', run_as_admin: 'false' })).toEqual({
      command: 'ls',
      timeout: 30,
      run_as_admin: false,
    });
    expect(dexExecuteSavedBodySchema.parse({ agent_ids: ['a'], timeout: '45.0', queue: 1 })).toMatchObject({
      timeout: 45,
      queue: true,
    });
    expect(dexInstallerBodySchema.parse({ auto_start: 'yes', debug: 0 })).toMatchObject({
      auto_start: true,
      debug: false,
    });
    const settings = { api_key: 'k', max_tokens: '1000', temperature: '0.7' };
    expect(dexModelConfigBodySchema.parse(settings)).toMatchObject({ max_tokens: 1000, temperature: 0.7 });
    expect(dexSettingBodySchema.parse({ key: 'a', value: 'b', is_encrypted: 'on' }).is_encrypted).toBe(true);
    expect(dexSettingBodySchema.parse({ key: 'a', value: 'b' }).is_encrypted).toBe(false);
    const parameters = [{ name: 'n', required: 'True' }];
    expect(dexSavedBodySchema.parse({ name: 'n', command: 'c', parameters }).parameters?.[0]?.required).toBe(
      true,
    );
    expect(dexHistoryRoute.query.parse({})).toEqual({ limit: 50 });
    expect(dexHistoryRoute.query.parse({ limit: '7' })).toEqual({ limit: 7 });
  });

  it('keep their bounds', () => {
    const takes = (schema: z.ZodType, body: object) => schema.safeParse(body).success;
    for (const timeout of ['0', '-1', false, 'soon', '', 'inf'])
      expect(takes(dexCommandBodySchema, { command: 'ls', timeout }), String(timeout)).toBe(false);
    for (const max_tokens of ['0', '1.5', 1.5, 'many'])
      expect(takes(dexModelConfigBodySchema, { api_key: 'k', max_tokens }), String(max_tokens)).toBe(false);
    expect(takes(dexModelConfigBodySchema, { api_key: 'k', temperature: '2.1' })).toBe(false);
    for (const limit of ['0', '', '0x10', '1.5']) expect(takes(dexHistoryRoute.query, { limit })).toBe(false);
    expect(takes(dexCommandBodySchema, { command: 'ls', run_as_admin: 'admin' })).toBe(false);
  });

  it('take no number for a text', () => {
    expect(dexCommandBodySchema.safeParse({ command: 30 }).success).toBe(false);
    expect(dexSettingBodySchema.safeParse({ key: 'a', value: 30 }).success).toBe(false);
    expect(dexSavedBodySchema.safeParse({ name: 1, command: 'c' }).success).toBe(false);
  });
});
