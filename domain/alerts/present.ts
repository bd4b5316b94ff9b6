/** Alerts and their rules as the house API shows them, and what their events say. */
import type { AlertRuleView } from '../../contracts/alert-rules.ts';
import type { AlertView } from '../../contracts/alerts.ts';
import type { AlertRuleRow } from '../../db/alert-rules.ts';
import type { AlertRow } from '../../db/alerts.ts';
import type { EventEntry } from '../../db/events.ts';

export const presentAlertRule = (row: AlertRuleRow): AlertRuleView => ({
  id: row.id,
  name: row.name,
  description: row.description,
  severity: row.severity,
  match: row.match,
  condition: row.condition,
  clearMs: row.clearMs,
  enabled: row.enabled,
  editedBy: { kind: row.editorKind, id: row.editorId, name: row.editorName },
  createdAt: row.createdAt.toISOString(),
  updatedAt: row.updatedAt.toISOString(),
});

export const presentAlert = (row: AlertRow): AlertView => ({
  id: row.id,
  ruleId: row.ruleId,
  ruleName: row.ruleName,
  kind: row.kind,
  severity: row.severity,
  state: row.state,
  title: row.title,
  subject: subjectOf(row),
  agentId: row.agentId,
  details: row.details,
  occurrences: row.occurrences,
  note: row.note,
  openedAt: row.openedAt.toISOString(),
  lastAt: row.lastAt.toISOString(),
  acknowledgedAt: row.acknowledgedAt?.toISOString() ?? null,
  acknowledgedBy: refOf(row.acknowledgedKind, row.acknowledgedId, row.acknowledgedName),
  resolvedAt: row.resolvedAt?.toISOString() ?? null,
  resolution: row.resolution,
  resolvedBy: refOf(row.resolvedKind, row.resolvedId, row.resolvedName),
});

/** What an event of an alert refers to and says. */
export const alertEvent = (row: AlertRow): Omit<EventEntry, 'type'> => ({
  agentId: row.agentId,
  ownerId: row.ownerId,
  data: {
    alertId: row.id,
    ruleId: row.ruleId,
    ruleName: row.ruleName,
    kind: row.kind,
    severity: row.severity,
    state: row.state,
    title: row.title,
    subject: subjectOf(row),
    ...(row.resolution !== null && { resolution: row.resolution }),
  },
});

/** Tasks by the id that clients know. */
function subjectOf({ subjectKind: kind, subjectId, details }: AlertRow): AlertView['subject'] {
  return { kind, id: kind === 'task' && typeof details.taskId === 'string' ? details.taskId : subjectId };
}

const refOf = (kind: string | null, id: string | null, name: string | null) =>
  kind === null || id === null || name === null ? null : { kind, id, name };
