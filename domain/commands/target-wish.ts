/** What a caller wants of the agents of a batch besides the act: that they are connected, and which shells go first. */
import type { ShellName } from '../../contracts/act.ts';
import type { ActRequest } from '../../contracts/commands.ts';
import { problem } from '../../contracts/errors.ts';
import { listReachedAgents } from '../../db/agent-connections.ts';
import type { Queryable } from '../../db/database.ts';
import type { LocalSockets } from '../deps.ts';
import { type BatchAgent, getBatchAgents, resolveShell } from './agents.ts';

export interface TargetWish {
  /** For a command that names no shell: the first of these that every agent has, else their default shell. */
  preferredShells?: readonly ShellName[];
  /** An agent without a connection is refused instead of waited for. */
  onlyConnected?: boolean;
}

/**
 * The agents a wish is about, and the act as it is for them: with its shell, so that the digest binds it.
 * @throws agent_not_found, agent_revoked, agent_not_connected, conflict (default shells differ)
 */
export async function fitTargets(
  db: Queryable,
  agentIds: readonly string[],
  wish: TargetWish,
): Promise<{ agents: BatchAgent[]; withShell: (act: ActRequest) => ActRequest }> {
  const agents = await getBatchAgents(db, agentIds);
  if (wish.onlyConnected === true) {
    const reached = await listReachedAgents(db, agentIds);
    const missing = agents.find(({ id }) => !reached.has(id));
    if (missing !== undefined) throw problem('agent_not_connected', { agentId: missing.id });
  }
  return { agents, withShell: (act) => actWithShell(act, agents, wish) };
}

/**
 * The act as `fitTargets` makes it, without a look at any row: where every agent has its socket in this process, and so
 * told of its shells in its hello. Undefined elsewhere. Whether the agents may be used is asked when the batch is
 * inserted.
 * @throws conflict (default shells differ)
 */
export function fitHere(
  sockets: LocalSockets | undefined,
  { agentIds, act }: { agentIds: readonly string[]; act: ActRequest },
  wish: TargetWish,
): ActRequest | undefined {
  const here = sockets?.epochsOf(agentIds);
  const agents = agentIds.flatMap((id) => (here?.has(id) && sockets?.shellsOf(id)) || []);
  return agents.length === agentIds.length ? actWithShell(act, agents, wish) : undefined;
}

const actWithShell = (
  act: ActRequest,
  agents: Parameters<typeof resolveShell>[0],
  { preferredShells: preferred }: TargetWish,
): ActRequest => {
  const isOpen = act.argv === undefined && act.shell === undefined;
  return preferred !== undefined && isOpen ? { ...act, shell: resolveShell(agents, preferred) } : act;
};
