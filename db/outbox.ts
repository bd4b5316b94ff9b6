/** What Temporal must still hear. Written with the row it speaks of; deleted when delivered. */
import { execute, type Queryable, query } from './database.ts';

export type OutboxKind =
  | 'start_task'
  | 'signal'
  | 'start_delivery'
  | 'start_rollout'
  | 'start_webhook'
  | 'start_delegation';

export interface OutboxEntry {
  workflowId: string;
  kind: OutboxKind;
  /** Arguments: a workflow input for starts, a WorkflowSignal for signals. */
  payload: Record<string, unknown>;
}

export interface OutboxRow extends OutboxEntry {
  id: number;
  attempts: number;
  createdAt: Date;
}

export interface StoredOutbox {
  id: number;
  workflow_id: string;
  kind: OutboxKind;
  payload: Record<string, unknown>;
  attempts: number;
  created_at: Date;
}

const columns = 'id, workflow_id, kind, payload, attempts, created_at';

export const rowToOutbox = (row: StoredOutbox): OutboxRow => ({
  id: row.id,
  workflowId: row.workflow_id,
  kind: row.kind,
  payload: row.payload,
  attempts: row.attempts,
  createdAt: row.created_at,
});

/** The row as JSON with the column names. */
export const outboxRecord = (entry: OutboxEntry) => ({
  workflow_id: entry.workflowId,
  kind: entry.kind,
  payload: entry.payload,
});

/** Does this workflow still have undelivered rows? */
export async function hasOutboxRows(db: Queryable, workflowId: string): Promise<boolean> {
  const rows = await query(db, 'select 1 as found from outbox where workflow_id = :workflow_id limit 1', {
    workflow_id: workflowId,
  });
  return rows.length > 0;
}

/**
 * Due rows, oldest first, only the first of each workflow.
 * @param minAgeMs rows younger than this, of which no attempt has failed, are left out
 */
export async function listDueOutbox(db: Queryable, limit: number, minAgeMs: number): Promise<OutboxRow[]> {
  const rows = await query<StoredOutbox>(
    db,
    `select ${columns} from outbox o
     where next_attempt_at <= now()
       and (attempts > 0 or created_at <= now() - make_interval(secs => :min_age_seconds))
       and not exists (select 1 from outbox earlier where earlier.workflow_id = o.workflow_id and earlier.id < o.id)
     order by id limit :limit`,
    { limit, min_age_seconds: minAgeMs / 1000 },
  );
  return rows.map(rowToOutbox);
}

export async function deleteOutbox(db: Queryable, ids: readonly number[]): Promise<void> {
  if (ids.length === 0) return;
  await execute(db, 'delete from outbox where id = any(cast(:ids as bigint[]))', { ids: [...ids] });
}

/**
 * A task's workflow was started: delete the row, and remember on the task in which namespace its workflow lives (another
 * one's "not found" proves nothing).
 */
export async function deleteStart(
  db: Queryable,
  id: number,
  { taskId, namespaceId }: { taskId: string; namespaceId: string },
): Promise<void> {
  await execute(
    db,
    `with delivered as (delete from outbox where id = :id)
     update tasks set namespace_id = :namespace_id where id = :task_id`,
    { id, task_id: taskId, namespace_id: namespaceId },
  );
}

/** Note a failed attempt; the next one comes after `retryAfterMs`. */
export async function postponeOutbox(
  db: Queryable,
  id: number,
  error: string,
  retryAfterMs: number,
): Promise<void> {
  await execute(
    db,
    `update outbox set attempts = attempts + 1, last_error = :error,
            next_attempt_at = now() + make_interval(secs => :seconds)
     where id = :id`,
    { id, error: error.slice(0, 500), seconds: retryAfterMs / 1000 },
  );
}

/** Number of undelivered rows and the age of the oldest, for the lag metric. */
export async function readOutboxLag(db: Queryable): Promise<{ rows: number; oldestSeconds: number }> {
  const [row] = await query<{ rows: number; oldest: number }>(
    db,
    `select count(*) as rows, coalesce(extract(epoch from now() - min(created_at)), 0) as oldest from outbox`,
  );
  return { rows: Number(row?.rows ?? 0), oldestSeconds: Number(row?.oldest ?? 0) };
}
