/**
 * One unit of work: rows, their audit rows, events and outbox rows commit together; listeners hear of it after.
 *
 *  A. What a unit collected is written in the same transaction as the rows it speaks of.
 *  B. Nothing is announced before the commit, and nothing of a unit that rolled back.
 */
import type { EventType } from '../contracts/events.ts';
import type { Principal } from '../contracts/principal.ts';
import type { WorkflowSignal } from '../contracts/workflow-io.ts';
import { type AuditEntry, insertAuditEvents } from '../db/audit-events.ts';
import { inTransaction, type Trx } from '../db/database.ts';
import type { EventEntry, EventRow } from '../db/events.ts';
import type { OutboxEntry, OutboxRow } from '../db/outbox.ts';
import { commitUnitRows } from '../db/unit-rows.ts';
import type { Actor, DomainDeps } from './deps.ts';

export interface Unit {
  trx: Trx;
  /** Record a security-relevant act. `details` holds facts, never secrets. */
  audit(actor: Actor, entry: AuditFacts): void;
  emit(type: EventType, refs: Omit<EventEntry, 'type'>): void;
  /** Tell a workflow something once this commits. */
  signal(workflowId: string, signal: WorkflowSignal): void;
  outbox(entry: OutboxEntry): void;
  /** Commands wait for these agents, or a cancel concerns them. */
  wakeAgents(agentIds: readonly string[]): void;
  /** Run after the commit, for in-process effects such as dispatching to a local socket. */
  afterCommit(effect: () => void): void;
}

export interface AuditFacts {
  action: string;
  targetKind: string;
  targetId: string;
  outcome?: 'success' | 'denied' | 'failed';
  details?: Record<string, unknown>;
}

/** Run `work` in one transaction and announce what it collected. Returns what `work` returned, after the commit. */
export async function transact<T>(deps: DomainDeps, work: (unit: Unit) => Promise<T>): Promise<T> {
  const audits: AuditEntry[] = [];
  const events: EventEntry[] = [];
  const outbox: OutboxEntry[] = [];
  const agents = new Set<string>();
  const effects: (() => void)[] = [];

  const committed = await inTransaction(deps.db, async (trx) => {
    const value = await work({
      trx,
      audit: (actor, facts) => audits.push(auditEntry(actor, facts)),
      emit: (type, refs) => events.push({ ...refs, type }),
      signal: (workflowId, signal) => outbox.push({ workflowId, kind: 'signal', payload: { ...signal } }),
      outbox: (entry) => outbox.push(entry),
      wakeAgents: (ids) => ids.forEach((id) => void agents.add(id)),
      afterCommit: (effect) => effects.push(effect),
    });
    const written = await commitUnitRows(trx, { audits, events, outbox });
    return { value, ...written };
  });

  for (const effect of effects) effect();
  announce(deps, { ...committed, agents: [...agents] });
  return committed.value;
}

/** Tell what was committed (B), also by a statement that was a unit of its own. */
export function announce(
  deps: Pick<DomainDeps, 'announce'>,
  committed: { events: readonly EventRow[]; outbox?: readonly OutboxRow[]; agents?: readonly string[] },
): void {
  const { events, outbox = [], agents = [] } = committed;
  if (events.length > 0) deps.announce.events(events);
  if (agents.length > 0) deps.announce.agents(agents);
  if (outbox.length > 0) deps.announce.outbox(outbox);
}

export function auditEntry(actor: Actor, facts: AuditFacts): AuditEntry {
  const { principal } = actor;
  return {
    principalKind: principal.kind,
    principalId: principal.id,
    principalName: principal.name,
    sessionId: principal.sessionId,
    address: actor.address,
    requestId: actor.requestId,
    action: facts.action,
    targetKind: facts.targetKind,
    targetId: facts.targetId,
    outcome: facts.outcome ?? 'success',
    details: { ...facts.details, ...(isApiToken(principal) && { apiTokenId: principal.credentialId }) },
  };
}

/** Whoever acts by a personal API token has no session that would tell it from its owner. */
const isApiToken = ({ kind, scopes }: Principal): boolean => kind === 'user' && scopes !== undefined;

/** Record a refusal in a transaction of its own; the caller throws afterwards. */
export async function recordDenial(
  deps: DomainDeps,
  actor: Actor,
  facts: Omit<AuditFacts, 'outcome'>,
): Promise<void> {
  await insertAuditEvents(deps.db, [auditEntry(actor, { ...facts, outcome: 'denied' })]);
}
