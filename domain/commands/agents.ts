/** The agents of a batch: that they exist, may be used, and which shell a bare command means on them. */
import type { ShellName } from '../../contracts/act.ts';
import { shellNames } from '../../contracts/act.ts';
import type { Delivery } from '../../contracts/agent-protocol.ts';
import { problem } from '../../contracts/errors.ts';
import { type Queryable, query } from '../../db/database.ts';

export interface BatchAgent {
  id: string;
  hostname: string;
  os: string | null;
  delivery: Delivery;
  shells: string[];
  defaultShell: string | null;
}

/**
 * Load the agents of a batch, each once, in the order named.
 * @throws agent_not_found, agent_revoked
 */
export async function getBatchAgents(db: Queryable, agentIds: readonly string[]): Promise<BatchAgent[]> {
  const wanted = [...new Set(agentIds)];
  const rows = await query<BatchAgent & { revoked: boolean }>(
    db,
    `select id, hostname, os, delivery, shells, default_shell as "defaultShell", revoked_at is not null as revoked
     from agents where id = any(cast(:ids as text[]))`,
    { ids: wanted },
  );
  const byId = new Map(rows.map((row) => [row.id, row]));
  return wanted.map((agentId) => {
    const agent = byId.get(agentId);
    if (agent === undefined) throw problem('agent_not_found', { agentId });
    if (agent.revoked) throw problem('agent_revoked', { agentId });
    return agent;
  });
}

const isShellName = (name: string | null): name is ShellName =>
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
