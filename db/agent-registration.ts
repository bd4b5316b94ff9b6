/** What a registration by host name looks at. */

import { execute, type Queryable, query } from './database.ts';
import { lockKeys } from './lock-keys.ts';

/** Agents of one host name that are looked at. */
const MAX_HOLDERS = 20;

/** Let registrations of this host name wait for each other until the transaction ends. */
export async function lockHostname(db: Queryable, hostname: string): Promise<void> {
  await execute(
    db,
    `select pg_advisory_xact_lock(cast(${lockKeys.hostnames} as integer), hashtext(lower(:hostname)))`,
    { hostname },
  );
}

export interface HostnameHolder {
  id: string;
  /** It was ever given a token of its own. */
  hasOwnToken: boolean;
  isConnected: boolean;
}

/** Usable agents of this host name, newest first, however it is spelt. */
export function listHostnameHolders(db: Queryable, hostname: string): Promise<HostnameHolder[]> {
  return query<HostnameHolder>(
    db,
    `select a.id, exists (select 1 from agent_tokens t where t.agent_id = a.id) as "hasOwnToken",
            exists (select 1 from agent_connections c where c.agent_id = a.id and c.bridge_id is not null)
              as "isConnected"
     from agents a where lower(a.hostname) = lower(:hostname) and a.revoked_at is null
     order by a.created_at desc, a.id desc limit ${MAX_HOLDERS}`,
    { hostname },
  );
}

/** Keep what the agent says of its machine. */
export async function writeSystemInfo(
  db: Queryable,
  agentId: string,
  systemInfo: Readonly<Record<string, unknown>>,
): Promise<void> {
  await execute(
    db,
    `insert into agent_facts as f (agent_id, system_info) values (:agent_id, cast(:system_info as jsonb))
     on conflict (agent_id) do update set system_info = excluded.system_info`,
    { agent_id: agentId, system_info: JSON.stringify(systemInfo) },
  );
}
