/** Alerts: rows that were opened by a rule, taken care of by people, and resolved. */
import type { AlertKind, AlertSeverity } from '../contracts/alert-rules.ts';
import type { AlertListQuery, AlertResolution, AlertState } from '../contracts/alerts.ts';
import { type Queryable, query, queryOne } from './database.ts';

export interface AlertRow {
  id: string;
  ruleId: string | null;
  ruleName: string;
  kind: AlertKind;
  severity: AlertSeverity;
  state: AlertState;
  subjectKind: 'agent' | 'task' | 'rollout';
  subjectId: string;
  agentId: string | null;
  ownerId: string | null;
  title: string;
  details: Record<string, unknown>;
  occurrences: number;
  note: string | null;
  openedAt: Date;
  lastAt: Date;
  acknowledgedAt: Date | null;
  acknowledgedKind: string | null;
  acknowledgedId: string | null;
  acknowledgedName: string | null;
  resolvedAt: Date | null;
  resolution: AlertResolution | null;
  resolvedKind: string | null;
  resolvedId: string | null;
  resolvedName: string | null;
}

const columns = `id, rule_id as "ruleId", rule_name as "ruleName", kind, severity, state,
  subject_kind as "subjectKind", subject_id as "subjectId", agent_id as "agentId", owner_id as "ownerId", title,
  details, occurrences, note, opened_at as "openedAt", last_at as "lastAt", acknowledged_at as "acknowledgedAt",
  acknowledged_kind as "acknowledgedKind", acknowledged_id as "acknowledgedId",
  acknowledged_name as "acknowledgedName", resolved_at as "resolvedAt", resolution,
  resolved_kind as "resolvedKind", resolved_id as "resolvedId", resolved_name as "resolvedName"`;

/** Who did something to an alert. */
export interface AlertActor {
  kind: string;
  id: string;
  name: string;
}

export type NewAlert = Pick<
  AlertRow,
  'id' | 'subjectKind' | 'subjectId' | 'agentId' | 'ownerId' | 'title' | 'details'
>;

/** Open alerts of a rule; where one of the subject is open already that one stays, and is not returned. */
export function openAlerts(
  db: Queryable,
  rule: { id: string; name: string; kind: AlertKind; severity: AlertSeverity },
  alerts: readonly NewAlert[],
): Promise<AlertRow[]> {
  if (alerts.length === 0) return Promise.resolve([]);
  return query<AlertRow>(
    db,
    `insert into alerts (id, rule_id, rule_name, kind, severity, state, subject_kind, subject_id, agent_id, owner_id,
                         title, details)
     select r.id, cast(:rule_id as uuid), :name, :kind, :severity, 'open', r."subjectKind", r."subjectId",
            r."agentId", r."ownerId", r.title, r.details
     from jsonb_to_recordset(cast(:rows as jsonb)) as r(id uuid, "subjectKind" text, "subjectId" text,
       "agentId" text, "ownerId" text, title text, details jsonb)
     on conflict (rule_id, subject_id) where state <> 'resolved' do nothing
     returning ${columns}`,
    {
      rule_id: rule.id,
      name: rule.name,
      kind: rule.kind,
      severity: rule.severity,
      rows: JSON.stringify(alerts),
    },
  );
}

/** Ids of a rule's alerts that are not resolved, by subject. */
export async function findActiveAlerts(
  db: Queryable,
  ruleId: string,
  subjectIds: readonly string[],
): Promise<Map<string, string>> {
  if (subjectIds.length === 0) return new Map();
  const rows = await query<{ id: string; subjectId: string }>(
    db,
    `select id, subject_id as "subjectId" from alerts
     where rule_id = :rule_id and subject_id = any(cast(:ids as text[])) and state <> 'resolved'`,
    { rule_id: ruleId, ids: [...subjectIds] },
  );
  return new Map(rows.map((row) => [row.subjectId, row.id]));
}

/** What happened again of alerts that are not resolved. */
export async function repeatAlerts(
  db: Queryable,
  again: readonly { id: string; title: string; details: Record<string, unknown> }[],
): Promise<void> {
  if (again.length === 0) return;
  await query(
    db,
    `update alerts a set occurrences = a.occurrences + 1, last_at = now(), details = r.details, title = r.title
     from jsonb_to_recordset(cast(:rows as jsonb)) as r(id uuid, title text, details jsonb)
     where a.id = r.id and a.state <> 'resolved'`,
    { rows: JSON.stringify(again) },
  );
}

