/** Rows of the audit trail as a test writes and spoils them. */
import type { AuditEntry } from '../../db/audit-events.ts';
import type { Db } from '../../db/database.ts';
import { sealAudit } from '../../domain/audit/seal.ts';

export const auditEntryOf = (name: string, facts: Partial<AuditEntry> = {}): AuditEntry => ({
  principalKind: 'user',
  principalId: name,
  principalName: name,
  sessionId: null,
  address: null,
  requestId: null,
  action: 'test.act',
  targetKind: 'thing',
  targetId: name,
  outcome: 'success',
  details: {},
  ...facts,
});

/** The horizon is that of the whole server: transactions of other databases hold it back for a moment. */
export async function sealAll(db: Db, rowsPerSeal = 37): Promise<void> {
  const deadline = Date.now() + 15_000;
  for (;;) {
    await sealAudit({ db }, rowsPerSeal);
    const left = await db('audit_events').whereNull('seal_no').first('id');
    if (left === undefined) return;
    if (Date.now() > deadline) throw new Error('rows stay unsealed');
  }
}
