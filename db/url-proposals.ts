/** What an agent with an address said when it was asked for a step, where that is no command to decide on. */
import { execute, type Queryable, queryOne } from './database.ts';

/** `failed`: it gave no answer that can be used. `told`: an answer without a command of ours. */
export type UrlProposalAnswer =
  | { kind: 'failed'; reason: string }
  | {
      kind: 'told';
      reason: string;
      raw: string;
      toolCalls: unknown[] | null;
      comparisons: Record<string, unknown> | null;
    };

interface Key {
  taskId: string;
  runNo: number;
  stepNo: number;
}

export async function findUrlProposal(db: Queryable, key: Key): Promise<UrlProposalAnswer | undefined> {
  const row = await queryOne<{ answer: UrlProposalAnswer }>(
    db,
    `select answer from url_proposals
     where task_id = :task_id and run_no = :run_no and step_no = :step_no`,
    { task_id: key.taskId, run_no: key.runNo, step_no: key.stepNo },
  );
  return row?.answer;
}

/** The first answer counts. */
export const insertUrlProposal = (db: Queryable, key: Key, answer: UrlProposalAnswer): Promise<void> =>
  execute(
    db,
    `insert into url_proposals (task_id, run_no, step_no, answer)
     values (:task_id, :run_no, :step_no, cast(:answer as jsonb)) on conflict do nothing`,
    { task_id: key.taskId, run_no: key.runNo, step_no: key.stepNo, answer: JSON.stringify(answer) },
  );
