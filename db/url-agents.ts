/** Agents that are reached at an address of their own: how they are found, asked and left alone for a while. */
import { execute, type Queryable, query, queryOne } from './database.ts';

export interface UrlAgentRow {
  agentId: string;
  name: string;
  /** Without a slash at its end. */
  url: string;
  role: string;
  /** What it wants to be asked with. */
  sealedToken: string | null;
  failureStreak: number;
  /** Until then it is left alone. */
  openUntil: Date | null;
  lastFailure: string | null;
}

const columns = `u.agent_id as "agentId", a.hostname as name, u.url, u.role, u.sealed_token as "sealedToken",
  u.failure_streak as "failureStreak", u.open_until as "openUntil", u.last_failure as "lastFailure"`;
const usable = `from url_agents u join agents a on a.id = u.agent_id and a.delivery = 'url' and a.revoked_at is null`;

export const findUrlAgent = (db: Queryable, agentId: string): Promise<UrlAgentRow | undefined> =>
  queryOne<UrlAgentRow>(db, `select ${columns} ${usable} where u.agent_id = :agentId`, { agentId });

export const findUrlAgentAt = (db: Queryable, url: string): Promise<UrlAgentRow | undefined> =>
  queryOne<UrlAgentRow>(db, `select ${columns} ${usable} where u.url = :url`, { url });

/** Addresses of those of the agents that have one. */
export async function listAgentUrls(
  db: Queryable,
  agentIds: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  if (agentIds.length === 0) return new Map();
  const rows = await query<{ agentId: string; url: string }>(
    db,
    `select u.agent_id as "agentId", u.url ${usable} where u.agent_id = any(cast(:ids as text[]))`,
    { ids: [...agentIds] },
  );
  return new Map(rows.map(({ agentId, url }) => [agentId, url]));
}

/** The agent is reached there from now on; an address of an agent that was revoked is free. */
export async function writeUrlAgent(
  db: Queryable,
  agent: Pick<UrlAgentRow, 'agentId' | 'url' | 'role'> & {
    /** Undefined: as it is. */
    sealedToken: string | undefined;
  },
): Promise<void> {
  const { agentId, url, role, sealedToken } = agent;
  await execute(db, `delete from url_agents where url = :url and agent_id <> :agentId`, { url, agentId });
  await execute(
    db,
    `with named as (update agents set delivery = 'url', address = :url, updated_at = now() where id = :agentId)
     insert into url_agents as u (agent_id, url, role, sealed_token) values (:agentId, :url, :role, :sealedToken)
     on conflict (agent_id) do update set url = excluded.url, role = excluded.role,
       sealed_token = coalesce(excluded.sealed_token, u.sealed_token)`,
    { agentId, url, role, sealedToken: sealedToken ?? null },
  );
}

/** It was heard of. @returns had it been offline? */
export async function markUrlAgentSeen(db: Queryable, agentId: string): Promise<boolean> {
  const row = await queryOne<{ was_online: boolean }>(
    db,
    `with earlier as (select is_online from agent_presence where agent_id = :agentId),
     present as (
       insert into agent_presence as p (agent_id, is_online, last_seen_at, heartbeat_at)
       select id, true, now(), now() from agents where id = :agentId
       on conflict (agent_id) do update set is_online = true, last_seen_at = now(), heartbeat_at = now()
     )
     select coalesce((select is_online from earlier), false) as was_online`,
    { agentId },
  );
  return row?.was_online !== true;
}

/** Of one statement, so that failures at the same time are all counted. @returns failures in a row */
export async function noteUrlFailure(
  db: Queryable,
  agentId: string,
  { failure, threshold, openMs }: { failure: string; threshold: number; openMs: number },
): Promise<number> {
  const row = await queryOne<{ streak: number }>(
    db,
    `update url_agents set failure_streak = failure_streak + 1, last_failure = :failure,
            open_until = case when failure_streak + 1 >= :threshold
                         then now() + make_interval(secs => :open_seconds) else open_until end
     where agent_id = :agentId returning failure_streak as streak`,
    { agentId, failure: failure.slice(0, 500), threshold, open_seconds: openMs / 1000 },
  );
  return row?.streak ?? 0;
}

export const noteUrlSuccess = (db: Queryable, agentId: string): Promise<void> =>
  execute(
    db,
    `update url_agents set failure_streak = 0, open_until = null, last_failure = null
     where agent_id = :agentId and failure_streak > 0`,
    { agentId },
  );

/** Those that failed last time. */
export const listFailingUrlAgents = (db: Queryable): Promise<UrlAgentRow[]> =>
  query<UrlAgentRow>(db, `select ${columns} ${usable} where u.failure_streak > 0 order by u.agent_id`, {});

/** @param url of one agent; null: of all. @returns addresses of those that had failures */
export async function resetUrlFailures(db: Queryable, url: string | null): Promise<string[]> {
  const rows = await query<{ url: string }>(
    db,
    `update url_agents set failure_streak = 0, open_until = null, last_failure = null
     where failure_streak > 0 and (cast(:url as text) is null or url = :url) returning url`,
    { url },
  );
  return rows.map((row) => row.url);
}

/** Those not heard of for so long: who is not called away yet, the longest silent first; then of the others any. */
export const listSilentUrlAgents = (db: Queryable, silentMs: number, limit: number): Promise<UrlAgentRow[]> =>
  query<UrlAgentRow>(
    db,
    `select ${columns} ${usable} left join agent_presence p on p.agent_id = u.agent_id
     where coalesce(p.last_seen_at < now() - make_interval(secs => :seconds), true)
       and (u.open_until is null or u.open_until <= now())
     order by coalesce(p.is_online, false) desc,
       case when p.is_online then p.last_seen_at end, random() limit :limit`,
    { seconds: silentMs / 1000, limit },
  );

/** All sealed tokens, for putting them under another key. */
export const listSealedUrlTokens = (db: Queryable): Promise<{ agentId: string; sealedToken: string }[]> =>
  query(
    db,
    `select agent_id as "agentId", sealed_token as "sealedToken" from url_agents where sealed_token is not null
     order by agent_id`,
    {},
  );

/** A row that changed meanwhile stays as it is. */
export async function replaceSealedUrlToken(
  db: Queryable,
  token: { agentId: string; from: string; to: string },
): Promise<boolean> {
  const row = await queryOne(
    db,
    `update url_agents set sealed_token = :to where agent_id = :agentId and sealed_token = :from returning agent_id`,
    token,
  );
  return row !== undefined;
}

/** Those of the agents that have an address. */
export const listUrlAgents = (db: Queryable, agentIds: readonly string[]): Promise<UrlAgentRow[]> =>
  query<UrlAgentRow>(db, `select ${columns} ${usable} where u.agent_id = any(cast(:ids as text[]))`, {
    ids: [...agentIds],
  });
