/** Rules of alerts. */
import {
  type AlertCondition,
  type AlertRuleContent,
  type AlertSeverity,
  alertConditionSchema,
} from '../contracts/alert-rules.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';
import { lockKeys } from './lock-keys.ts';

export interface AlertRuleRow {
  id: string;
  name: string;
  description: string | null;
  severity: AlertSeverity;
  /** A tag expression; null: everything. */
  match: string | null;
  condition: AlertCondition;
  clearMs: number;
  enabled: boolean;
  /** Raised by every change. */
  rev: number;
  editorKind: string;
  editorId: string;
  editorName: string;
  createdAt: Date;
  updatedAt: Date;
}

const columns = `id, name, description, severity, match, condition, clear_ms as "clearMs", enabled, rev,
  editor_kind as "editorKind", editor_id as "editorId", editor_name as "editorName",
  created_at as "createdAt", updated_at as "updatedAt"`;

const rowToRule = (row: AlertRuleRow): AlertRuleRow => ({
  ...row,
  condition: alertConditionSchema.parse(row.condition),
});

/** Who wrote a rule. */
export interface AlertEditor {
  kind: string;
  id: string;
  name: string;
}

/** Nobody else makes a rule until the end of the transaction. */
export async function countAlertRules(db: Queryable): Promise<number> {
  await execute(db, 'select pg_advisory_xact_lock(:key)', { key: lockKeys.alertRules });
  const row = await queryOne<{ count: number }>(db, 'select count(*) as count from alert_rules');
  return row?.count ?? 0;
}

/** Undefined when another rule has the name. */
export async function insertAlertRule(
  db: Queryable,
  id: string,
  content: AlertRuleContent,
  editor: AlertEditor,
): Promise<AlertRuleRow | undefined> {
  const row = await queryOne<AlertRuleRow>(
    db,
    `insert into alert_rules (id, name, description, severity, match, condition, clear_ms, enabled,
                              editor_kind, editor_id, editor_name)
     values (:id, :name, :description, :severity, :match, cast(:condition as jsonb), :clearMs, :enabled,
             :editorKind, :editorId, :editorName)
     on conflict (name) do nothing
     returning ${columns}`,
    { id, ...bindingsOf(content, editor) },
  );
  return row && rowToRule(row);
}

/** The row is locked by the caller. @throws unique_violation where another rule has the name */
export async function updateAlertRule(
  db: Queryable,
  id: string,
  content: AlertRuleContent,
  editor: AlertEditor,
): Promise<AlertRuleRow> {
  const row = await queryOne<AlertRuleRow>(
    db,
    `update alert_rules set name = :name, description = :description, severity = :severity, match = :match,
            condition = cast(:condition as jsonb), clear_ms = :clearMs, enabled = :enabled, rev = rev + 1,
            editor_kind = :editorKind, editor_id = :editorId, editor_name = :editorName, updated_at = now()
     where id = :id returning ${columns}`,
    { id, ...bindingsOf(content, editor) },
  );
  if (row === undefined) throw new Error(`the rule ${id} was locked and is gone`);
  return rowToRule(row);
}

const bindingsOf = (content: AlertRuleContent, editor: AlertEditor) => ({
  name: content.name,
  description: content.description,
  severity: content.severity,
  match: content.match,
  condition: JSON.stringify(content.condition),
  clearMs: content.clearMs,
  enabled: content.enabled,
  editorKind: editor.kind,
  editorId: editor.id,
  editorName: editor.name,
});

export async function findAlertRule(db: Queryable, id: string): Promise<AlertRuleRow | undefined> {
  const row = await queryOne<AlertRuleRow>(db, `select ${columns} from alert_rules where id = :id`, { id });
  return row && rowToRule(row);
}

/** Its row is locked until the end of the transaction: no round writes by what it was. */
export async function lockAlertRule(db: Queryable, id: string): Promise<AlertRuleRow | undefined> {
  const row = await queryOne<AlertRuleRow>(
    db,
    `select ${columns} from alert_rules where id = :id for update`,
    { id },
  );
  return row && rowToRule(row);
}

/** Is the rule still what it was? It stays so until the end of the transaction. */
export async function holdAlertRule(db: Queryable, id: string, rev: number): Promise<boolean> {
  const rows = await query(
    db,
    'select id from alert_rules where id = :id and rev = :rev and enabled for share',
    { id, rev },
  );
  return rows.length === 1;
}

export async function deleteAlertRule(db: Queryable, id: string): Promise<void> {
  await execute(db, 'delete from alert_rules where id = :id', { id });
}

/** Newest first, keyset by (created_at, id). */
export async function listAlertRules(
  db: Queryable,
  page: { before: { at: Date; id: string } | undefined; limit: number },
): Promise<AlertRuleRow[]> {
  const { before, limit } = page;
  const rows = await query<AlertRuleRow>(
    db,
    `select ${columns} from alert_rules
     ${before === undefined ? '' : 'where (created_at, id) < (:at, cast(:id as uuid))'}
     order by created_at desc, id desc limit :limit`,
    { limit, ...before },
  );
  return rows.map(rowToRule);
}

/** Those that are switched on. */
export async function listEnabledAlertRules(db: Queryable): Promise<AlertRuleRow[]> {
  const rows = await query<AlertRuleRow>(db, `select ${columns} from alert_rules where enabled order by id`);
  return rows.map(rowToRule);
}
