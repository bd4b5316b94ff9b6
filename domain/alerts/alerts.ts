/** Read alerts and take care of them. Rounds over the rules open them (`evaluate.ts`). */
import type { AlertListQuery, AlertSummary } from '../../contracts/alerts.ts';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import {
  type AlertRow,
  acknowledgeAlert,
  countActiveAlerts,
  findAlert,
  listAlerts,
  lockAlert,
  resolveAlerts,
  setAlertNote,
} from '../../db/alerts.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan, visibleOwner } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { alertEvent } from './present.ts';

/** Newest first, as far as the actor may see them. @throws forbidden, invalid_cursor */
export async function listAlertPage(
  deps: DomainDeps,
  actor: Actor,
  query: AlertListQuery,
): Promise<Page<AlertRow>> {
  assertCan(actor.principal, 'list', 'alert');
  const { limit, cursor, ...filter } = query;
  const ownerId = visibleOwner(actor.principal, 'alert');
  const before = uuidPositionOf(cursor);
  const rows = await listAlerts(deps.db, { ...filter, ownerId, before, limit: limit + 1 });
  return pageOfRows(rows, limit, (row) => ({ at: row.openedAt, id: row.id }));
}

/** @throws forbidden */
export async function summarizeAlerts(deps: DomainDeps, actor: Actor): Promise<AlertSummary> {
  assertCan(actor.principal, 'list', 'alert');
  const none = { info: 0, warning: 0, critical: 0 };
  const summary = { open: { ...none }, acknowledged: { ...none } };
  for (const row of await countActiveAlerts(deps.db, visibleOwner(actor.principal, 'alert'))) {
    if (row.state !== 'resolved') summary[row.state][row.severity] = row.count;
  }
  return summary;
}

/** @throws forbidden, alert_not_found (not there, or not visible) */
export async function getAlert(deps: DomainDeps, actor: Actor, alertId: string): Promise<AlertRow> {
  const { principal } = actor;
  assertCan(principal, 'read', 'alert');
  const row = await findAlert(deps.db, alertId);
  const ownerId = visibleOwner(principal, 'alert');
  if (row === undefined || (ownerId !== undefined && row.ownerId !== ownerId)) throw notFound(alertId);
  return row;
}

/** Write its note, whatever its state. @throws forbidden, alert_not_found */
export function noteAlert(
  deps: DomainDeps,
  actor: Actor,
  alertId: string,
  note: string | null,
): Promise<AlertRow> {
  return changeAlert(deps, actor, alertId, async (unit, row) => {
    const text = note === '' ? null : note;
    if (row.note === text) return;
    await setAlertNote(unit.trx, alertId, text);
    unit.audit(actor, {
      action: 'alert.note',
      targetKind: 'alert',
      targetId: alertId,
      details: factsOf(row),
    });
    unit.emit('alert.updated', alertEvent(row));
  });
}

/** Somebody takes care of it; the first to say so stays. @throws forbidden, alert_not_found, conflict (resolved) */
export function takeAlert(
  deps: DomainDeps,
  actor: Actor,
  alertId: string,
  note: string | undefined,
): Promise<AlertRow> {
  return changeAlert(deps, actor, alertId, async (unit, row) => {
    if (row.state === 'resolved') throw problem('conflict', { reason: 'the alert is resolved' });
    if (row.state === 'acknowledged') return;
    await acknowledgeAlert(unit.trx, alertId, actor.principal);
    if (note !== undefined) await setAlertNote(unit.trx, alertId, note);
    unit.audit(actor, {
      action: 'alert.acknowledge',
      targetKind: 'alert',
      targetId: alertId,
      details: factsOf(row),
    });
    unit.emit('alert.acknowledged', alertEvent({ ...row, state: 'acknowledged' }));
  });
}

/**
 * Say that it is over. The same condition does not open it again: that takes one that begins anew, or commands that end
 * after this.
 * @throws forbidden, alert_not_found
 */
export function resolveAlert(
  deps: DomainDeps,
  actor: Actor,
  alertId: string,
  note: string | undefined,
): Promise<AlertRow> {
  return changeAlert(deps, actor, alertId, async (unit, row) => {
    const [resolved] = await resolveAlerts(unit.trx, { ids: [alertId] }, 'person', actor.principal);
    if (resolved === undefined) return;
    if (note !== undefined) await setAlertNote(unit.trx, alertId, note);
    unit.audit(actor, {
      action: 'alert.resolve',
      targetKind: 'alert',
      targetId: alertId,
      details: factsOf(row),
    });
    unit.emit('alert.resolved', alertEvent(resolved));
  });
}

async function changeAlert(
  deps: DomainDeps,
  actor: Actor,
  alertId: string,
  change: (unit: Unit, row: AlertRow) => Promise<void>,
): Promise<AlertRow> {
  assertCan(actor.principal, 'update', 'alert');
  return transact(deps, async (unit) => {
    const row = await lockAlert(unit.trx, alertId);
    if (row === undefined) throw notFound(alertId);
    await change(unit, row);
    return (await findAlert(unit.trx, alertId)) ?? row;
  });
}

const factsOf = ({ title, severity, ruleId, agentId }: AlertRow) => ({ title, severity, ruleId, agentId });

const notFound = (alertId: string) => problem('alert_not_found', { alertId });
