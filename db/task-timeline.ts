/** What happened to tasks, from the event log, with the rows the events speak of. */
import type { Act } from '../contracts/act.ts';
import type { EventType } from '../contracts/events.ts';
import type { TaskState } from '../contracts/tasks.ts';
import { type Queryable, query } from './database.ts';

/** Newest events of the log that are looked at when no tasks are named. */
const MAX_SCANNED_EVENTS = 20_000;
/** Newest events of each named task that are looked at. */
const MAX_EVENTS_OF_TASK = 500;

export interface TaskEventRow {
  at: Date;
  type: EventType;
  data: Record<string, unknown>;
  agentId: string | null;
  taskId: string;
  state: TaskState;
  statusLabel: string | null;
  teamId: string | null;
  creatorName: string;
  /** Of the step that the event speaks of. */
  stepAct: Act | null;
  stepReason: string | null;
  authorName: string | null;
  decidedName: string | null;
  decisionReason: string | null;
  /** Of the command that it speaks of. */
  commandId: string | null;
  commandAct: Act | null;
  durationMs: number | null;
  /** Of tools that were not run: what stood in the way. */
  stoppedBy: Record<string, unknown> | null;
  /** Who ran tools, or wanted to. */
  toolsActorName: string | null;
}

export interface TaskEventFilter {
  types: readonly EventType[];
  /** Row ids; absent: all tasks. */
  taskIds?: readonly string[] | undefined;
  since?: Date | undefined;
  /** Of commands, verdicts and tools only what did not go well. */
  failedOnly: boolean;
  limit: number;
}

/** Newest first; `total` counts all that match, as far back as is looked. */
export async function listTaskEvents(
  db: Queryable,
  filter: TaskEventFilter,
): Promise<{ rows: TaskEventRow[]; total: number }> {
  const conditions = ['e.type = any(cast(:types as text[]))'];
  if (filter.since !== undefined) conditions.push('e.at >= :since');
  if (filter.failedOnly) {
    const outcome = `coalesce(e.data->>'state', e.data->>'verdict', e.data->>'outcome', '')`;
    conditions.push(`${outcome} not in ('succeeded', 'completed')`);
  }
  const which = conditions.join(' and ');
  const picked = 'e.id, e.at, e.type, e.data, e.agent_id, e.task_id, e.command_id';
  const source =
    filter.taskIds === undefined
      ? `select ${picked} from events e where e.task_id is not null and ${which}
         order by e.at desc, e.id desc limit ${MAX_SCANNED_EVENTS}`
      : `select own.* from unnest(cast(:task_ids as uuid[])) wanted (task_id) cross join lateral (
           select ${picked} from events e where e.task_id = wanted.task_id and ${which}
           order by e.id desc limit ${MAX_EVENTS_OF_TASK}) own`;
  const rows = await query<TaskEventRow & { total: number }>(
    db,
    `with shown as (
       select e.*, t.public_id, t.state, t.status_label, t.team_id, t.creator_name, count(*) over () as total
       from (${source}) e join tasks t on t.id = e.task_id
       where t.deleted_at is null
       order by e.at desc, e.id desc limit :limit)
     select e.at, e.type, e.data, e.agent_id as "agentId", e.public_id as "taskId", e.state,
            e.status_label as "statusLabel", e.team_id as "teamId", e.creator_name as "creatorName",
            sa.act as "stepAct", s.reason as "stepReason", s.author_name as "authorName",
            s.decided_name as "decidedName", s.decision_reason as "decisionReason",
            e.command_id as "commandId", ca.act as "commandAct", c.duration_ms as "durationMs",
            case when r.outcome = 'blocked' then r.results end as "stoppedBy", r.actor_name as "toolsActorName",
            cast(e.total as integer) as total
     from shown e
     left join lateral (
       select s.digest, s.reason, s.author_name, s.decided_name, s.decision_reason from steps s
       where e.type in ('task.proposed', 'task.decided') and s.task_id = e.task_id
         and s.step_no = cast(e.data->>'step' as integer) and s.proposed_at <= e.at + interval '1 second'
       order by s.run_no desc limit 1) s on true
     left join acts sa on sa.digest = s.digest
     left join commands c on c.command_id = e.command_id
     left join acts ca on ca.digest = c.digest
     left join lateral (
       select r.outcome, r.results, r.actor_name from tool_runs r
       where e.type = 'task.tools_run' and r.task_id = e.task_id and r.at <= e.at
       order by r.at desc, r.id desc limit 1) r on true
     order by e.at desc, e.id desc`,
    {
      types: [...filter.types],
      task_ids: filter.taskIds === undefined ? null : [...filter.taskIds],
      since: filter.since ?? null,
      limit: filter.limit,
    },
  );
  return { rows, total: rows[0]?.total ?? 0 };
}
