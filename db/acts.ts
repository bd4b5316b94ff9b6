/** Acts: write-once rows keyed by digest. */
import { type Act, type ActBinding, actSchema } from '../contracts/act.ts';
import { execute, type Queryable, query } from './database.ts';

export interface ActRow {
  digest: string;
  act: Act;
  binding: ActBinding;
}

export interface StoredAct {
  digest: string;
  act: unknown;
  task_run: string;
  act_step_no: number;
  proposal_id: string;
}

/** Columns of an act joined as `a`; read them with rowToAct. */
export const actColumns = 'a.digest, a.act, a.task_run, a.step_no as act_step_no, a.proposal_id';

/** jsonb is parsed at the border like any other input. @throws ZodError when a row was tampered with */
export const rowToAct = (row: StoredAct): ActRow => ({
  digest: row.digest,
  act: actSchema.parse(row.act),
  binding: { taskRun: row.task_run, step: row.act_step_no, proposalId: row.proposal_id },
});

/** Keep an act; the same digest again is the same act. */
export async function insertAct(db: Queryable, row: ActRow): Promise<void> {
  await execute(
    db,
    `insert into acts (digest, act, task_run, step_no, proposal_id)
     values (:digest, cast(:act as jsonb), :task_run, :step_no, :proposal_id)
     on conflict (digest) do nothing`,
    {
      digest: row.digest,
      act: JSON.stringify(row.act),
      task_run: row.binding.taskRun,
      step_no: row.binding.step,
      proposal_id: row.binding.proposalId,
    },
  );
}

export async function findAct(db: Queryable, digest: string): Promise<ActRow | undefined> {
  const [row] = await query<StoredAct>(db, `select ${actColumns} from acts a where a.digest = :digest`, {
    digest,
  });
  return row && rowToAct(row);
}
