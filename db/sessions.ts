/** Login sessions. A session is live while it is neither revoked nor expired and its user is active. */
import type { Family } from '../contracts/families/family.ts';
import { type Queryable, query, queryOne } from './database.ts';
import type { UserRole } from './users.ts';

/** Who a live session belongs to, with the user's present role. */
export interface LiveSession {
  sessionId: string;
  userId: string;
  username: string;
  role: UserRole;
  /** Family of the login. */
  family: Family;
  /** The user waits for a new password. */
  mustChangePassword: boolean;
  mayOpenTerminals: boolean;
  expiresAt: Date;
}

interface StoredLiveSession {
  session_id: string;
  user_id: string;
  username: string;
  role: UserRole;
  family: Family;
  must_change_password: boolean;
  may_open_terminals: boolean;
  expires_at: Date;
}

const rowToLiveSession = (row: StoredLiveSession): LiveSession => ({
  sessionId: row.session_id,
  userId: row.user_id,
  username: row.username,
  role: row.role,
  family: row.family,
  mustChangePassword: row.must_change_password,
  mayOpenTerminals: row.may_open_terminals,
  expiresAt: row.expires_at,
});

const selectLive = `select s.id as session_id, u.id as user_id, u.username, u.role, s.family, u.must_change_password,
    u.may_open_terminals, s.expires_at
  from sessions s join users u on u.id = s.user_id
  where s.revoked_at is null and s.expires_at > now() and u.is_active`;

export interface NewSession {
  id: string;
  userId: string;
  /** Family of the login. */
  family: string;
  address: string | null;
  userAgent: string | null;
  ttlMs: number;
}

export async function insertSession(db: Queryable, session: NewSession): Promise<void> {
  await query(
    db,
    `insert into sessions (id, user_id, family, address, user_agent, expires_at)
     values (:id, :user_id, :family, :address, :user_agent, now() + :ttl_ms * interval '1 millisecond')`,
    {
      id: session.id,
      user_id: session.userId,
      family: session.family,
      address: session.address,
      user_agent: session.userAgent,
      ttl_ms: session.ttlMs,
    },
  );
}

export async function findLiveSession(db: Queryable, sessionId: string): Promise<LiveSession | undefined> {
  const row = await queryOne<StoredLiveSession>(db, `${selectLive} and s.id = :session_id`, {
    session_id: sessionId,
  });
  return row && rowToLiveSession(row);
}

/** Those of `sessionIds` that are live: one query for all open sockets of a process. */
export async function findLiveSessions(db: Queryable, sessionIds: readonly string[]): Promise<LiveSession[]> {
  const rows = await query<StoredLiveSession>(
    db,
    `${selectLive} and s.id = any(cast(:session_ids as uuid[]))`,
    { session_ids: [...sessionIds] },
  );
  return rows.map(rowToLiveSession);
}

/** Returns the user of the session when this call ended it, undefined when it was not open. */
export async function revokeSession(
  db: Queryable,
  sessionId: string,
  reason: string,
): Promise<{ userId: string } | undefined> {
  const row = await queryOne<{ user_id: string }>(
    db,
    `update sessions set revoked_at = now(), revoked_reason = :reason
     where id = :session_id and revoked_at is null
     returning user_id`,
    { session_id: sessionId, reason },
  );
  return row && { userId: row.user_id };
}

/** End what is open of a user but one; returns the ids of those that this call ended. */
export async function revokeSessionsOfUser(
  db: Queryable,
  userId: string,
  reason: string,
  exceptSessionId: string | null,
): Promise<string[]> {
  const rows = await query<{ id: string }>(
    db,
    `update sessions set revoked_at = now(), revoked_reason = :reason
     where user_id = :user_id and revoked_at is null and id is distinct from cast(:except_id as uuid)
     returning id`,
    { user_id: userId, reason, except_id: exceptSessionId },
  );
  return rows.map((row) => row.id);
}

/** A live session as its owner sees it. */
export interface OpenSessionRow {
  id: string;
  family: Family;
  address: string | null;
  userAgent: string | null;
  createdAt: Date;
  /** When its tokens were last refreshed; the login at first. */
  refreshedAt: Date;
  expiresAt: Date;
}

/** The newest live sessions of a user. */
export function listOpenSessions(db: Queryable, userId: string, limit: number): Promise<OpenSessionRow[]> {
  return query<OpenSessionRow>(
    db,
    `select s.id, s.family, s.address, s.user_agent as "userAgent", s.created_at as "createdAt",
            coalesce((select max(r.created_at) from refresh_tokens r where r.session_id = s.id), s.created_at)
              as "refreshedAt",
            s.expires_at as "expiresAt"
     from sessions s
     where s.user_id = :user_id and s.revoked_at is null and s.expires_at > now()
     order by s.created_at desc, s.id desc limit :limit`,
    { user_id: userId, limit },
  );
}

/** Delete sessions that ended before the retention, with their refresh tokens; returns how many. */
export async function deleteOldSessions(db: Queryable, endedBefore: Date, limit: number): Promise<number> {
  const rows = await query(
    db,
    `delete from sessions where id in (
       select id from sessions where least(expires_at, revoked_at) < :ended_before limit :limit)
     returning id`,
    { ended_before: endedBefore, limit },
  );
  return rows.length;
}
