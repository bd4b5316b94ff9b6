/** The audit trail: appending rows and reading them. Their seals are in `audit-seals.ts`. */
import { visibleText } from '../contracts/visible-text.ts';
import { execute, type Queryable, query } from './database.ts';

export const auditOutcomes = ['success', 'denied', 'failed'] as const;
export type AuditOutcome = (typeof auditOutcomes)[number];

/** One row of the audit trail before it is written. */
export interface AuditEntry {
  principalKind: string;
  principalId: string;
  principalName: string;
  sessionId: string | null;
  address: string | null;
  requestId: string | null;
  action: string;
  targetKind: string;
  targetId: string;
  outcome: AuditOutcome;
  details: Record<string, unknown>;
}

/** Longest text of a column, and of one text in the details; what is longer is cut and says so with an ellipsis. */
const MAX_TEXT_LENGTH = 4_000;
/** Deepest nesting of details that is kept. */
const MAX_DETAIL_DEPTH = 8;

/**
 * The row as JSON with the column names. Names, addresses and reasons are words of others: nothing in them may break a
 * line, drive a terminal or fail the insert (NUL, lone surrogates), because then the act would leave no row.
 */
export const auditRecord = (entry: AuditEntry) => ({
  principal_kind: entry.principalKind,
  principal_id: fitText(entry.principalId),
  principal_name: fitText(entry.principalName),
  session_id: entry.sessionId,
  address: entry.address === null ? null : fitText(entry.address),
  request_id: entry.requestId === null ? null : fitText(entry.requestId),
  action: entry.action,
  target_kind: entry.targetKind,
  target_id: fitText(entry.targetId),
  outcome: entry.outcome,
  details: fitValue(entry.details, 0),
});

function fitText(text: string): string {
  const visible = visibleText(text);
  if (visible.length <= MAX_TEXT_LENGTH) return visible;
  // A pair that the cut parts would be no text.
  return `${visible.slice(0, MAX_TEXT_LENGTH).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

function fitValue(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return fitText(value);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (depth >= MAX_DETAIL_DEPTH) return '…';
  if (Array.isArray(value)) return value.map((entry) => fitValue(entry, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, entry]) => [fitText(name), fitValue(entry, depth + 1)]),
  );
}

/** Append rows to the audit trail in the caller's transaction. */
export async function insertAuditEvents(db: Queryable, entries: readonly AuditEntry[]): Promise<void> {
  if (entries.length === 0) return;
  await execute(
    db,
    `insert into audit_events (principal_kind, principal_id, principal_name, session_id, address, request_id,
                               action, target_kind, target_id, outcome, details)
     select principal_kind, principal_id, principal_name, session_id, address, request_id,
            action, target_kind, target_id, outcome, details
     from jsonb_to_recordset(cast(:rows as jsonb)) as r(
       principal_kind text, principal_id text, principal_name text, session_id uuid, address text, request_id text,
       action text, target_kind text, target_id text, outcome text, details jsonb)`,
    {
      rows: JSON.stringify(entries.map(auditRecord)),
    },
  );
}

/** A row as it is stored. Where it stands in the seals: null until the sealer has come by. */
export interface AuditRow extends AuditEntry {
  id: number;
  at: Date;
  sealNo: number | null;
  sealPosition: number | null;
}

/** What rows to read; absent means any. */
export interface AuditFilter {
  /** From this time on. */
  from?: Date | undefined;
  /** Before this time. */
  to?: Date | undefined;
  /** Id or name of the principal. */
  principal?: string | undefined;
  /** The whole action, or its beginning when it ends with a dot (`auth.`). */
  action?: string | undefined;
  targetKind?: string | undefined;
  targetId?: string | undefined;
  outcome?: AuditOutcome | undefined;
  address?: string | undefined;
  requestId?: string | undefined;
}

const columns = `id, at, principal_kind as "principalKind", principal_id as "principalId",
  principal_name as "principalName", cast(session_id as text) as "sessionId", address, request_id as "requestId",
  action, target_kind as "targetKind", target_id as "targetId", outcome, details, seal_no as "sealNo",
  seal_position as "sealPosition"`;

/** Conditions on a row of `audit_events a`, each ready to follow an `and`; the bindings are those of `filterBindings`. */
export function filterConditions(filter: AuditFilter): string {
  const conditions: [unknown, string][] = [
    [filter.from, 'a.at >= :from'],
    [filter.to, 'a.at < :to'],
    [filter.principal, '(a.principal_id = :principal or a.principal_name = :principal)'],
    [filter.action, filter.action?.endsWith('.') ? 'starts_with(a.action, :action)' : 'a.action = :action'],
    [filter.targetKind, 'a.target_kind = :targetKind'],
    [filter.targetId, 'a.target_id = :targetId'],
    [filter.outcome, 'a.outcome = :outcome'],
    // So that the partial index of what was refused or failed can serve, whatever the binding is.
    [filter.outcome === 'success' ? undefined : filter.outcome, "a.outcome <> 'success'"],
    [filter.address, 'a.address = :address'],
    [filter.requestId, 'a.request_id = :requestId'],
  ];
  return conditions
    .filter(([value]) => value !== undefined)
    .map(([, condition]) => ` and ${condition}`)
    .join('');
}

export const filterBindings = (filter: AuditFilter): Record<string, unknown> => ({
  from: filter.from,
  to: filter.to,
  principal: filter.principal,
  action: filter.action,
  targetKind: filter.targetKind,
  targetId: filter.targetId,
  outcome: filter.outcome,
  address: filter.address,
  requestId: filter.requestId,
});

/** Newest first, keyset by (at, id). */
export function listAuditRows(
  db: Queryable,
  filter: AuditFilter,
  page: { before?: { at: Date; id: string } | undefined; offset?: number; limit: number },
): Promise<AuditRow[]> {
  const older = page.before === undefined ? '' : ' and (a.at, a.id) < (:beforeAt, cast(:beforeId as bigint))';
  const skip = page.offset === undefined ? '' : 'offset :offset';
  return query<AuditRow>(
    db,
    `select ${columns} from audit_events a where true${filterConditions(filter)}${older}
     order by a.at desc, a.id desc limit :limit ${skip}`,
    {
      ...filterBindings(filter),
      beforeAt: page.before?.at,
      beforeId: page.before?.id,
      limit: page.limit,
      offset: page.offset,
    },
  );
}
