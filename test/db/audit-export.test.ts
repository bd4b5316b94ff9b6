import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { insertAuditEvents } from '../../db/audit-events.ts';
import { createDatabase, type Db, queryOne } from '../../db/database.ts';
import { type ExportWish, exportAudit } from '../../domain/audit/export.ts';
import { jsonbText } from '../../domain/audit/jsonb-text.ts';
import { verifySeals } from '../../domain/audit/verify.ts';
import { verifyExport } from '../../domain/audit/verify-export.ts';
import { auditEntryOf, sealAll } from '../support/audit.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let db: Db;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 6, applicationName: 'audit-export-test' });
});
beforeEach(async () => {
  await db.raw('truncate audit_events, audit_seals restart identity cascade');
});
afterAll(async () => {
  await db.destroy();
  await database.drop();
});

async function linesOf(wish: ExportWish = {}): Promise<string[]> {
  let text = '';
  for await (const piece of exportAudit(db, wish)) text += piece;
  return text.split('\n').filter((line) => line !== '');
}

async function* each(lines: readonly string[]): AsyncGenerator<string> {
  yield* lines;
}

const write = (count: number, prefix = 'r') =>
  insertAuditEvents(
    db,
    Array.from({ length: count }, (_, i) =>
      auditEntryOf(`${prefix}${i}`, { details: { n: i, 'ключ "q"': ['a\\b', null, true], long: { a: {} } } }),
    ),
  );

describe('an export of the audit trail', () => {
  it('holds every row once, in the order of the seals, and can be checked without the database', async () => {
    await write(100);
    await sealAll(db);
    await write(7, 'later');
    const lines = await linesOf();
    const rows = lines.map((line) => JSON.parse(line));
    expect(new Set(rows.map((row) => row.id)).size).toBe(107);
    expect(rows.filter((row) => row.seal === null)).toHaveLength(7);
    const inDatabase = await verifySeals(db);
    const inFile = await verifyExport(each(lines));
    expect(inFile).toMatchObject({
      ok: true,
      seals: 3,
      rows: 100,
      unsealedRows: 7,
      lastHash: inDatabase.lastHash,
    });
  });

  it('goes on where another ended, and both together are the chain', async () => {
    await write(80);
    await sealAll(db);
    const first = await verifyExport(each(await linesOf()));
    await write(50, 'later');
    await sealAll(db);
    const rest = await linesOf({ afterSeal: first.seals });
    expect(rest).toHaveLength(50);
    const second = await verifyExport(each(rest), first.lastHash);
    expect(second).toMatchObject({ ok: true, firstHash: first.lastHash, isNotedFound: true });
    expect(await verifyExport(each(rest), 'f'.repeat(64))).toMatchObject({ ok: false, isNotedFound: false });
  });

  it('leaves out rows of open transactions, and does not run after the writers', async () => {
    await write(3);
    const open = await db.transaction();
    try {
      await insertAuditEvents(open, [auditEntryOf('open')]);
      await write(2, 'behind');
      const pieces = exportAudit(db);
      const seen: string[] = [];
      for await (const piece of pieces) {
        await write(5, 'meanwhile');
        seen.push(piece);
      }
      const names = seen.join('').match(/"principalName":"[^"]+"/g) ?? [];
      expect(names).toHaveLength(3);
    } finally {
      await open.commit();
    }
  });

  it('narrows by what the list narrows by', async () => {
    await insertAuditEvents(db, [
      auditEntryOf('ada', { outcome: 'denied', address: '192.0.2.1', requestId: 'q-1' }),
      auditEntryOf('ada', { action: 'test.other' }),
      auditEntryOf('bob', { targetKind: 'task', targetId: 't-9' }),
    ]);
    await sealAll(db);
    const count = async (wish: ExportWish) => (await linesOf(wish)).length;
    expect(await count({ principal: 'ada' })).toBe(2);
    expect(await count({ outcome: 'denied' })).toBe(1);
    expect(await count({ outcome: 'success' })).toBe(2);
    expect(await count({ action: 'test.' })).toBe(3);
    expect(await count({ action: 'test.other' })).toBe(1);
    expect(await count({ targetKind: 'task', targetId: 't-9' })).toBe(1);
    expect(await count({ address: '192.0.2.1', requestId: 'q-1' })).toBe(1);
    expect(await count({ from: new Date(Date.now() + 60_000) })).toBe(0);
    expect(await count({ to: new Date(Date.now() + 60_000) })).toBe(3);
    expect(await verifyExport(each(await linesOf({ principal: 'ada' })))).toMatchObject({
      ok: false,
      firstBad: { reason: 'row_count' },
    });
  });
});

