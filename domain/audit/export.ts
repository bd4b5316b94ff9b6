/**
 * The audit trail as lines of JSON, in the order of its seals, page by page: no transaction stays open for a slow reader.
 *
 *  A. Seals up to the newest at the start come first, whole; then every row below the horizon of the start that none of
 *     them holds, as unsealed, even when the sealer has come by meanwhile. So no row is left out or told twice.
 */
import type { AuditExportLine, AuditExportQuery } from '../../contracts/audit.ts';
import type { AuditFilter } from '../../db/audit-events.ts';
import {
  type ExportedRow,
  listSealedAfter,
  listUnsealedAfter,
  readExportBounds,
  type SealableRow,
} from '../../db/audit-seals.ts';
import type { Queryable } from '../../db/database.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { filterOf } from './read.ts';

/** Rows read, and handed over as one piece, at a time. */
const PAGE_SIZE = 500;

export interface ExportWish extends AuditFilter {
  /** Only rows of seals after this one, and unsealed ones. */
  afterSeal?: number | undefined;
}

/** For a client: who takes the trail away is written in it first. @throws forbidden */
export async function openAuditExport(
  deps: DomainDeps,
  actor: Actor,
  query: AuditExportQuery,
): Promise<AsyncGenerator<string>> {
  assertCan(actor.principal, 'read', 'audit');
  const filter = filterOf(query);
  const named = Object.entries(query).filter(([, value]) => value !== undefined);
  await transact(deps, async (unit) =>
    unit.audit(actor, {
      action: 'audit.export',
      targetKind: 'audit',
      targetId: 'trail',
      details: { filter: Object.fromEntries(named) },
    }),
  );
  return exportAudit(deps.db, { ...filter, afterSeal: query.afterSeal });
}

/** Pieces of whole lines, each line one `AuditExportLine`. */
export async function* exportAudit(
  db: Queryable,
  { afterSeal = 0, ...filter }: ExportWish = {},
): AsyncGenerator<string> {
  const bounds = await readExportBounds(db); // A
  // A seal has no position so high: what follows is the next seal.
  let sealed = { sealNo: afterSeal, position: 2 ** 31 - 1 };
  for (;;) {
    const page = { ...sealed, throughSealNo: bounds.lastSealNo, limit: PAGE_SIZE };
    const rows = await listSealedAfter(db, filter, page);
    const last = rows.at(-1);
    if (last === undefined) break;
    yield rows.map((row) => lineOf(row, sealOf(row))).join('');
    sealed = { sealNo: last.sealNo, position: last.sealPosition };
  }
  let position = { xid: '0', id: '0' };
  for (;;) {
    const rows = await listUnsealedAfter(db, filter, bounds, { ...position, limit: PAGE_SIZE });
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows.map((row) => lineOf(row, null)).join('');
    position = { xid: last.xid, id: last.id };
  }
}

const sealOf = (row: ExportedRow): AuditExportLine['seal'] => ({
  no: row.sealNo,
  position: row.sealPosition,
  rowCount: row.rowCount,
  previousHash: row.previousHash,
  hash: row.hash,
});

function lineOf(row: SealableRow, seal: AuditExportLine['seal']): string {
  const line: AuditExportLine = {
    id: row.id,
    xid: row.xid,
    at: row.at,
    principalKind: row.principalKind,
    principalId: row.principalId,
    principalName: row.principalName,
    sessionId: row.sessionId,
    address: row.address,
    requestId: row.requestId,
    action: row.action,
    targetKind: row.targetKind,
    targetId: row.targetId,
    outcome: row.outcome,
    details: JSON.parse(row.details),
    seal,
  };
  return `${JSON.stringify(line)}\n`;
}
