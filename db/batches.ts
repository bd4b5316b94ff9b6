/** Batches: commands decided together; the unit a workflow waits for. */
import { type Queryable, queryOne } from './database.ts';

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

export interface StoredBatch {
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

const names = [
  'id',
  'task_id',
  'run_no',
  'step_no',
  'workflow_id',
  'digest',
  'size',
  'pending',
  'created_at',
  'finished_at',
];

/** The columns of a batch that rowToBatch reads, qualified by the table's alias. */
export const batchColumns = (alias: string): string => names.map((name) => `${alias}.${name}`).join(', ');

export const rowToBatch = (row: StoredBatch): BatchRow => ({
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

export async function findBatch(db: Queryable, id: string): Promise<BatchRow | undefined> {
  const row = await queryOne<StoredBatch>(db, `select ${batchColumns('b')} from batches b where id = :id`, {
    id,
  });
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
    `select ${batchColumns('b')} from batches b where task_id = :task_id and run_no = :run_no and pending > 0
     order by created_at desc limit 1`,
    { task_id: taskId, run_no: runNo },
  );
  return row && rowToBatch(row);
}
