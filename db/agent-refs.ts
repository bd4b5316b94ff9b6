/** Agents by whatever name a client knows them. */
import { type Queryable, query } from './database.ts';

/** Ids of the agents with this id, address or host name (whatever its case), the id first, then those not revoked. */
export async function findAgentIds(db: Queryable, ref: string, limit: number): Promise<string[]> {
  const rows = await query<{ id: string }>(
    db,
    `select id from agents where id = :ref or lower(hostname) = lower(:ref)
       or id = (select agent_id from url_agents where url = rtrim(:ref, '/'))
     order by (id = :ref) desc, (revoked_at is not null), created_at desc, id limit :limit`,
    { ref, limit },
  );
  return rows.map(({ id }) => id);
}
