/** Seals of the audit trail, and the rows they seal. What a seal hashes is decided in domain/audit. */
import { type AuditFilter, filterBindings, filterConditions } from './audit-events.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';

/** An audit row as text: every column in one fixed form, whatever the session's settings are. */
export interface SealableRow {
  id: string;
  xid: string;
  /** UTC with milliseconds. */
  at: string;
  principalKind: string;
  principalId: string;
  principalName: string;
  sessionId: string | null;
  address: string | null;
  requestId: string | null;
  action: string;
  targetKind: string;
  targetId: string;
  outcome: string;
  /** jsonb as Postgres prints it: keys sorted, one form per value. */
  details: string;
}

export interface SealRow {
  sealNo: number;
  previousHash: string;
  hash: string;
  rowCount: number;
}

const rowColumns = `cast(id as text) as id, cast(xid as text) as xid,
  to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at,
  principal_kind as "principalKind", principal_id as "principalId", principal_name as "principalName",
  cast(session_id as text) as "sessionId", address, request_id as "requestId", action,
  target_kind as "targetKind", target_id as "targetId", outcome, cast(details as text) as details`;

const sealColumns = `seal_no as "sealNo", previous_hash as "previousHash", hash, row_count as "rowCount"`;

export function findLastSeal(db: Queryable): Promise<SealRow | undefined> {
  return queryOne<SealRow>(db, `select ${sealColumns} from audit_seals order by seal_no desc limit 1`);
}

/**
 * Unsealed rows in (xid, id) order, only of transactions below the horizon: every one of them has ended, so nothing
 * can appear before or between these rows any more. Rows of open transactions come with a later seal.
 */
export function listSealableRows(db: Queryable, limit: number): Promise<SealableRow[]> {
  return query<SealableRow>(
    db,
    `select ${rowColumns} from audit_events
     where seal_no is null and xid < pg_snapshot_xmin(pg_current_snapshot())
     order by audit_events.xid, audit_events.id limit :limit`,
    { limit },
  );
}

/** Rows of a seal, by their position from 1. */
export function listSealedRows(
  db: Queryable,
  sealNo: number,
): Promise<(SealableRow & { sealPosition: number })[]> {
  return query<SealableRow & { sealPosition: number }>(
    db,
    `select ${rowColumns}, seal_position as "sealPosition" from audit_events
     where seal_no = :seal_no order by seal_position, audit_events.id`,
    { seal_no: sealNo },
  );
}

export function listSeals(db: Queryable, afterNo: number, limit: number): Promise<SealRow[]> {
  return query<SealRow>(
    db,
    `select ${sealColumns} from audit_seals where seal_no > :after_no order by seal_no limit :limit`,
    { after_no: afterNo, limit },
  );
}

/** Write a seal and put these rows, in this order, under it. @throws uniqueViolation when the number is taken */
export async function insertSeal(db: Queryable, seal: SealRow, rowIds: readonly string[]): Promise<void> {
  await execute(
    db,
    `insert into audit_seals (seal_no, previous_hash, hash, row_count)
     values (:seal_no, :previous_hash, :hash, :row_count)`,
    { seal_no: seal.sealNo, previous_hash: seal.previousHash, hash: seal.hash, row_count: seal.rowCount },
  );
  await execute(
    db,
    `update audit_events a set seal_no = :seal_no, seal_position = sealed.position
     from unnest(cast(:ids as bigint[])) with ordinality as sealed (id, position)
     where a.id = sealed.id`,
    { seal_no: seal.sealNo, ids: [...rowIds] },
  );
}

/** Number of unsealed rows and the age of the oldest, for the lag metric. */
export async function readSealLag(db: Queryable): Promise<{ rows: number; oldestSeconds: number }> {
  const row = await queryOne<{ rows: number; oldest: number }>(
    db,
    `select count(*) as rows, coalesce(extract(epoch from now() - min(at)), 0) as oldest
     from audit_events where seal_no is null`,
  );
  return { rows: Number(row?.rows ?? 0), oldestSeconds: Number(row?.oldest ?? 0) };
}

/** How far an export goes: whatever is committed later is for the next one. */
export interface ExportBounds {
  /** The newest seal. */
  lastSealNo: number;
  /** Transactions from this one on may still be open. */
  horizon: string;
}

/** Both read in one statement: a row below the horizon is in a seal up to this one, or will be in a later one. */
export async function readExportBounds(db: Queryable): Promise<ExportBounds> {
  const row = await queryOne<ExportBounds>(
    db,
    `select coalesce((select max(seal_no) from audit_seals), 0) as "lastSealNo",
            cast(pg_snapshot_xmin(pg_current_snapshot()) as text) as horizon`,
  );
  if (row === undefined) throw new Error('a select without a table returned no row');
  return row;
}

/** A sealed row with what its seal says. */
export type ExportedRow = SealableRow & SealRow & { sealPosition: number };

/** Sealed rows after a position, in the order of the seals, up to the seal `throughSealNo`. */
export function listSealedAfter(
  db: Queryable,
  filter: AuditFilter,
  page: { sealNo: number; position: number; throughSealNo: number; limit: number },
): Promise<ExportedRow[]> {
  return query<ExportedRow>(
    db,
    `select ${rowColumns}, a.seal_position as "sealPosition", s.seal_no as "sealNo",
            s.previous_hash as "previousHash", s.hash, s.row_count as "rowCount"
     from audit_events a join audit_seals s on s.seal_no = a.seal_no
     where (a.seal_no, a.seal_position) > (cast(:sealNo as bigint), cast(:position as integer))
       and a.seal_no <= :throughSealNo${filterConditions(filter)}
     order by a.seal_no, a.seal_position limit :limit`,
    { ...filterBindings(filter), ...page },
  );
}

/** Rows that no seal up to `lastSealNo` holds, below the horizon, after a position, in (xid, id) order. */
export function listUnsealedAfter(
  db: Queryable,
  filter: AuditFilter,
  { lastSealNo, horizon }: ExportBounds,
  page: { xid: string; id: string; limit: number },
): Promise<SealableRow[]> {
  return query<SealableRow>(
    db,
    `select ${rowColumns} from audit_events a
     where (a.seal_no is null or a.seal_no > :lastSealNo) and a.xid < cast(:horizon as xid8)
       and (a.xid, a.id) > (cast(:xid as xid8), cast(:id as bigint))${filterConditions(filter)}
     order by a.xid, a.id limit :limit`,
    { ...filterBindings(filter), lastSealNo, horizon, ...page },
  );
}
