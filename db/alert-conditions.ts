/**
 * What holds of the rules of alerts, compared with what held before: one statement a rule, which reads and returns
 * differences only. Nothing is written while nothing changes.
 */
import { METRICS_STEPS } from '../contracts/agent-metrics.ts';
import type { AlertCondition } from '../contracts/alert-rules.ts';
import type { TagCondition } from './agents.ts';
import type { AlertRuleRow } from './alert-rules.ts';
import { execute, type Queryable, query } from './database.ts';

/** Most differences of one round of one rule; the rest is found in the next. */
export const ALERT_ROUND_LIMIT = 1_000;

/** A difference between what holds of a rule now and what held before. */
export interface ConditionChange {
  /** Null where it does not hold. */
  subjectKind: 'agent' | 'task' | 'rollout' | null;
  subjectId: string;
  agentId: string | null;
  ownerId: string | null;
  /** Host name or title. */
  subjectName: string | null;
  /** Facts of now; null where it does not hold. */
  details: Record<string, unknown> | null;
  evidence: string | null;
  since: Date | null;
  /** Its alert so far. */
  alertId: string | null;
  /** It holds now. */
  holds: boolean;
  /** An alert is to be opened: it has held long enough and has none yet, or it happened again after a person resolved that. */
  isDue: boolean;
  /** It has come back, or happened again, while its alert is not resolved. */
  isAgain: boolean;
  /** It does not hold, and has not for as long as the rule wants. */
  isOver: boolean;
}

interface Sql {
  sql: string;
  bindings: Record<string, unknown>;
}

const everything: TagCondition = { sql: 'true', bindings: {} };

/** How many steps back of the fine ring a sample is the present one: agents report once a step, not to the second. */
const FRESH_STEPS = 3;
const { seconds: stepSeconds, slots } = METRICS_STEPS.fine;
const bucketSql = `cast(floor(extract(epoch from now()) / ${stepSeconds}) as bigint)`;

const metricColumns = {
  cpu_over: 'cpu_percent',
  memory_over: 'memory_percent',
  disk_over: 'disk_percent',
} as const;

/** The newest fresh sample of agent `of`: by key, so it costs the same whatever the ring holds. */
const sampleSql = (column: string, of: string): string =>
  `select m.${column} as value from generate_series(0, ${FRESH_STEPS - 1}) as back
     join agent_metrics_fine m on m.agent_id = ${of}
       and m.slot = cast((${bucketSql} - back) % ${slots} as smallint) and m.bucket = ${bucketSql} - back
   where m.${column} is not null order by back limit 1`;

