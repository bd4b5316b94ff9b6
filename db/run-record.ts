/** What the seal of a run speaks of: each step's digest and decision, and how its commands ended. */
import type { CommandState } from '../contracts/command-states.ts';
import type { StepDecision } from '../contracts/tasks.ts';
import { type Queryable, query } from './database.ts';

export interface RecordedStep {
  step: number;
  batchDigest: string;
  decision: StepDecision | null;
  decidedBy: string | null;
  /** In the order in which they were made. */
  commands: RecordedCommand[];
}

export interface RecordedCommand {
  commandId: string;
  agentId: string;
  state: CommandState;
  exitCode: number | null;
  stdoutSha256: string | null;
  stderrSha256: string | null;
}

type JoinedRow = Omit<RecordedStep, 'commands'> &
  (RecordedCommand | { [Name in keyof RecordedCommand]: null });

/** The steps of a run in order. */
export async function readRunRecord(db: Queryable, taskId: string, runNo: number): Promise<RecordedStep[]> {
  const rows = await query<JoinedRow>(
    db,
    `select s.step_no as step, s.batch_digest as "batchDigest", s.decision, s.decided_id as "decidedBy",
            c.command_id as "commandId", c.agent_id as "agentId", c.state, c.exit_code as "exitCode",
            c.stdout_sha256 as "stdoutSha256", c.stderr_sha256 as "stderrSha256"
     from steps s
     left join commands c on c.task_id = s.task_id and c.run_no = s.run_no and c.step_no = s.step_no
     where s.task_id = :task_id and s.run_no = :run_no
     order by s.step_no, c.created_at, c.command_id`,
    { task_id: taskId, run_no: runNo },
  );
  const steps: RecordedStep[] = [];
  for (const { step, batchDigest, decision, decidedBy, ...command } of rows) {
    let last = steps.at(-1);
    if (last?.step !== step) {
      last = { step, batchDigest, decision, decidedBy, commands: [] };
      steps.push(last);
    }
    if (command.commandId !== null) last.commands.push(command);
  }
  return steps;
}
