/** Reading the audit trail: for administrators only. */
import type { AuditEventView, AuditListQuery } from '../../contracts/audit.ts';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import { type AuditFilter, type AuditRow, listAuditRows } from '../../db/audit-events.ts';
import { type CursorPosition, pageOfRows, positionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';

/** Most rows that a list with an offset skips: each of them is read. Beyond, lists are empty. */
export const MAX_AUDIT_OFFSET = 10_000;
/** Most rows of one list with an offset. */
export const MAX_AUDIT_LIMIT = 1_000;

/** What the clients of one family show of a row. */
export interface AuditEventSummary {
  id: number;
  at: Date;
  /** Name of who did it, as it was then. */
  username: string;
  ip: string | null;
  action: string;
  details: Record<string, unknown>;
}

/** Newest first. @throws forbidden, invalid_cursor */
export async function listAuditTrail(
  deps: DomainDeps,
  actor: Actor,
  query: AuditListQuery,
): Promise<Page<AuditEventView>> {
  assertCan(actor.principal, 'list', 'audit');
  const rows = await listAuditRows(deps.db, filterOf(query), {
    before: rowPositionOf(query.cursor),
    limit: query.limit + 1,
  });
  const page = pageOfRows(rows, query.limit, (row) => ({ at: row.at, id: String(row.id) }));
  return { items: page.items.map(toAuditView), nextCursor: page.nextCursor };
}

/**
 * Newest first, for clients that page by offset.
 * @param page limit 1 to MAX_AUDIT_LIMIT and offset from 0; what is beyond is cut, not refused
 * @throws forbidden
 */
export async function listAuditEvents(
  deps: DomainDeps,
  actor: Actor,
  { limit, offset }: { limit: number; offset: number },
): Promise<AuditEventSummary[]> {
  assertCan(actor.principal, 'list', 'audit');
  if (offset > MAX_AUDIT_OFFSET) return [];
  const page = { limit: Math.min(Math.max(limit, 1), MAX_AUDIT_LIMIT), offset: Math.max(offset, 0) };
  const rows = await listAuditRows(deps.db, {}, page);
  return rows.map((row) => ({
    id: row.id,
    at: row.at,
    username: row.principalName,
    ip: row.address,
    action: row.action,
    details: {
      ...row.details,
      outcome: row.outcome,
      target: `${row.targetKind}:${row.targetId}`,
    },
  }));
}

/** The times of a query are text. */
export const filterOf = (
  query: { [Name in keyof AuditFilter]: Name extends 'from' | 'to' ? string | undefined : AuditFilter[Name] },
): AuditFilter => ({
  from: query.from === undefined ? undefined : new Date(query.from),
  to: query.to === undefined ? undefined : new Date(query.to),
  principal: query.principal,
  action: query.action,
  targetKind: query.targetKind,
  targetId: query.targetId,
  outcome: query.outcome,
  address: query.address,
  requestId: query.requestId,
});

/** Ids of rows are numbers: another list's cursor is none of this one. @throws invalid_cursor */
function rowPositionOf(cursor: string | undefined): CursorPosition | undefined {
  const position = positionOf(cursor);
  if (position !== undefined && !/^\d{1,18}$/.test(position.id)) throw problem('invalid_cursor');
  return position;
}

function toAuditView(row: AuditRow): AuditEventView {
  return {
    id: String(row.id),
    at: row.at.toISOString(),
    principal: { kind: row.principalKind, id: row.principalId, name: row.principalName },
    sessionId: row.sessionId,
    address: row.address,
    requestId: row.requestId,
    action: row.action,
    target: { kind: row.targetKind, id: row.targetId },
    outcome: row.outcome,
    details: row.details,
    seal: row.sealNo === null ? null : { no: row.sealNo, position: row.sealPosition ?? 0 },
  };
}