/** What holds now: subject_kind, subject_id, agent_id, owner_id, subject_name, since, evidence, details. */
function holdingSql(ruleId: string, condition: AlertCondition, tags: TagCondition): Sql {
  const scope = `a.revoked_at is null and (${tags.sql})`;
  const { bindings } = tags;
  switch (condition.kind) {
    case 'agent_offline':
      return {
        sql: `select 'agent' as subject_kind, a.id as subject_id, a.id as agent_id, cast(null as text) as owner_id, a.hostname as subject_name,
                     p.last_seen_at as since, cast(null as text) as evidence,
                     jsonb_build_object('lastSeenAt', p.last_seen_at) as details
              from agent_presence p join agents a on a.id = p.agent_id
              where not p.is_online and p.last_seen_at <= now() - make_interval(secs => :for_seconds) and ${scope}`,
        bindings: { ...bindings, for_seconds: condition.forMs / 1_000 },
      };
    case 'cpu_over':
    case 'memory_over':
    case 'disk_over':
      return {
        sql: `select 'agent' as subject_kind, a.id as subject_id, a.id as agent_id, cast(null as text) as owner_id, a.hostname as subject_name,
                     now() as since, cast(null as text) as evidence,
                     jsonb_build_object('value', round(cast(s.value as numeric), 1),
                                        'limit', cast(:limit_percent as double precision)) as details
              from agent_presence p join agents a on a.id = p.agent_id
                cross join lateral (${sampleSql(metricColumns[condition.kind], 'p.agent_id')}) s
              where p.is_online and s.value > cast(:limit_percent as double precision) and ${scope}`,
        bindings: { ...bindings, limit_percent: condition.limitPercent },
      };
    case 'command_ended':
      // Not those that a person has seen and resolved; those without a sign since are counted again.
      return {
        sql: `select 'agent' as subject_kind, c.agent_id as subject_id, c.agent_id, cast(null as text) as owner_id, a.hostname as subject_name,
                     min(c.finished_at) as since,
                     (array_agg(cast(c.command_id as text) order by c.finished_at desc, c.command_id desc))[1]
                       as evidence,
                     jsonb_build_object('count', count(*), 'commandId',
                       (array_agg(c.command_id order by c.finished_at desc, c.command_id desc))[1], 'outcome',
                       (array_agg(c.state order by c.finished_at desc, c.command_id desc))[1]) as details
              from commands c join agents a on a.id = c.agent_id
              where c.state in ('failed', 'timed_out', 'unknown', 'expired', 'rejected')
                and c.state = any(cast(:outcomes as text[]))
                and c.finished_at > now() - make_interval(secs => :within_seconds)
                and c.finished_at > coalesce(
                  (select max(r.resolved_at) from alerts r where r.rule_id = cast(:holding_rule as uuid)
                     and r.subject_id = c.agent_id and r.resolution = 'person'), '-infinity')
                and ${scope}
              group by c.agent_id, a.hostname having count(*) >= :count`,
        bindings: {
          ...bindings,
          outcomes: condition.outcomes,
          within_seconds: condition.withinMs / 1_000,
          count: condition.count,
          holding_rule: ruleId,
        },
      };
    case 'approval_waiting':
      return {
        sql: `select 'task' as subject_kind, cast(t.id as text) as subject_id, t.agent_id, t.creator_id as owner_id, t.title as subject_name,
                     s.proposed_at as since, cast(t.run_no || '/' || t.step_no as text) as evidence,
                     jsonb_build_object('taskId', t.public_id, 'step', t.step_no, 'risk', s.risk_label,
                                        'proposedAt', s.proposed_at) as details
              from tasks t
                join steps s on s.task_id = t.id and s.run_no = t.run_no and s.step_no = t.step_no
                left join agents a on a.id = t.agent_id
              where t.state = 'awaiting_decision' and t.deleted_at is null and s.decision is null
                and s.proposed_at <= now() - make_interval(secs => :for_seconds) and (${tags.sql})
              union all
              -- Of no one agent: only of rules that are about all.
              select 'rollout', cast(r.id as text), null, r.creator_id, r.name, r.updated_at,
                     cast(r.batch_no as text),
                     jsonb_build_object('rolloutId', r.id, 'batch', r.batch_no + 1, 'waitingSince', r.updated_at)
              from rollouts r left join agents a on false
              where r.state = 'awaiting_approval'
                and r.updated_at <= now() - make_interval(secs => :for_seconds) and (${tags.sql})`,
        bindings: { ...bindings, for_seconds: condition.forMs / 1_000 },
      };
  }
}

/**
 * Where nobody knows: a machine that says nothing of its disk has not got room again. What was over the limit stays so
 * until a sample says otherwise, or the agent is none of the rule's any more.
 */
function isKnownSql({ kind }: AlertCondition, tags: TagCondition): string {
  if (!(kind in metricColumns)) return 'true';
  const column = metricColumns[kind as keyof typeof metricColumns];
  return `(exists (${sampleSql(column, 'k.subject_id')}) or not exists (
    select 1 from agents a where a.id = k.subject_id and a.revoked_at is null and (${tags.sql})))`;
}

/** The differences of a rule, at most ALERT_ROUND_LIMIT. */
export function readConditionChanges(
  db: Queryable,
  rule: Pick<AlertRuleRow, 'id' | 'condition' | 'clearMs'>,
  tags: TagCondition | undefined,
): Promise<ConditionChange[]> {
  const { sql, bindings } = conditionChangesSql(rule, tags ?? everything);
  return query<ConditionChange>(db, sql, bindings);
}

