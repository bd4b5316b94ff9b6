/** One-time (or n-times) tokens with which agents introduce themselves; kept as hashes. */
import { type Queryable, query, queryOne } from './database.ts';

export interface EnrolmentTokenRow {
  id: string;
  label: string | null;
  tags: string[];
  maxUses: number;
  usedCount: number;
  createdBy: string;
  createdAt: Date;
  expiresAt: Date;
  revokedAt: Date | null;
}

interface StoredEnrolmentToken {
  id: string;
  label: string | null;
  tags: string[];
  max_uses: number;
  used_count: number;
  created_by: string;
  created_at: Date;
  expires_at: Date;
  revoked_at: Date | null;
}

const columns = 'id, label, tags, max_uses, used_count, created_by, created_at, expires_at, revoked_at';

export const rowToEnrolmentToken = (row: StoredEnrolmentToken): EnrolmentTokenRow => ({
  id: row.id,
  label: row.label,
  tags: row.tags,
  maxUses: row.max_uses,
  usedCount: row.used_count,
  createdBy: row.created_by,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
  revokedAt: row.revoked_at,
});

export interface NewEnrolmentToken {
  id: string;
  tokenHash: Buffer;
  label: string | null;
  tags: readonly string[];
  maxUses: number;
  createdBy: string;
  ttlMs: number;
}

export async function insertEnrolmentToken(
  db: Queryable,
  token: NewEnrolmentToken,
): Promise<EnrolmentTokenRow> {
  const [row] = await query<StoredEnrolmentToken>(
    db,
    `insert into enrolment_tokens (id, token_hash, label, tags, max_uses, created_by, expires_at)
     values (:id, :token_hash, :label, :tags, :max_uses, :created_by,
             now() + :ttl_ms * interval '1 millisecond')
     returning ${columns}`,
    {
      id: token.id,
      token_hash: token.tokenHash,
      label: token.label,
      tags: [...token.tags],
      max_uses: token.maxUses,
      created_by: token.createdBy,
      ttl_ms: token.ttlMs,
    },
  );
  if (!row) throw new Error('the enrolment token was not stored');
  return rowToEnrolmentToken(row);
}

/** Use the token once more; undefined when it is unknown, used up, expired or revoked. One statement: no race. */
export async function useEnrolmentToken(
  db: Queryable,
  tokenHash: Buffer,
): Promise<EnrolmentTokenRow | undefined> {
  const row = await queryOne<StoredEnrolmentToken>(
    db,
    `update enrolment_tokens set used_count = used_count + 1
     where token_hash = :token_hash and used_count < max_uses and revoked_at is null and expires_at > now()
     returning ${columns}`,
    { token_hash: tokenHash },
  );
  return row && rowToEnrolmentToken(row);
}

/** Would `useEnrolmentToken` take it now? */
export async function isEnrolmentTokenGood(db: Queryable, tokenHash: Buffer): Promise<boolean> {
  const row = await queryOne(
    db,
    `select id from enrolment_tokens
     where token_hash = :token_hash and used_count < max_uses and revoked_at is null and expires_at > now()`,
    { token_hash: tokenHash },
  );
  return row !== undefined;
}

/** Newest first, after the position. */
export async function listEnrolmentTokens(
  db: Queryable,
  page: { after: { at: Date; id: string } | undefined; limit: number },
): Promise<EnrolmentTokenRow[]> {
  const rows = await query<StoredEnrolmentToken>(
    db,
    `select ${columns} from enrolment_tokens
     ${page.after ? 'where (created_at, id) < (:at, cast(:id as uuid))' : ''}
     order by created_at desc, id desc limit :limit`,
    { limit: page.limit, ...page.after },
  );
  return rows.map(rowToEnrolmentToken);
}

/** Undefined when no such token exists; `isNew` is false when it had been revoked before. */
export async function revokeEnrolmentToken(
  db: Queryable,
  id: string,
): Promise<{ isNew: boolean } | undefined> {
  const row = await queryOne<{ is_new: boolean }>(
    db,
    `with before as (select id, revoked_at from enrolment_tokens where id = :id for update)
     update enrolment_tokens t set revoked_at = coalesce(t.revoked_at, now())
     from before where t.id = before.id
     returning before.revoked_at is null as is_new`,
    { id },
  );
  return row && { isNew: row.is_new };
}
