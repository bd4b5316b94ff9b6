/** Batches: commands decided together; the unit a workflow waits for. */
import { execute, type Queryable, query, queryOne } from './database.ts';

export interface BatchRow {
  id: string;
  taskId: string | null;
  runNo: number | null;
  stepNo: number | null;
  /** Workflow that hears `batchFinished`, or null for ad-hoc work. */
  workflowId: string | null;
  digest: string;
  size: number;
  /** Commands without a final state. */
  pending: number;
  createdAt: Date;
  finishedAt: Date | null;
}

interface StoredBatch {
  id: string;
  task_id: string | null;
  run_no: number | null;
  step_no: number | null;
  workflow_id: string | null;
  digest: string;
  size: number;
  pending: number;
  created_at: Date;
  finished_at: Date | null;
}

const columns = 'id, task_id, run_no, step_no, workflow_id, digest, size, pending, created_at, finished_at';

const rowToBatch = (row: StoredBatch): BatchRow => ({
  id: row.id,
  taskId: row.task_id,
  runNo: row.run_no,
  stepNo: row.step_no,
  workflowId: row.workflow_id,
  digest: row.digest,
  size: row.size,
  pending: row.pending,
  createdAt: row.created_at,
  finishedAt: row.finished_at,
});

export interface NewBatchRow {
  id: string;
  taskId: string | null;
  runNo: number | null;
  stepNo: number | null;
  workflowId: string | null;
  digest: string;
  size: number;
}

export async function insertBatchRow(db: Queryable, row: NewBatchRow): Promise<void> {
  await execute(
    db,
    `insert into batches (id, task_id, run_no, step_no, workflow_id, digest, size, pending)
     values (:id, :task_id, :run_no, :step_no, :workflow_id, :digest, :size, :size)`,
    {
      id: row.id,
      task_id: row.taskId,
      run_no: row.runNo,
      step_no: row.stepNo,
      workflow_id: row.workflowId,
      digest: row.digest,
      size: row.size,
    },
  );
}

export async function findBatch(db: Queryable, id: string): Promise<BatchRow | undefined> {
  const row = await queryOne<StoredBatch>(db, `select ${columns} from batches where id = :id`, { id });
  return row && rowToBatch(row);
}

/** The batch of this run that still has pending commands, or undefined. */
export async function findOpenBatch(
  db: Queryable,
  taskId: string,
  runNo: number,
): Promise<BatchRow | undefined> {
  const row = await queryOne<StoredBatch>(
    db,
    `select ${columns} from batches where task_id = :task_id and run_no = :run_no and pending > 0
     order by created_at desc limit 1`,
    { task_id: taskId, run_no: runNo },
  );
  return row && rowToBatch(row);
}

/**
 * Lower the counters by the commands that became final in this transaction, locking batches in id order.
 * Returns the batches touched, as they are now.
 */
export async function lowerPending(
  db: Queryable,
  finished: ReadonlyMap<string, number>,
): Promise<BatchRow[]> {
  if (finished.size === 0) return [];
  const rows = await query<StoredBatch>(
    db,
    `with fallen as (select id, by from jsonb_to_recordset(cast(:rows as jsonb)) as r(id uuid, by integer)),
          locked as (select b.id from batches b join fallen using (id) order by b.id for update of b)
     update batches b
     set pending = b.pending - fallen.by,
         finished_at = case when b.pending - fallen.by = 0 then now() else b.finished_at end
     from fallen join locked using (id)
     where b.id = fallen.id
     returning ${columns.replace(/(\w+)/g, 'b.$1')}`,
    { rows: JSON.stringify([...finished].map(([id, by]) => ({ id, by }))) },
  );
  return rows.map(rowToBatch);
}
