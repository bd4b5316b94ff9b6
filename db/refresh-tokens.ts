/** Rotating refresh tokens: each is used once and names its successor. */
import { type Queryable, query, queryOne } from './database.ts';

export interface RefreshTokenRow {
  id: string;
  sessionId: string;
  successorId: string | null;
  isExpired: boolean;
  /** By the clock of the database; null while it is unused. */
  usedForMs: number | null;
}

export interface NewRefreshToken {
  id: string;
  sessionId: string;
  tokenHash: Buffer;
  ttlMs: number;
}

/** It never outlives its session. */
export async function insertRefreshToken(db: Queryable, token: NewRefreshToken): Promise<void> {
  await query(
    db,
    `insert into refresh_tokens (id, session_id, token_hash, expires_at)
     select :id, id, :token_hash, least(expires_at, now() + :ttl_ms * interval '1 millisecond')
     from sessions where id = :session_id`,
    { id: token.id, token_hash: token.tokenHash, ttl_ms: token.ttlMs, session_id: token.sessionId },
  );
}

/**
 * Use the token, once: of any number of parallel calls one gets the row, the others wait for its transaction and
 * get undefined.
 */
export async function useRefreshToken(
  db: Queryable,
  tokenHash: Buffer,
  successorId: string,
): Promise<{ sessionId: string } | undefined> {
  const row = await queryOne<{ session_id: string }>(
    db,
    `update refresh_tokens set used_at = now(), successor_id = :successor_id
     where token_hash = :token_hash and used_at is null and expires_at > now()
     returning session_id`,
    { token_hash: tokenHash, successor_id: successorId },
  );
  return row && { sessionId: row.session_id };
}

export async function findRefreshToken(
  db: Queryable,
  tokenHash: Buffer,
): Promise<RefreshTokenRow | undefined> {
  const row = await queryOne<{
    id: string;
    session_id: string;
    successor_id: string | null;
    is_expired: boolean;
    used_for_ms: number | null;
  }>(
    db,
    `select id, session_id, successor_id, expires_at <= now() as is_expired,
            cast(extract(epoch from clock_timestamp() - used_at) * 1000 as double precision) as used_for_ms
     from refresh_tokens where token_hash = :token_hash`,
    { token_hash: tokenHash },
  );
  return (
    row && {
      id: row.id,
      sessionId: row.session_id,
      successorId: row.successor_id,
      isExpired: row.is_expired,
      usedForMs: row.used_for_ms,
    }
  );
}

/** Is this the hash of that token? */
export async function hasRefreshToken(db: Queryable, id: string, tokenHash: Buffer): Promise<boolean> {
  const row = await queryOne<{ found: boolean }>(
    db,
    'select exists (select 1 from refresh_tokens where id = :id and token_hash = :token_hash) as found',
    { id, token_hash: tokenHash },
  );
  return row?.found ?? false;
}
