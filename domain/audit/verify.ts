import { listSealedRows, listSeals, type SealRow } from '../../db/audit-seals.ts';
import type { Queryable } from '../../db/database.ts';
import { GENESIS_HASH, hashSeal } from './hash.ts';

/** Seals read at a time. */
const PAGE_SIZE = 500;

export interface SealVerdict {
  ok: boolean;
  /** Seals and rows that were found right, up to the first bad one. */
  seals: number;
  rows: number;
  firstBad?: { sealNo: number; reason: 'gap' | 'chain' | 'row_count' | 'positions' | 'hash' };
  /** Keep it elsewhere: only somebody who knows it can tell that the newest seals were cut off. */
  lastHash: string;
  /** False: a hash noted earlier is not in the chain, so seals were cut off (or never were). True when none was given. */
  isNotedFound: boolean;
}

/**
 * Recompute every seal, oldest first, and stop at the first that does not hold: a changed, added, removed or reordered
 * row, or a changed or missing seal. Removing the newest seals with all of their rows shows only to somebody who noted
 * a `lastHash` of that time.
 * @param notedHash the hash of a seal as it was noted elsewhere; it must still be in the chain
 */
export async function verifySeals(db: Queryable, notedHash?: string): Promise<SealVerdict> {
  let isNotedFound = notedHash === undefined || notedHash === GENESIS_HASH;
  let verified = { sealNo: 0, hash: GENESIS_HASH };
  let rows = 0;
  for (;;) {
    const page = await listSeals(db, verified.sealNo, PAGE_SIZE);
    for (const seal of page) {
      const reason = await findFault(db, seal, verified);
      if (reason !== undefined) {
        const firstBad = { sealNo: seal.sealNo, reason };
        return { ok: false, seals: verified.sealNo, rows, firstBad, lastHash: verified.hash, isNotedFound };
      }
      rows += seal.rowCount;
      verified = { sealNo: seal.sealNo, hash: seal.hash };
      isNotedFound ||= seal.hash === notedHash;
    }
    if (page.length < PAGE_SIZE) {
      return { ok: isNotedFound, seals: verified.sealNo, rows, lastHash: verified.hash, isNotedFound };
    }
  }
}

type Fault = NonNullable<SealVerdict['firstBad']>['reason'];

async function findFault(
  db: Queryable,
  seal: SealRow,
  previous: { sealNo: number; hash: string },
): Promise<Fault | undefined> {
  if (seal.sealNo !== previous.sealNo + 1) return 'gap';
  if (seal.previousHash !== previous.hash) return 'chain';
  const rows = await listSealedRows(db, seal.sealNo);
  if (rows.length !== seal.rowCount) return 'row_count';
  if (rows.some((row, index) => row.sealPosition !== index + 1)) return 'positions';
  return hashSeal(seal.sealNo, seal.previousHash, rows) === seal.hash ? undefined : 'hash';
}
