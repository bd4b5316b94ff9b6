/** Tools of the hub that were run, or refused, for a task. Only ever added to. */
import { execute, type Queryable, query } from './database.ts';
import { storableText } from './storable-text.ts';

export interface ToolRunRow {
  id: string;
  taskId: string;
  actorKind: string;
  actorId: string;
  actorName: string;
  /** Without the arguments that no record repeats. */
  calls: { name: string; args: Record<string, unknown> }[];
  outcome: 'completed' | 'failed' | 'blocked';
  /** The results of the calls; of blocked ones `{blocked_tools, blocked_reasons, guardrails}`. */
  results: unknown;
  at: Date;
}

const columns = `t.id, t.task_id as "taskId", t.actor_kind as "actorKind", t.actor_id as "actorId", t.actor_name as "actorName",
  t.calls, t.outcome, t.results, t.at`;

/** Tools read what commands printed. */
const storable = (_key: string, value: unknown): unknown =>
  typeof value === 'string' ? storableText(value) : value;

export async function insertToolRun(db: Queryable, run: Omit<ToolRunRow, 'at'>): Promise<void> {
  await execute(
    db,
    `insert into tool_runs (id, task_id, actor_kind, actor_id, actor_name, calls, outcome, results)
     values (:id, :task_id, :actor_kind, :actor_id, :actor_name, cast(:calls as jsonb), :outcome,
             cast(:results as jsonb))`,
    {
      id: run.id,
      task_id: run.taskId,
      actor_kind: run.actorKind,
      actor_id: run.actorId,
      actor_name: run.actorName,
      calls: JSON.stringify(run.calls),
      outcome: run.outcome,
      results: JSON.stringify(run.results ?? null, storable),
    },
  );
}

/** The newest of each task, newest first. */
export async function listToolRuns(
  db: Queryable,
  taskIds: readonly string[],
  limitPerTask: number,
): Promise<ToolRunRow[]> {
  return query<ToolRunRow>(
    db,
    `select ${columns} from unnest(cast(:task_ids as uuid[])) wanted (wanted_id)
     cross join lateral (
       select r.id, r.task_id, r.actor_kind, r.actor_id, r.actor_name, r.calls, r.outcome, r.results, r.at
       from tool_runs r where r.task_id = wanted.wanted_id order by r.at desc, r.id desc limit :limit
     ) t
     order by t.at desc, t.id desc`,
    { task_ids: [...taskIds], limit: limitPerTask },
  );
}

export async function findToolRun(db: Queryable, id: string): Promise<ToolRunRow | undefined> {
  const [row] = await query<ToolRunRow>(db, `select ${columns} from tool_runs t where t.id = :id`, { id });
  return row;
}
