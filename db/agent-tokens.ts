/** Credentials of agents, as hashes. An agent may hold several while one is being replaced. */
import { execute, type Queryable, query, queryOne } from './database.ts';

export async function insertAgentToken(
  db: Queryable,
  token: { id: string; agentId: string; tokenHash: Buffer },
): Promise<void> {
  await query(
    db,
    'insert into agent_tokens (id, agent_id, token_hash) values (:id, :agent_id, :token_hash)',
    { id: token.id, agent_id: token.agentId, token_hash: token.tokenHash },
  );
}

/** The agent that holds the token; undefined when the token or the agent is unknown or revoked. */
export async function findAgentByToken(
  db: Queryable,
  tokenHash: Buffer,
): Promise<{ tokenId: string; agentId: string; hostname: string; isUseStale: boolean } | undefined> {
  const row = await queryOne<{
    token_id: string;
    agent_id: string;
    hostname: string;
    is_use_stale: boolean;
  }>(
    db,
    `select t.id as token_id, a.id as agent_id, a.hostname,
            coalesce(t.last_used_at < now() - interval '1 minute', true) as is_use_stale
     from agent_tokens t join agents a on a.id = t.agent_id
     where t.token_hash = :token_hash and t.revoked_at is null and a.revoked_at is null
       and (t.expires_at is null or t.expires_at > now())`,
    { token_hash: tokenHash },
  );
  return (
    row && {
      tokenId: row.token_id,
      agentId: row.agent_id,
      hostname: row.hostname,
      isUseStale: row.is_use_stale,
    }
  );
}

/** Note that the token was used; skipped while another request notes the same. */
export async function touchAgentToken(db: Queryable, tokenId: string): Promise<void> {
  await execute(
    db,
    `update agent_tokens set last_used_at = now()
     where id = (select id from agent_tokens where id = :token_id for update skip locked)`,
    { token_id: tokenId },
  );
}

/** Returns how many tokens this call ended. */
export async function revokeAgentTokens(db: Queryable, agentId: string): Promise<number> {
  const rows = await query(
    db,
    'update agent_tokens set revoked_at = now() where agent_id = :agent_id and revoked_at is null returning id',
    { agent_id: agentId },
  );
  return rows.length;
}

/** Let the agent's tokens work for `forMs` more, at most. Returns how many that concerns. */
export async function expireAgentTokens(db: Queryable, agentId: string, forMs: number): Promise<number> {
  const rows = await query(
    db,
    `update agent_tokens
     set expires_at = least(coalesce(expires_at, 'infinity'), now() + make_interval(secs => :seconds))
     where agent_id = :agent_id and revoked_at is null and (expires_at is null or expires_at > now())
     returning id`,
    { agent_id: agentId, seconds: forMs / 1000 },
  );
  return rows.length;
}
