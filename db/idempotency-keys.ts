/** Which resource a client's Idempotency-Key made. */
import { type Queryable, query, queryOne } from './database.ts';

export interface IdempotencyKeyRow {
  bodySha256: string;
  resourceKind: string;
  resourceId: string;
}

export interface NewIdempotencyKey extends IdempotencyKeyRow {
  principalId: string;
  key: string;
}

/**
 * True when this call took the key. When another transaction is about to take it, waits for that one to end:
 * false then means it committed, so that `findIdempotencyKey` sees its row.
 */
export async function insertIdempotencyKey(db: Queryable, row: NewIdempotencyKey): Promise<boolean> {
  const rows = await query(
    db,
    `insert into idempotency_keys (principal_id, key, body_sha256, resource_kind, resource_id)
     values (:principal_id, :key, :body_sha256, :resource_kind, :resource_id)
     on conflict (principal_id, key) do nothing
     returning key`,
    {
      principal_id: row.principalId,
      key: row.key,
      body_sha256: row.bodySha256,
      resource_kind: row.resourceKind,
      resource_id: row.resourceId,
    },
  );
  return rows.length === 1;
}

export async function findIdempotencyKey(
  db: Queryable,
  principalId: string,
  key: string,
): Promise<IdempotencyKeyRow | undefined> {
  const row = await queryOne<{ body_sha256: string; resource_kind: string; resource_id: string }>(
    db,
    `select body_sha256, resource_kind, resource_id from idempotency_keys
     where principal_id = :principal_id and key = :key`,
    { principal_id: principalId, key },
  );
  return row && { bodySha256: row.body_sha256, resourceKind: row.resource_kind, resourceId: row.resource_id };
}

/** Delete keys older than the retention; returns how many. */
export async function deleteOldIdempotencyKeys(
  db: Queryable,
  olderThan: Date,
  limit: number,
): Promise<number> {
  const rows = await query(
    db,
    `delete from idempotency_keys where (principal_id, key) in (
       select principal_id, key from idempotency_keys where created_at < :older_than
       order by created_at limit :limit)
     returning key`,
    { older_than: olderThan, limit },
  );
  return rows.length;
}
