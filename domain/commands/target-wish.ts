/** What a caller wants of the agents of a batch besides the act: that they are connected, and which shells go first. */
import type { ShellName } from '../../contracts/act.ts';
import type { ActRequest } from '../../contracts/commands.ts';
import { problem } from '../../contracts/errors.ts';
import { listConnectedAgents } from '../../db/agent-connections.ts';
import type { Queryable } from '../../db/database.ts';
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
    const connected = await listConnectedAgents(db, agentIds);
    const missing = agents.find(({ id }) => !connected.has(id));
    if (missing !== undefined) throw problem('agent_not_connected', { agentId: missing.id });
  }
  const { preferredShells: preferred } = wish;
  const isOpen = (act: ActRequest): boolean => act.argv === undefined && act.shell === undefined;
  return {
    agents,
    withShell: (act) =>
      preferred !== undefined && isOpen(act) ? { ...act, shell: resolveShell(agents, preferred) } : act,
  };
}
