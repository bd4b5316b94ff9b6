/**
 * Rounds over the rules of alerts. What holds is compared in the database; only differences come here, so a round in
 * which nothing changes writes nothing.
 *
 *  A. A subject has at most one alert of a rule that is not resolved (unique index), however many rounds run at once.
 *  B. What a round writes it writes by the rule that it looked by: when that has changed meanwhile, the next round looks
 *     again.
 *  C. An alert outlives short breaks of its condition (`clearMs`), and one that a person has resolved is not opened again
 *     by the same condition.
 */
import { v7 as newId } from 'uuid';
import type { AlertKind } from '../../contracts/alert-rules.ts';
import {
  ALERT_ROUND_LIMIT,
  type ConditionChange,
  endConditions,
  forgetConditions,
  holdConditions,
  readConditionChanges,
} from '../../db/alert-conditions.ts';
import { type AlertRuleRow, holdAlertRule, listEnabledAlertRules } from '../../db/alert-rules.ts';
import { findActiveAlerts, openAlerts, repeatAlerts, resolveAlerts } from '../../db/alerts.ts';
import { conditionOfTags } from '../agents/tag-expression.ts';
import type { DomainDeps } from '../deps.ts';
import { transact, type Unit } from '../transact.ts';
import { alertEvent } from './present.ts';

/**
 * One round over all rules. A rule that fails does not keep the others from being looked at.
 * @returns how many alerts were opened or resolved
 * @throws AggregateError with what failed, after the round
 */
export async function evaluateAlerts(deps: DomainDeps, signal: AbortSignal): Promise<number> {
  let told = 0;
  const failures: unknown[] = [];
  for (const rule of await listEnabledAlertRules(deps.db)) {
    let count = ALERT_ROUND_LIMIT;
    while (count === ALERT_ROUND_LIMIT && !signal.aborted) {
      try {
        const round = await evaluateRule(deps, rule);
        count = round.changes;
        told += round.told;
      } catch (error) {
        failures.push(error);
        break;
      }
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, `${failures.length} rules of alerts failed`);
  return told;
}

async function evaluateRule(
  deps: DomainDeps,
  rule: AlertRuleRow,
): Promise<{ changes: number; told: number }> {
  const tags = rule.match === null ? undefined : conditionOfTags(rule.match);
  const changes = await readConditionChanges(deps.db, rule, tags);
  if (changes.length === 0) return { changes: 0, told: 0 };
  return transact(deps, async (unit) => {
    if (!(await holdAlertRule(unit.trx, rule.id, rule.rev))) return { changes: 0, told: 0 }; // B
    const opened = await openDue(unit, rule, changes);
    const resolved = await noteEnds(unit, rule, changes);
    return { changes: changes.length, told: opened + resolved };
  });
}

async function openDue(unit: Unit, rule: AlertRuleRow, changes: readonly ConditionChange[]): Promise<number> {
  const { trx } = unit;
  const holding = changes.filter((change) => change.holds);
  const due = holding.filter((change) => change.isDue);
  const { kind } = rule.condition;
  const opened = await openAlerts(
    trx,
    { ...rule, kind },
    due.map((change) => ({
      id: newId(),
      subjectKind: change.subjectKind ?? 'agent',
      subjectId: change.subjectId,
      agentId: change.agentId,
      ownerId: change.ownerId,
      title: titleOf(kind, change),
      details: change.details ?? {},
    })),
  );
  const ids = new Map(opened.map((alert) => [alert.subjectId, alert.id]));
  const others = due.filter(({ subjectId }) => !ids.has(subjectId)).map(({ subjectId }) => subjectId);
  for (const [subjectId, id] of await findActiveAlerts(trx, rule.id, others)) ids.set(subjectId, id); // A
  await holdConditions(
    trx,
    rule.id,
    holding.map(({ subjectId, since, evidence }) => ({
      subjectId,
      since: since ?? new Date(),
      evidence,
      alertId: ids.get(subjectId) ?? null,
    })),
  );
  await repeatAlerts(
    trx,
    holding.flatMap((change) =>
      change.isAgain && change.alertId !== null
        ? [{ id: change.alertId, title: titleOf(kind, change), details: change.details ?? {} }]
        : [],
    ),
  );
  for (const alert of opened) unit.emit('alert.opened', alertEvent(alert));
  return opened.length;
}

async function noteEnds(
  unit: Unit,
  rule: AlertRuleRow,
  changes: readonly ConditionChange[],
): Promise<number> {
  const gone = changes.filter((change) => !change.holds);
  const over = gone.filter((change) => change.isOver);
  const idsOf = (some: readonly ConditionChange[]) => some.map(({ subjectId }) => subjectId);
  await endConditions(unit.trx, rule.id, idsOf(gone.filter((change) => !change.isOver))); // C
  await forgetConditions(unit.trx, rule.id, idsOf(over));
  const alertIds = over.flatMap(({ alertId }) => alertId ?? []);
  const resolved = await resolveAlerts(unit.trx, { ids: alertIds }, 'condition_ended', null);
  for (const alert of resolved) unit.emit('alert.resolved', alertEvent(alert));
  return resolved.length;
}

function titleOf(kind: AlertKind, { subjectKind, subjectName, subjectId, details }: ConditionChange): string {
  const name = subjectName ?? subjectId;
  switch (kind) {
    case 'agent_offline':
      return `Agent ${name} is offline`;
    case 'cpu_over':
      return `The processor of ${name} is over ${details?.limit} %`;
    case 'memory_over':
      return `The memory of ${name} is over ${details?.limit} %`;
    case 'disk_over':
      return `A disk of ${name} is over ${details?.limit} %`;
    case 'command_ended': {
      const outcome = String(details?.outcome).replace('_', ' ');
      return details?.count === 1
        ? `A command on ${name} ended: ${outcome}`
        : `${details?.count} commands on ${name} ended badly, the last one: ${outcome}`;
    }
    case 'approval_waiting':
      return subjectKind === 'rollout'
        ? `Rollout “${name}” waits for the approval of batch ${details?.batch}`
        : `Task “${name}” waits for a decision`;
  }
}