export function conditionChangesSql(
  { id, condition, clearMs }: Pick<AlertRuleRow, 'id' | 'condition' | 'clearMs'>,
  tags: TagCondition,
): Sql {
  const holding = holdingSql(id, condition, tags);
  // Of the others the time that it must last is part of what holds.
  const lastsMs = condition.kind in metricColumns && 'forMs' in condition ? condition.forMs : 0;
  return {
    sql: `with holding as materialized (${holding.sql}),
       known as materialized (
         select subject_id, since, evidence, ended_at, alert_id from alert_conditions
         where rule_id = cast(:rule_id as uuid)
       ), compared as (
         select h.subject_kind as "subjectKind", coalesce(h.subject_id, k.subject_id) as "subjectId", h.agent_id as "agentId",
                h.owner_id as "ownerId", h.subject_name as "subjectName", h.details,
                coalesce(h.evidence, k.evidence) as evidence, coalesce(k.since, h.since) as since,
                k.alert_id as "alertId", h.subject_id is not null as holds,
                h.subject_id is not null and case
                  when k.alert_id is null
                    then coalesce(k.since, h.since) <= now() - make_interval(secs => :lasts_seconds)
                  else l.state = 'resolved' and k.evidence is distinct from h.evidence end as "isDue",
                h.subject_id is not null and k.subject_id is not null and l.state <> 'resolved'
                  and (k.ended_at is not null or k.evidence is distinct from h.evidence) as "isAgain",
                h.subject_id is null and (k.alert_id is null
                  or coalesce(k.ended_at, now()) <= now() - make_interval(secs => :clear_seconds)) as "isOver",
                k.subject_id is null or (h.subject_id is null) = (k.ended_at is null) as is_turn,
                h.subject_id is not null or ${isKnownSql(condition, tags)} as is_known
         from holding h full join known k on k.subject_id = h.subject_id
           left join alerts l on l.id = k.alert_id
       )
       select "subjectKind", "subjectId", "agentId", "ownerId", "subjectName", details, evidence, since, "alertId", holds,
              "isDue", "isAgain", "isOver"
       from compared
       where is_known and (is_turn or "isDue" or "isAgain" or "isOver")
       limit ${ALERT_ROUND_LIMIT}`,
    bindings: {
      ...tags.bindings,
      ...holding.bindings,
      rule_id: id,
      lasts_seconds: lastsMs / 1_000,
      clear_seconds: clearMs / 1_000,
    },
  };
}

export interface HeldCondition {
  subjectId: string;
  since: Date;
  evidence: string | null;
  alertId: string | null;
}

/** They hold now. */
export async function holdConditions(
  db: Queryable,
  ruleId: string,
  conditions: readonly HeldCondition[],
): Promise<void> {
  if (conditions.length === 0) return;
  await execute(
    db,
    `insert into alert_conditions as c (rule_id, subject_id, since, evidence, alert_id)
     select cast(:rule_id as uuid), r."subjectId", r.since, r.evidence, r."alertId"
     from jsonb_to_recordset(cast(:rows as jsonb))
       as r("subjectId" text, since timestamptz, evidence text, "alertId" uuid)
     on conflict (rule_id, subject_id) do update
       set ended_at = null, evidence = excluded.evidence, alert_id = coalesce(excluded.alert_id, c.alert_id)`,
    { rule_id: ruleId, rows: JSON.stringify(conditions) },
  );
}

/** They hold no more, but may come back. */
export async function endConditions(
  db: Queryable,
  ruleId: string,
  subjectIds: readonly string[],
): Promise<void> {
  if (subjectIds.length === 0) return;
  await execute(
    db,
    `update alert_conditions set ended_at = now()
     where rule_id = :rule_id and subject_id = any(cast(:ids as text[])) and ended_at is null`,
    { rule_id: ruleId, ids: [...subjectIds] },
  );
}

/** They are forgotten; all of the rule's where none is named. */
export async function forgetConditions(
  db: Queryable,
  ruleId: string,
  subjectIds?: readonly string[],
): Promise<void> {
  if (subjectIds?.length === 0) return;
  await execute(
    db,
    `delete from alert_conditions where rule_id = :rule_id
     ${subjectIds === undefined ? '' : 'and subject_id = any(cast(:ids as text[]))'}`,
    { rule_id: ruleId, ids: [...(subjectIds ?? [])] },
  );
}