/** Those of the alerts that were not resolved before, as they are now. */
export function resolveAlerts(
  db: Queryable,
  which: { ids: readonly string[] } | { ruleId: string },
  resolution: AlertResolution,
  actor: AlertActor | null,
): Promise<AlertRow[]> {
  if ('ids' in which && which.ids.length === 0) return Promise.resolve([]);
  const condition = 'ids' in which ? 'id = any(cast(:which as uuid[]))' : 'rule_id = :which';
  return query<AlertRow>(
    db,
    `update alerts set state = 'resolved', resolved_at = clock_timestamp(), resolution = :resolution,
            resolved_kind = :kind, resolved_id = :actor_id, resolved_name = :actor_name
     where ${condition} and state <> 'resolved'
     returning ${columns}`,
    {
      which: 'ids' in which ? [...which.ids] : which.ruleId,
      resolution,
      kind: actor?.kind ?? null,
      actor_id: actor?.id ?? null,
      actor_name: actor?.name ?? null,
    },
  );
}

/** The row is locked by the caller and open. */
export async function acknowledgeAlert(db: Queryable, id: string, actor: AlertActor): Promise<void> {
  await query(
    db,
    `update alerts set state = 'acknowledged', acknowledged_at = now(), acknowledged_kind = :kind,
            acknowledged_id = :actor_id, acknowledged_name = :actor_name
     where id = :id`,
    { id, kind: actor.kind, actor_id: actor.id, actor_name: actor.name },
  );
}

export async function setAlertNote(db: Queryable, id: string, note: string | null): Promise<void> {
  await query(db, 'update alerts set note = :note where id = :id', { id, note });
}

export const findAlert = (db: Queryable, id: string): Promise<AlertRow | undefined> =>
  queryOne<AlertRow>(db, `select ${columns} from alerts where id = :id`, { id });

export const lockAlert = (db: Queryable, id: string): Promise<AlertRow | undefined> =>
  queryOne<AlertRow>(db, `select ${columns} from alerts where id = :id for update`, { id });

export interface AlertFilter
  extends Pick<AlertListQuery, 'severity' | 'kind' | 'ruleId' | 'agentId' | 'state'> {
  /** Only of this principal. */
  ownerId?: string | undefined;
  before?: { at: Date; id: string } | undefined;
  limit: number;
}

/** Newest first, keyset by (opened_at, id). */
export function listAlerts(db: Queryable, filter: AlertFilter): Promise<AlertRow[]> {
  const { sql, bindings } = listAlertsSql(filter);
  return query<AlertRow>(db, sql, bindings);
}

export function listAlertsSql(filter: AlertFilter) {
  const { state, severity, kind, ruleId, agentId, ownerId, before, limit } = filter;
  const conditions = [
    // Also of one of the two states: the index of those that are not resolved is small.
    state !== undefined && (state === 'resolved' ? "state = 'resolved'" : "state <> 'resolved'"),
    (state === 'open' || state === 'acknowledged') && 'state = :state',
    severity !== undefined && 'severity = :severity',
    kind !== undefined && 'kind = :kind',
    ruleId !== undefined && 'rule_id = cast(:ruleId as uuid)',
    agentId !== undefined && 'agent_id = :agentId',
    ownerId !== undefined && 'owner_id = :ownerId',
    before !== undefined && '(opened_at, id) < (:at, cast(:id as uuid))',
  ].filter((condition) => typeof condition === 'string');
  const bindings: Record<string, unknown> = { limit };
  for (const [name, value] of Object.entries({
    state,
    severity,
    kind,
    ruleId,
    agentId,
    ownerId,
    ...before,
  })) {
    if (value !== undefined && !(name === 'state' && (value === 'active' || value === 'resolved'))) {
      bindings[name] = value;
    }
  }
  return {
    sql: `select ${columns} from alerts ${conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`}
          order by opened_at desc, id desc limit :limit`,
    bindings,
  };
}

/** How many alerts are not resolved, by state and severity. */
export function countActiveAlerts(
  db: Queryable,
  ownerId: string | undefined,
): Promise<{ state: AlertState; severity: AlertSeverity; count: number }[]> {
  return query(
    db,
    `select state, severity, count(*) as count from alerts
     where state <> 'resolved' ${ownerId === undefined ? '' : 'and owner_id = :ownerId'}
     group by state, severity`,
    ownerId === undefined ? {} : { ownerId },
  );
}

/**
 * Delete alerts that were resolved before; returns how many. One whose condition still holds stays: by it is known that a
 * person has resolved it, and that it is not to be opened again.
 */
export async function deleteOldAlerts(db: Queryable, olderThan: Date, limit: number): Promise<number> {
  const rows = await query<{ id: string }>(
    db,
    `delete from alerts where id in (
       select a.id from alerts a where a.state = 'resolved' and a.resolved_at < :older_than
         and not exists (select from alert_conditions c where c.alert_id = a.id)
       order by a.resolved_at limit :limit)
     returning id`,
    { older_than: olderThan, limit },
  );
  return rows.length;
}