describe('checking an export', () => {
  const change = (line: string, patch: object): string =>
    JSON.stringify({ ...(JSON.parse(line) as object), ...patch });

  it('finds what was changed, taken out, added, moved, or is no line at all', async () => {
    await write(90);
    await sealAll(db, 30);
    const lines = await linesOf();
    const at = (no: number): string => lines[no] ?? '';
    const faults: [string, string[], string][] = [
      ['a changed name', lines.with(5, change(at(5), { principalName: 'somebody' })), 'hash'],
      ['changed details', lines.with(5, change(at(5), { details: { n: 4 } })), 'hash'],
      ['a row taken out', lines.toSpliced(5, 1), 'positions'],
      ['the last row of a seal taken out', lines.toSpliced(29, 1), 'row_count'],
      ['a row added', lines.toSpliced(5, 0, at(5)), 'positions'],
      ['rows swapped', lines.with(5, at(6)).with(6, at(5)), 'positions'],
      ['a seal taken out', lines.toSpliced(30, 30), 'gap'],
      ['seals swapped', [...lines.slice(30, 60), ...lines.slice(0, 30), ...lines.slice(60)], 'gap'],
      ['a sealed row called unsealed', lines.with(5, change(at(5), { seal: null })), 'row_count'],
      ['no JSON', lines.with(5, '{'), 'not_a_line'],
      ['another shape', lines.with(5, '{}'), 'not_a_line'],
    ];
    for (const [what, spoiled, reason] of faults) {
      expect(await verifyExport(each(spoiled)), what).toMatchObject({ ok: false, firstBad: { reason } });
    }
  });

  it('does not mind how the JSON is written', async () => {
    await write(10);
    await sealAll(db);
    const lines = (await linesOf()).map((line) => {
      const entries = Object.entries(JSON.parse(line) as object).reverse();
      return `  ${JSON.stringify(Object.fromEntries(entries))} `;
    });
    expect(await verifyExport(each(lines))).toMatchObject({ ok: true, rows: 10 });
  });

  it('prints values as Postgres prints jsonb', async () => {
    const text = fc
      .string({ unit: 'grapheme' })
      .filter((part) => !part.includes('\u0000') && part.isWellFormed());
    const number = fc.oneof(
      fc.integer(),
      fc.integer({ min: -1e9, max: 1e9 }).map((n) => n / 1000),
      // What we write with an exponent Postgres keeps, and prints, without.
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.constantFrom(1e-7, -2.5e-9, 1e21, -1.25e300, 5e-324),
    );
    const leaf = fc.oneof(text, number, fc.boolean(), fc.constant(null));
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        leaf,
        fc.array(tie('value'), { maxLength: 4 }),
        fc.dictionary(text, tie('value'), { maxKeys: 5 }),
      ),
    }));
    await fc.assert(
      fc.asyncProperty(value, async (given) => {
        const row = await queryOne<{ text: string }>(
          db,
          'select cast(cast(:json as jsonb) as text) as text',
          {
            json: JSON.stringify(given),
          },
        );
        expect(jsonbText(given)).toBe(row?.text);
      }),
      { numRuns: 200 },
    );
  });
});

describe('words of others in the audit trail', () => {
  it('cannot break lines, drive terminals or keep a row from being written', async () => {
    const nasty = 'a\r\nb\u0000c\u001b[31mred\u0007\u009b2J\u202egnp\u200b\ud800';
    const shown = 'a␍␊b␀c␛[31mred␇\uFFFD2J\uFFFDgnp\uFFFD\uFFFD';
    await insertAuditEvents(db, [
      auditEntryOf(nasty, {
        address: nasty,
        requestId: nasty,
        details: { reason: nasty, deep: [{ [nasty]: nasty }], n: 1, none: null },
      }),
    ]);
    const row = await db('audit_events').first();
    expect(row).toMatchObject({
      principal_id: shown,
      principal_name: shown,
      target_id: shown,
      address: shown,
      request_id: shown,
      details: { reason: shown, deep: [{ [shown]: shown }], n: 1, none: null },
    });
    await sealAll(db);
    expect(await verifyExport(each(await linesOf()))).toMatchObject({ ok: true });
  });

  it('are cut when they are very long, and say so', async () => {
    await insertAuditEvents(db, [
      auditEntryOf('x'.repeat(100_000), { details: { reason: '😀'.repeat(50_000) } }),
    ]);
    const row = await db('audit_events').first();
    expect(row.target_id).toHaveLength(4_001);
    expect(row.target_id.endsWith('…')).toBe(true);
    expect(row.details.reason.isWellFormed()).toBe(true);
  });
});
