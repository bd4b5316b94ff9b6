/** The agents of a batch: that they exist, may be used, and which shell a bare command means on them. */
import type { ShellName } from '../../contracts/act.ts';
import { shellNames } from '../../contracts/act.ts';
import { problem } from '../../contracts/errors.ts';
import { type CommandTargetRow, listCommandTargets } from '../../db/agents.ts';
import type { Queryable } from '../../db/database.ts';

export type BatchAgent = CommandTargetRow;

/**
 * Load the agents of a batch, each once, in the order named.
 * @throws agent_not_found, agent_revoked
 */
export async function getBatchAgents(db: Queryable, agentIds: readonly string[]): Promise<BatchAgent[]> {
  const wanted = [...new Set(agentIds)];
  const rows = await listCommandTargets(db, wanted);
  const byId = new Map(rows.map((row) => [row.id, row]));
  return wanted.map((agentId) => {
    const agent = byId.get(agentId);
    if (agent === undefined) throw problem('agent_not_found', { agentId });
    if (agent.isRevoked) throw problem('agent_revoked', { agentId });
    return agent;
  });
}

export const isShellName = (name: string | null): name is ShellName =>
  name !== null && (shellNames as readonly string[]).includes(name);

/**
 * The shell a command without one means: the agents' default, which must be the same on all of them, because one
 * digest stands for the whole batch. An agent that never connected has none yet: `sh`.
 * @throws conflict naming the shells found
 */
export function resolveShell(agents: readonly BatchAgent[]): ShellName {
  const shells = new Set(
    agents.map((agent) => (isShellName(agent.defaultShell) ? agent.defaultShell : 'sh')),
  );
  const [only, ...others] = shells;
  if (only === undefined || others.length > 0) {
    throw problem('conflict', {
      reason: `the agents' default shells differ (${[...shells].sort().join(', ')}); name one`,
    });
  }
  return only;
}
