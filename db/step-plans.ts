/** What whoever asked for a step wants of it, and what was found of its execution. A step without a plan is a plain one. */
import { execute, type Queryable, query, queryOne } from './database.ts';

/** What a compared model answered, in the words of the family that compares. */
export type StoredComparison = Record<string, unknown>;

export interface StepKey {
  taskId: string;
  runNo: number;
  stepNo: number;
}

export interface StepPlanRow extends StepKey {
  /** Words of whoever asked for the proposal, null without. */
  prompt: string | null;
  /** The model that the proposal is asked of; null: the configured one. */
  modelName: string | null;
  /** Names of the models to compare, as they were asked for. */
  compared: string[];
  comparisons: Record<string, StoredComparison> | null;
  /** Attempts after the first that fails; null: the execution is not judged. */
  retries: number | null;
  retryDelayMs: number;
  /** The outcome is the end of the task. */
  endsTask: boolean;
  verdict: 'completed' | 'failed' | null;
  verdictReason: string | null;
  judgedAt: Date | null;
}

const columnOf = {
  taskId: 'task_id',
  runNo: 'run_no',
  stepNo: 'step_no',
  prompt: 'prompt',
  modelName: 'model_name',
  compared: 'compared',
  comparisons: 'comparisons',
  retries: 'retries',
  retryDelayMs: 'retry_delay_ms',
  endsTask: 'ends_task',
  verdict: 'verdict',
  verdictReason: 'verdict_reason',
  judgedAt: 'judged_at',
} as const satisfies Record<keyof StepPlanRow, string>;

const columns = Object.entries(columnOf)
  .map(([property, column]) => `p.${column} as "${property}"`)
  .join(', ');

const isStep = 'p.task_id = :task_id and p.run_no = :run_no and p.step_no = :step_no';
const bindingsOf = ({ taskId, runNo, stepNo }: StepKey) => ({
  task_id: taskId,
  run_no: runNo,
  step_no: stepNo,
});

export async function findStepPlan(db: Queryable, key: StepKey): Promise<StepPlanRow | undefined> {
  return queryOne<StepPlanRow>(db, `select ${columns} from step_plans p where ${isStep}`, bindingsOf(key));
}

/** The plans of tasks, of all their runs. */
export async function listStepPlans(db: Queryable, taskIds: readonly string[]): Promise<StepPlanRow[]> {
  return query<StepPlanRow>(
    db,
    `select ${columns} from step_plans p where p.task_id = any(cast(:task_ids as uuid[]))`,
    { task_ids: [...taskIds] },
  );
}

/** What is asked of a proposal that is still to be made. The task is locked. */
export async function insertProposalPlan(
  db: Queryable,
  key: StepKey,
  plan: Pick<StepPlanRow, 'prompt' | 'modelName' | 'compared'>,
): Promise<void> {
  await execute(
    db,
    `insert into step_plans (task_id, run_no, step_no, prompt, model_name, compared)
     values (:task_id, :run_no, :step_no, :prompt, :model_name, :compared)`,
    { ...bindingsOf(key), prompt: plan.prompt, model_name: plan.modelName, compared: plan.compared },
  );
}

export async function writeComparisons(
  db: Queryable,
  key: StepKey,
  comparisons: Record<string, StoredComparison>,
): Promise<void> {
  await execute(db, `update step_plans p set comparisons = cast(:comparisons as jsonb) where ${isStep}`, {
    ...bindingsOf(key),
    comparisons: JSON.stringify(comparisons),
  });
}

/** What is asked of the execution of a step, which may have a plan of its proposal already. The task is locked. */
export async function writeExecutionPlan(
  db: Queryable,
  key: StepKey,
  plan: { retries: number; retryDelayMs: number; endsTask: boolean },
): Promise<void> {
  await execute(
    db,
    `insert into step_plans (task_id, run_no, step_no, retries, retry_delay_ms, ends_task)
     values (:task_id, :run_no, :step_no, :retries, :retry_delay_ms, :ends_task)
     on conflict (task_id, run_no, step_no) do update
       set retries = excluded.retries, retry_delay_ms = excluded.retry_delay_ms, ends_task = excluded.ends_task`,
    {
      ...bindingsOf(key),
      retries: plan.retries,
      retry_delay_ms: plan.retryDelayMs,
      ends_task: plan.endsTask,
    },
  );
}

export async function writeVerdict(
  db: Queryable,
  key: StepKey,
  { verdict, reason }: { verdict: 'completed' | 'failed'; reason: string },
): Promise<void> {
  await execute(
    db,
    `update step_plans p set verdict = :verdict, verdict_reason = :reason, judged_at = now() where ${isStep}`,
    { ...bindingsOf(key), verdict, reason },
  );
}
