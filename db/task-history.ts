/** The newest steps and commands of tasks, of all their runs: for what is shown beside a task, of a list in one go. */
import type { Act } from '../contracts/act.ts';
import type { CommandState } from '../contracts/command-states.ts';
import type { StepDecision } from '../contracts/tasks.ts';
import { type Queryable, query } from './database.ts';

export interface HistoryStepRow {
  taskId: string;
  runNo: number;
  stepNo: number;
  act: Act;
  reason: string;
  decision: StepDecision | null;
  model: string | null;
  proposedAt: Date;
}

export interface HistoryCommandRow {
  commandId: string;
  taskId: string;
  runNo: number;
  stepNo: number;
  attempt: number;
  agentId: string;
  state: CommandState;
  exitCode: number | null;
  createdAt: Date;
  finishedAt: Date | null;
  /** Stored, and whether that is not all. */
  outputBytes: number;
  isTruncated: boolean;
}

/** At most `limit` steps of each task, the newest first. */
export async function listNewestSteps(
  db: Queryable,
  taskIds: readonly string[],
  limit: number,
): Promise<HistoryStepRow[]> {
  return query<HistoryStepRow>(
    db,
    `select t.task_id as "taskId", t.run_no as "runNo", t.step_no as "stepNo", a.act, t.reason, t.decision, t.model,
            t.proposed_at as "proposedAt"
     from unnest(cast(:task_ids as uuid[])) wanted (task_id)
     cross join lateral (
       select s.task_id, s.run_no, s.step_no, s.digest, s.reason, s.decision, s.model, s.proposed_at
       from steps s where s.task_id = wanted.task_id order by s.run_no desc, s.step_no desc limit :limit
     ) t
     join acts a on a.digest = t.digest
     order by t.task_id, t.run_no desc, t.step_no desc`,
    { task_ids: [...taskIds], limit },
  );
}

/** At most `limit` commands of each task, of its newest steps first, of a step the newest attempt first. */
export async function listNewestCommands(
  db: Queryable,
  taskIds: readonly string[],
  limit: number,
): Promise<HistoryCommandRow[]> {
  return query<HistoryCommandRow>(
    db,
    `select t.command_id as "commandId", t.task_id as "taskId", t.run_no as "runNo", t.step_no as "stepNo", t.attempt,
            t.agent_id as "agentId", t.state, t.exit_code as "exitCode", t.created_at as "createdAt",
            t.finished_at as "finishedAt", t.stdout_bytes + t.stderr_bytes as "outputBytes",
            t.stdout_truncated or t.stderr_truncated as "isTruncated"
     from unnest(cast(:task_ids as uuid[])) wanted (task_id)
     cross join lateral (
       select c.command_id, c.task_id, c.run_no, c.step_no, c.attempt, c.agent_id, c.state, c.exit_code, c.created_at,
              c.finished_at, c.stdout_bytes, c.stderr_bytes, c.stdout_truncated, c.stderr_truncated
       from commands c where c.task_id = wanted.task_id
       order by c.run_no desc, c.step_no desc, c.attempt desc limit :limit
     ) t
     order by t.task_id, t.run_no desc, t.step_no desc, t.attempt desc`,
    { task_ids: [...taskIds], limit },
  );
}
