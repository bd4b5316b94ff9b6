/** Personal API tokens, as hashes. A token is live while it is neither revoked nor expired and its user is active. */
import type { ApiTokenScope } from '../contracts/scopes.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';
import type { UserRole } from './users.ts';

export interface ApiTokenRow {
  id: string;
  userId: string;
  name: string;
  /** First characters of the token: enough to recognise it, too few to use it. */
  tokenPrefix: string;
  scopes: ApiTokenScope[];
  createdAt: Date;
  expiresAt: Date;
  lastUsedAt: Date | null;
}

const columns = `id, user_id as "userId", name, token_prefix as "tokenPrefix", scopes, created_at as "createdAt",
  expires_at as "expiresAt", last_used_at as "lastUsedAt"`;

export interface NewApiToken {
  id: string;
  userId: string;
  name: string;
  tokenHash: Buffer;
  tokenPrefix: string;
  scopes: readonly ApiTokenScope[];
  ttlMs: number;
}

export async function insertApiToken(db: Queryable, token: NewApiToken): Promise<ApiTokenRow> {
  const row = await queryOne<ApiTokenRow>(
    db,
    `insert into api_tokens (id, user_id, name, token_hash, token_prefix, scopes, expires_at)
     values (:id, :userId, :name, :tokenHash, :tokenPrefix, cast(:scopes as text[]),
             now() + :ttlMs * interval '1 millisecond')
     returning ${columns}`,
    { ...token, scopes: [...token.scopes] },
  );
  if (row === undefined) throw new Error('an insert returned no row');
  return row;
}

/** Newest first, keyset by (created_at, id); without those revoked, with those expired. */
export function listApiTokens(
  db: Queryable,
  userId: string,
  page: { before: { at: Date; id: string } | undefined; limit: number },
): Promise<ApiTokenRow[]> {
  const older = page.before === undefined ? '' : 'and (created_at, id) < (:at, cast(:id as uuid))';
  return query<ApiTokenRow>(
    db,
    `select ${columns} from api_tokens where user_id = :userId and revoked_at is null ${older}
     order by created_at desc, id desc limit :limit`,
    { userId, limit: page.limit, at: page.before?.at ?? null, id: page.before?.id ?? null },
  );
}

/** Locks the user's row, so that parallel calls count one after the other. Expired tokens count as well. */
export async function countApiTokens(db: Queryable, userId: string): Promise<number> {
  await execute(db, 'select 1 from users where id = :userId for update', { userId });
  const row = await queryOne<{ count: number }>(
    db,
    'select count(*) as count from api_tokens where user_id = :userId and revoked_at is null',
    { userId },
  );
  return row?.count ?? 0;
}

/** True when this call ended the token of that user. */
export async function revokeApiToken(
  db: Queryable,
  token: { id: string; userId: string },
): Promise<ApiTokenRow | undefined> {
  return queryOne<ApiTokenRow>(
    db,
    `update api_tokens set revoked_at = now()
     where id = :id and user_id = :userId and revoked_at is null
     returning ${columns}`,
    { ...token },
  );
}

/** End all that a user holds; returns those that this call ended. */
export function revokeApiTokensOfUser(
  db: Queryable,
  userId: string,
): Promise<Pick<ApiTokenRow, 'id' | 'name'>[]> {
  return query<Pick<ApiTokenRow, 'id' | 'name'>>(
    db,
    `update api_tokens set revoked_at = now() where user_id = :userId and revoked_at is null
     returning id, name`,
    { userId },
  );
}

/** Who a live token belongs to, with the user's present role. */
export interface LiveApiToken {
  tokenId: string;
  userId: string;
  username: string;
  role: UserRole;
  scopes: ApiTokenScope[];
  mustChangePassword: boolean;
  isUseStale: boolean;
}

const selectLive = `select t.id as "tokenId", u.id as "userId", u.username, u.role, t.scopes,
    u.must_change_password as "mustChangePassword",
    coalesce(t.last_used_at < now() - interval '1 minute', true) as "isUseStale"
  from api_tokens t join users u on u.id = t.user_id
  where t.revoked_at is null and t.expires_at > now() and u.is_active`;

export function findLiveApiToken(db: Queryable, tokenHash: Buffer): Promise<LiveApiToken | undefined> {
  return queryOne<LiveApiToken>(db, `${selectLive} and t.token_hash = :tokenHash`, { tokenHash });
}

/** Those of `ids` that are live: one query for all open sockets of a process. */
export function findLiveApiTokens(db: Queryable, ids: readonly string[]): Promise<LiveApiToken[]> {
  return query<LiveApiToken>(db, `${selectLive} and t.id = any(cast(:ids as uuid[]))`, { ids: [...ids] });
}

/** Note that the token was used; skipped while another request notes the same. */
export async function touchApiToken(db: Queryable, id: string): Promise<void> {
  await execute(
    db,
    `update api_tokens set last_used_at = now()
     where id = (select id from api_tokens where id = :id for update skip locked)`,
    { id },
  );
}
