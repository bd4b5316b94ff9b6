/** Rules of alerts: make, read, change, delete. What a change means for alerts that are open is decided here, at once. */
import { v7 as newId } from 'uuid';
import { type AlertRuleChange, type AlertRuleContent, MAX_ALERT_RULES } from '../../contracts/alert-rules.ts';
import type { AlertResolution } from '../../contracts/alerts.ts';
import { problem, type SteelthreadError } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import { forgetConditions } from '../../db/alert-conditions.ts';
import {
  type AlertRuleRow,
  countAlertRules,
  deleteAlertRule,
  findAlertRule,
  insertAlertRule,
  listAlertRules,
  lockAlertRule,
  updateAlertRule,
} from '../../db/alert-rules.ts';
import { resolveAlerts } from '../../db/alerts.ts';
import { isSqlState, sqlStates } from '../../db/database.ts';
import { parseTagExpression } from '../agents/tag-expression.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { alertEvent } from './present.ts';

/** Newest first. @throws forbidden, invalid_cursor */
export async function listAlertRulePage(
  deps: DomainDeps,
  actor: Actor,
  query: { limit: number; cursor?: string | undefined },
): Promise<Page<AlertRuleRow>> {
  assertCan(actor.principal, 'list', 'alert_rule');
  const before = uuidPositionOf(query.cursor);
  const rows = await listAlertRules(deps.db, { before, limit: query.limit + 1 });
  return pageOfRows(rows, query.limit, (row) => ({ at: row.createdAt, id: row.id }));
}

/** @throws forbidden, alert_rule_not_found */
export async function getAlertRule(deps: DomainDeps, actor: Actor, ruleId: string): Promise<AlertRuleRow> {
  assertCan(actor.principal, 'read', 'alert_rule');
  const row = await findAlertRule(deps.db, ruleId);
  if (row === undefined) throw notFound(ruleId);
  return row;
}

/**
 * The same Idempotency-Key with the same content is the same rule.
 * @throws forbidden, validation_failed (the expression), conflict (the name, too many), idempotency_conflict,
 *   alert_rule_not_found (a repeat of one that is deleted)
 */
export async function createAlertRule(
  deps: DomainDeps,
  actor: Actor,
  content: AlertRuleContent,
  requestKey: RequestKey | null,
): Promise<AlertRuleRow> {
  assertCan(actor.principal, 'create', 'alert_rule');
  if (content.match !== null) parseTagExpression(content.match, matchPlace);
  const id = newId();
  return transact(deps, async (unit) => {
    const made = await claimRequest(unit.trx, actor.principal, requestKey, 'alert_rule', id);
    if (made !== undefined) {
      const earlier = await findAlertRule(unit.trx, made);
      if (earlier === undefined) throw notFound(made);
      return earlier;
    }
    if ((await countAlertRules(unit.trx)) >= MAX_ALERT_RULES) {
      throw problem('conflict', { reason: `there are ${MAX_ALERT_RULES} rules already` });
    }
    const rule = await insertAlertRule(unit.trx, id, content, actor.principal);
    if (rule === undefined) throw nameTaken(content.name);
    unit.audit(actor, { action: 'alert_rule.create', ...auditFacts(id, content) });
    return rule;
  });
}

/**
 * What is not given stays. A rule that is switched off resolves its alerts; by any other change the next round does what
 * is to be done.
 * @throws forbidden, alert_rule_not_found, validation_failed (the expression), conflict (the name, another kind)
 */
export async function changeAlertRule(
  deps: DomainDeps,
  actor: Actor,
  ruleId: string,
  change: AlertRuleChange,
): Promise<AlertRuleRow> {
  assertCan(actor.principal, 'update', 'alert_rule');
  if (typeof change.match === 'string') parseTagExpression(change.match, matchPlace);
  return transact(deps, async (unit) => {
    const before = await lockAlertRule(unit.trx, ruleId);
    if (before === undefined) throw notFound(ruleId);
    const content: AlertRuleContent = {
      name: change.name ?? before.name,
      description: change.description === undefined ? before.description : change.description,
      severity: change.severity ?? before.severity,
      match: change.match === undefined ? before.match : change.match,
      condition: change.condition ?? before.condition,
      clearMs: change.clearMs ?? before.clearMs,
      enabled: change.enabled ?? before.enabled,
    };
    if (content.condition.kind !== before.condition.kind) {
      throw problem('conflict', { reason: `the rule is about ${before.condition.kind}; make another one` });
    }
    const rule = await updateAlertRule(unit.trx, ruleId, content, actor.principal).catch((error: unknown) => {
      if (isSqlState(error, sqlStates.uniqueViolation)) throw nameTaken(content.name);
      throw error;
    });
    if (before.enabled && !rule.enabled) await endAlerts(unit, actor, ruleId, 'rule_disabled');
    unit.audit(actor, { action: 'alert_rule.update', ...auditFacts(ruleId, content) });
    return rule;
  });
}

/** Its alerts are resolved and stay. @throws forbidden, alert_rule_not_found */
export async function removeAlertRule(deps: DomainDeps, actor: Actor, ruleId: string): Promise<void> {
  assertCan(actor.principal, 'delete', 'alert_rule');
  await transact(deps, async (unit) => {
    const rule = await lockAlertRule(unit.trx, ruleId);
    if (rule === undefined) throw notFound(ruleId);
    await endAlerts(unit, actor, ruleId, 'rule_deleted');
    await deleteAlertRule(unit.trx, ruleId);
    unit.audit(actor, { action: 'alert_rule.delete', ...auditFacts(ruleId, rule) });
  });
}

async function endAlerts(
  unit: Unit,
  actor: Actor,
  ruleId: string,
  resolution: AlertResolution,
): Promise<void> {
  const resolved = await resolveAlerts(unit.trx, { ruleId }, resolution, actor.principal);
  await forgetConditions(unit.trx, ruleId);
  for (const alert of resolved) unit.emit('alert.resolved', alertEvent(alert));
}

const matchPlace = { in: 'body', path: ['match'] } as const;

const auditFacts = (ruleId: string, { name, severity, match, condition, enabled }: AlertRuleContent) => ({
  targetKind: 'alert_rule',
  targetId: ruleId,
  details: { name, severity, match, condition, enabled },
});

const nameTaken = (name: string): SteelthreadError =>
  problem('conflict', { reason: `another rule has the name ${name}` });

const notFound = (alertRuleId: string): SteelthreadError => problem('alert_rule_not_found', { alertRuleId });
