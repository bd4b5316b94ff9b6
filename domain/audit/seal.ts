/**
 * The sealer: moves audit rows, in (xid, id) order and gapless numbers, under seals that each hash the one before.
 *
 *  A. Only rows below the snapshot's xmin: ids are handed out before commits, so a reader by id alone loses rows.
 *  B. Two sealers at once are safe: the number of a seal is a primary key, the slower one fails and starts over.
 */
import { findLastSeal, insertSeal, listSealableRows } from '../../db/audit-seals.ts';
import { type Db, inTransaction } from '../../db/database.ts';
import { GENESIS_HASH, hashSeal } from './hash.ts';

/** Most rows of one seal: it is read, hashed and written in one transaction. */
export const MAX_ROWS_PER_SEAL = 1_000;

/** Write at most one seal. @returns how many rows it sealed; fewer than the most means that nothing is left for now */
export async function sealAudit(deps: { db: Db }, maxRows = MAX_ROWS_PER_SEAL): Promise<number> {
  return inTransaction(deps.db, async (trx) => {
    const rows = await listSealableRows(trx, maxRows); // A
    if (rows.length === 0) return 0;
    const last = await findLastSeal(trx);
    const sealNo = (last?.sealNo ?? 0) + 1;
    const previousHash = last?.hash ?? GENESIS_HASH;
    const hash = hashSeal(sealNo, previousHash, rows);
    const ids = rows.map((row) => row.id);
    await insertSeal(trx, { sealNo, previousHash, hash, rowCount: rows.length }, ids); // B
    return rows.length;
  });
}
