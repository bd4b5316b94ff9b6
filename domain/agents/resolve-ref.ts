/**
 * How clients of families name an agent: by its id, its host name, or the address by which it is reached. Agents that
 * are reached by an address are found and named by it here, once they have one.
 */
import { problem } from '../../contracts/errors.ts';
import { findNamedAgents } from '../../db/agent-refs.ts';
import type { Queryable } from '../../db/database.ts';

/**
 * The id of the agent that is meant. Revoked ones stand in nobody's way.
 * @throws agent_not_found; conflict where several have the host name
 */
export async function resolveAgentRef(db: Queryable, ref: string): Promise<string> {
  const [first, second] = await findNamedAgents(db, ref, 2);
  if (first === undefined) throw problem('agent_not_found', { agentId: ref });
  if (first.id !== ref && second?.isRevoked === false) {
    throw problem('conflict', { reason: `several agents have the host name ${ref}; name one by its id` });
  }
  return first.id;
}

/** What clients of families are told an agent is called: that resolves to it again. */
export const agentRefOf = (agentId: string): string => agentId;
