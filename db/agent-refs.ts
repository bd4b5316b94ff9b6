/** Agents by whatever name a client knows them. */
import { type Queryable, query } from './database.ts';

export interface NamedAgent {
  id: string;
  isRevoked: boolean;
}

/** The agents with this id, address or host name (whatever its case), the id first, then those not revoked. */
export function findNamedAgents(db: Queryable, ref: string, limit: number): Promise<NamedAgent[]> {
  return query<NamedAgent>(
    db,
    `select id, revoked_at is not null as "isRevoked" from agents where id = :ref or lower(hostname) = lower(:ref)
       or id = (select agent_id from url_agents where url = rtrim(:ref, '/'))
     order by (id = :ref) desc, (revoked_at is not null), created_at desc, id limit :limit`,
    { ref, limit },
  );
}

/** Their ids. */
export const findAgentIds = async (db: Queryable, ref: string, limit: number): Promise<string[]> =>
  (await findNamedAgents(db, ref, limit)).map(({ id }) => id);
