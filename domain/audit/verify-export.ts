/** Checks an export of the audit trail on a machine that need not know the server. */
import { type AuditExportLine, auditExportLineSchema } from '../../contracts/audit.ts';
import type { SealableRow } from '../../db/audit-seals.ts';
import { GENESIS_HASH, hashSeal } from './hash.ts';
import { jsonbText } from './jsonb-text.ts';

type Seal = NonNullable<AuditExportLine['seal']>;
type Fault = 'not_a_line' | 'gap' | 'chain' | 'row_count' | 'positions' | 'hash';

export interface ExportVerdict {
  ok: boolean;
  /** Seals and sealed rows that were found right, up to the first bad one. */
  seals: number;
  rows: number;
  /** Rows at the end that no seal vouches for yet. */
  unsealedRows: number;
  firstBad?: { line: number; sealNo: number | null; reason: Fault };
  /** What the first seal names as its predecessor: the genesis hash, or the last hash of an earlier export. */
  firstHash: string;
  lastHash: string;
  /** False: a hash noted earlier is neither in the chain nor what it starts from. True when none was given. */
  isNotedFound: boolean;
}

/**
 * Recompute every seal of an export. Right means: the seals follow each other without a gap, each holds exactly the rows
 * it counts, and each hash is that of its rows. An export that was narrowed by a filter is not right: rows are missing.
 * @param lines without their line ends
 */
export async function verifyExport(lines: AsyncIterable<string>, notedHash?: string): Promise<ExportVerdict> {
  const verdict: ExportVerdict = {
    ok: true,
    seals: 0,
    rows: 0,
    unsealedRows: 0,
    firstHash: GENESIS_HASH,
    lastHash: GENESIS_HASH,
    isNotedFound: notedHash === undefined || notedHash === GENESIS_HASH,
  };
  let open: { seal: Seal; rows: SealableRow[] } | null = null;
  let previous: Seal | null = null;
  let lineNo = 0;

  const fail = (reason: Fault, sealNo: number | null): ExportVerdict => ({
    ...verdict,
    ok: false,
    firstBad: { line: lineNo, sealNo, reason },
  });
  /** The seal that has all its rows. */
  const close = ({ seal, rows }: { seal: Seal; rows: SealableRow[] }): Fault | undefined => {
    if (rows.length !== seal.rowCount) return 'row_count';
    if (hashSeal(seal.no, seal.previousHash, rows) !== seal.hash) return 'hash';
    verdict.seals += 1;
    verdict.rows += rows.length;
    verdict.lastHash = seal.hash;
    verdict.isNotedFound ||= seal.hash === notedHash;
    return undefined;
  };

  for await (const text of lines) {
    lineNo += 1;
    if (text === '') continue;
    const line = parseLine(text);
    if (line === undefined) return fail('not_a_line', open?.seal.no ?? null);
    const { seal } = line;
    if (open !== null && seal?.no !== open.seal.no) {
      const fault = close(open);
      if (fault !== undefined) return fail(fault, open.seal.no);
      previous = open.seal;
      open = null;
    }
    if (seal === null) {
      verdict.unsealedRows += 1;
      continue;
    }
    if (open === null) {
      // What no seal vouches for comes last: a seal behind it was moved there.
      if (verdict.unsealedRows > 0) return fail('gap', seal.no);
      if (previous !== null && seal.no !== previous.no + 1) return fail('gap', seal.no);
      if (previous !== null && seal.previousHash !== previous.hash) return fail('chain', seal.no);
      if (seal.no === 1 && seal.previousHash !== GENESIS_HASH) return fail('chain', seal.no);
      if (previous === null) {
        verdict.firstHash = seal.previousHash;
        verdict.isNotedFound ||= seal.previousHash === notedHash;
      }
      open = { seal, rows: [] };
    }
    const isSameSeal = seal.hash === open.seal.hash && seal.previousHash === open.seal.previousHash;
    if (!isSameSeal || seal.rowCount !== open.seal.rowCount) return fail('chain', seal.no);
    if (seal.position !== open.rows.length + 1) return fail('positions', seal.no);
    open.rows.push({ ...line, details: jsonbText(line.details) });
  }
  if (open !== null) {
    const fault = close(open);
    if (fault !== undefined) return fail(fault, open.seal.no);
  }
  return { ...verdict, ok: verdict.isNotedFound };
}

function parseLine(text: string): AuditExportLine | undefined {
  try {
    return auditExportLineSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
