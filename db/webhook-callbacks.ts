/** What a callback tells of a task besides its status. */
import type { CommandState } from '../contracts/command-states.ts';
import { type Queryable, queryOne } from './database.ts';

export interface LastCommandRow {
  commandId: string;
  state: CommandState;
  exitCode: number | null;
  /** Stored bytes of both streams. */
  outputBytes: number;
  isTruncated: boolean;
}

/** The command of the run that ended last, at that time. */
export const findLastEnded = (
  db: Queryable,
  { taskId, runNo, before }: { taskId: string; runNo: number; before: Date },
): Promise<LastCommandRow | undefined> =>
  queryOne<LastCommandRow>(
    db,
    `select command_id as "commandId", state, exit_code as "exitCode", stdout_bytes + stderr_bytes as "outputBytes",
            stdout_truncated or stderr_truncated as "isTruncated"
     from commands where task_id = :taskId and run_no = :runNo and finished_at <= :before
     order by finished_at desc, step_no desc, attempt desc, command_id desc limit 1`,
    { taskId, runNo, before },
  );
