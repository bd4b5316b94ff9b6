import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { insertAuditEvents } from '../../db/audit-events.ts';
import { createDatabase, type Db, query } from '../../db/database.ts';
import { sealAudit } from '../../domain/audit/seal.ts';
import { verifySeals } from '../../domain/audit/verify.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let db: Db;

beforeAll(async () => {
  database = await createTestDatabase();
  db = createDatabase({ url: database.url, poolMax: 12, applicationName: 'sealer-test' });
});

beforeEach(async () => {
  await db.raw('truncate audit_events, audit_seals restart identity cascade');
});

afterAll(async () => {
  await db.destroy();
  await database.drop();
});

const entry = (name: string, details: Record<string, unknown> = {}) => ({
  principalKind: 'user',
  principalId: name,
  principalName: name,
  sessionId: null,
  address: null,
  requestId: null,
  action: 'test.act',
  targetKind: 'thing',
  targetId: name,
  outcome: 'success' as const,
  details,
});

/** The horizon is that of the whole server: transactions of other databases hold it back for a moment. */
async function sealUntil(total: number): Promise<void> {
  const deadline = Date.now() + 15_000;
  let sealed = 0;
  while (sealed < total) {
    sealed += await sealAudit({ db }, 37);
    if (Date.now() > deadline) throw new Error(`only ${sealed} of ${total} rows were sealed`);
  }
}

/** As somebody who may do everything in the database would. */
async function tamper(sql: string): Promise<void> {
  await db.transaction(async (trx) => {
    await trx.raw("set local session_replication_role = 'replica'");
    await trx.raw(sql);
  });
}

describe('the sealer', () => {
  it('loses no row of eight writers that commit out of order', async () => {
    const rowsEach = 60;
    let writing = 8;
    const write = async (writer: number) => {
      for (let i = 0; i < rowsEach; i += 3) {
        await db.transaction(async (trx) => {
          await insertAuditEvents(trx, [entry(`w${writer}-${i}`)]);
          // Ids are taken here, and the transactions end in an order of their own.
          await trx.raw('select pg_sleep(?)', [Math.random() / 100]);
          await insertAuditEvents(trx, [entry(`w${writer}-${i + 1}`), entry(`w${writer}-${i + 2}`)]);
        });
      }
      writing--;
    };
    const seal = async () => {
      while (writing > 0) await sealAudit({ db }, 37);
    };
    await Promise.all([...Array.from({ length: 8 }, (_, writer) => write(writer)), seal()]);
    const [left] = await query<{ count: number }>(
      db,
      'select count(*) as count from audit_events where seal_no is null',
    );
    await sealUntil(Number(left?.count));

    const rows = await query<{ principal_id: string }>(
      db,
      'select principal_id from audit_events where seal_no is not null order by seal_no, seal_position',
    );
    expect(new Set(rows.map((row) => row.principal_id)).size).toBe(8 * rowsEach);
    const [disorder] = await query<{ count: number }>(
      db,
      `select count(*) as count from (
         select (xid, id) < lag((xid, id)) over (order by seal_no, seal_position) as is_back from audit_events) r
       where is_back`,
    );
    expect(disorder?.count).toBe(0);
    expect(await verifySeals(db)).toMatchObject({ ok: true, rows: 8 * rowsEach });
  });

  it('leaves rows of an open transaction, and everything after it, for a later seal', async () => {
    const open = await db.transaction();
    try {
      await insertAuditEvents(open, [entry('first')]);
      await insertAuditEvents(db, [entry('second')]);
      expect(await sealAudit({ db })).toBe(0);
    } finally {
      await open.commit();
    }
    await sealUntil(2);
    const rows = await query<{ principal_id: string }>(
      db,
      'select principal_id from audit_events order by seal_no, seal_position',
    );
    expect(rows.map((row) => row.principal_id)).toEqual(['first', 'second']);
  });

  it('is safe when two work at once', async () => {
    await insertAuditEvents(
      db,
      Array.from({ length: 100 }, (_, i) => entry(`r${i}`)),
    );
    const deadline = Date.now() + 15_000;
    let left = 100;
    while (left > 0 && Date.now() < deadline) {
      await Promise.allSettled([sealAudit({ db }, 10), sealAudit({ db }, 10), sealAudit({ db }, 10)]);
      const [row] = await query<{ count: number }>(
        db,
        'select count(*) as count from audit_events where seal_no is null',
      );
      left = row?.count ?? 0;
    }
    expect(await verifySeals(db)).toMatchObject({ ok: true, rows: 100 });
  });

  it('takes no change of audit rows and seals in the normal way', async () => {
    await insertAuditEvents(db, [entry('a')]);
    await sealUntil(1);
    for (const sql of [
      "update audit_events set action = 'other'",
      'delete from audit_events',
      'update audit_events set seal_no = null',
      "update audit_seals set hash = 'x'",
    ]) {
      await expect(db.raw(sql), sql).rejects.toThrow(/write-once/);
    }
  });
});

describe('verification', () => {
  it.each([
    [
      'a changed value',
      "update audit_events set action = 'other' where seal_no = 2 and seal_position = 3",
      'hash',
    ],
    [
      'a changed detail',
      `update audit_events set details = '{"n": 1}' where seal_no = 2 and seal_position = 3`,
      'hash',
    ],
    ['a removed row', 'delete from audit_events where seal_no = 2 and seal_position = 3', 'row_count'],
    [
      'swapped rows',
      'update audit_events set seal_position = 7 - seal_position where seal_no = 2 and seal_position in (3, 4)',
      'hash',
    ],
    ['a removed seal', 'delete from audit_seals where seal_no = 2', 'gap'],
    ['a forged seal', "update audit_seals set hash = repeat('0', 64) where seal_no = 1", 'hash'],
  ])('finds %s', async (_what, sql, reason) => {
    await insertAuditEvents(
      db,
      Array.from({ length: 111 }, (_, i) => entry(`r${i}`, { n: null, text: 'ü\n' })),
    );
    await sealUntil(111);
    expect(await verifySeals(db)).toMatchObject({ ok: true, seals: 3, rows: 111 });
    await tamper(sql);
    expect(await verifySeals(db)).toMatchObject({ ok: false, firstBad: { reason } });
  });
});
