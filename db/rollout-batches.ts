/** The batches of rollouts: fixed when the rollout is created. Its row is locked by whoever changes one. */
import { execute, type Queryable, query, queryOne } from './database.ts';
import { type RolloutTally, tallyColumns } from './rollouts.ts';

export interface RolloutBatchRow {
  batchNo: number;
  size: number;
  digest: string;
  /** On the ledger. */
  batchIds: string[];
  approverKind: string | null;
  approverId: string | null;
  approverName: string | null;
  approvedAt: Date | null;
  startedAt: Date | null;
  finishedAt: Date | null;
  tally: RolloutTally;
}

const batchColumns = `b.batch_no as "batchNo", b.size, b.digest, b.batch_ids as "batchIds",
  b.approver_kind as "approverKind", b.approver_id as "approverId", b.approver_name as "approverName",
  b.approved_at as "approvedAt", b.started_at as "startedAt", b.finished_at as "finishedAt", ${tallyColumns('b')}`;

export async function insertRolloutBatches(
  db: Queryable,
  rolloutId: string,
  batches: readonly Pick<RolloutBatchRow, 'batchNo' | 'size' | 'digest'>[],
): Promise<void> {
  await execute(
    db,
    `insert into rollout_batches (rollout_id, batch_no, size, digest)
     select cast(:id as uuid), "batchNo", size, digest
     from jsonb_to_recordset(cast(:batches as jsonb)) as b("batchNo" integer, size integer, digest text)`,
    { id: rolloutId, batches: JSON.stringify(batches) },
  );
}

export const findRolloutBatch = (
  db: Queryable,
  rolloutId: string,
  batchNo: number,
): Promise<RolloutBatchRow | undefined> =>
  queryOne<RolloutBatchRow>(
    db,
    `select ${batchColumns} from rollout_batches b where b.rollout_id = :rolloutId and b.batch_no = :batchNo`,
    { rolloutId, batchNo },
  );

/** Statement of a page in the order of their turn, for `explain` as well. */
export const listBatchesSql = `
  select ${batchColumns} from rollout_batches b
  where b.rollout_id = :rolloutId and b.batch_no > :after order by b.batch_no limit :limit`;

/** In the order of their turn, after a number. */
export const listRolloutBatches = (
  db: Queryable,
  rolloutId: string,
  page: { after: number; limit: number },
): Promise<RolloutBatchRow[]> => query<RolloutBatchRow>(db, listBatchesSql, { rolloutId, ...page });

/** Of several rollouts the batch that began last and the one after it. */
export const listCurrentBatches = (
  db: Queryable,
  rollouts: readonly { id: string; batchNo: number }[],
): Promise<(RolloutBatchRow & { rolloutId: string })[]> =>
  query(
    db,
    `select b.rollout_id as "rolloutId", ${batchColumns}
     from jsonb_to_recordset(cast(:rollouts as jsonb)) as w(id uuid, "batchNo" integer)
     join rollout_batches b on b.rollout_id = w.id and b.batch_no in (w."batchNo", w."batchNo" + 1)`,
    { rollouts: JSON.stringify(rollouts.map(({ id, batchNo }) => ({ id, batchNo }))) },
  );

export async function approveRolloutBatch(
  db: Queryable,
  batch: { rolloutId: string; batchNo: number; approver: { kind: string; id: string; name: string } },
): Promise<void> {
  const { kind, id, name } = batch.approver;
  await execute(
    db,
    `update rollout_batches set approver_kind = :kind, approver_id = :id, approver_name = :name, approved_at = now()
     where rollout_id = :rolloutId and batch_no = :batchNo and approved_at is null`,
    { rolloutId: batch.rolloutId, batchNo: batch.batchNo, kind, id, name },
  );
}

export async function startRolloutBatch(
  db: Queryable,
  batch: { rolloutId: string; batchNo: number; batchIds: readonly string[] },
): Promise<void> {
  await execute(
    db,
    `update rollout_batches set started_at = clock_timestamp(), batch_ids = cast(:batchIds as uuid[])
     where rollout_id = :rolloutId and batch_no = :batchNo`,
    { ...batch, batchIds: [...batch.batchIds] },
  );
}

/** A batch is in: note its counts, and add them to those of its rollout. @returns when it finished */
export async function finishRolloutBatch(
  db: Queryable,
  batch: { rolloutId: string; batchNo: number; tally: RolloutTally },
): Promise<Date> {
  const row = await queryOne<{ finishedAt: Date }>(
    db,
    `with added as (
       update rollouts set succeeded_count = succeeded_count + :succeeded, failed_count = failed_count + :failed,
              canceled_count = canceled_count + :canceled, skipped_count = skipped_count + :skipped
       where id = :rolloutId
     )
     update rollout_batches set finished_at = clock_timestamp(), succeeded_count = :succeeded, failed_count = :failed,
            canceled_count = :canceled, skipped_count = :skipped
     where rollout_id = :rolloutId and batch_no = :batchNo
     returning finished_at as "finishedAt"`,
    { rolloutId: batch.rolloutId, batchNo: batch.batchNo, ...batch.tally },
  );
  if (row === undefined) throw new Error(`rollout ${batch.rolloutId} has no batch ${batch.batchNo}`);
  return row.finishedAt;
}
