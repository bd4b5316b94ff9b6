import { execute, type Queryable } from './database.ts';

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
  outcome: 'success' | 'denied' | 'failed';
  details: Record<string, unknown>;
}

/** The row as JSON with the column names. */
export const auditRecord = (entry: AuditEntry) => ({
  principal_kind: entry.principalKind,
  principal_id: entry.principalId,
  principal_name: entry.principalName,
  session_id: entry.sessionId,
  address: entry.address,
  request_id: entry.requestId,
  action: entry.action,
  target_kind: entry.targetKind,
  target_id: entry.targetId,
  outcome: entry.outcome,
  details: entry.details,
});

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
