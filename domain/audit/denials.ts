import type { Principal } from '../../contracts/principal.ts';
import { insertAuditEvents } from '../../db/audit-events.ts';
import type { DomainDeps } from '../deps.ts';
import { type AuditFacts, auditEntry } from '../transact.ts';

/** What the audit trail calls somebody who showed no credential, or none that is good. */
export const STRANGER = { kind: 'anonymous', id: 'unknown', name: 'unknown' } as const;

/** Who was refused, as far as it is known. */
export interface Refused {
  principal: Principal | null;
  address: string | null;
  requestId: string | null;
}

/** Write a refusal that came before any domain function was asked, in a transaction of its own. */
export async function recordRefusal(
  deps: Pick<DomainDeps, 'db'>,
  { principal, address, requestId }: Refused,
  facts: Omit<AuditFacts, 'outcome'>,
): Promise<void> {
  if (principal !== null) {
    const entry = auditEntry({ principal, address, requestId }, { ...facts, outcome: 'denied' });
    return insertAuditEvents(deps.db, [entry]);
  }
  const stranger = {
    principalKind: STRANGER.kind,
    principalId: STRANGER.id,
    principalName: STRANGER.name,
    sessionId: null,
    address,
    requestId,
  };
  return insertAuditEvents(deps.db, [
    { ...stranger, ...facts, outcome: 'denied', details: facts.details ?? {} },
  ]);
}
