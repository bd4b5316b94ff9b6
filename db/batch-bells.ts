/** The bell of a batch: the workflow that hears `batchFinished` when its last command has ended. */
import { type Queryable, queryOne } from './database.ts';

/**
 * Have this workflow told when the batch is in. Competes for the batch's row with whoever records the last outcome.
 * @returns false when the batch is in already (or gone): then nobody will be told
 */
export async function hangBatchBell(db: Queryable, batchId: string, workflowId: string): Promise<boolean> {
  const row = await queryOne(
    db,
    'update batches set workflow_id = :workflow_id where id = :id and pending > 0 returning id',
    { id: batchId, workflow_id: workflowId },
  );
  return row !== undefined;
}
