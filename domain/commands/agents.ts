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

type ShellFacts = Pick<BatchAgent, 'os' | 'shells' | 'defaultShell'>;

/** PowerShell, the newer one first: what some clients mean by a command. */
export const powershells: readonly ShellName[] = ['pwsh', 'powershell'];

/**
 * The shells of an agent, each once: those of `preferred` that it has, its default, the others. An agent that never
 * connected has told of none: `powershell` where it calls itself Windows, else `sh`.
 */
export function shellsOf(agent: ShellFacts, preferred: readonly ShellName[] = []): ShellName[] {
  const all = new Set<ShellName>([usualShell(agent), ...agent.shells.filter(isShellName)]);
  return [...new Set([...preferred.filter((shell) => all.has(shell)), ...all])];
}

function usualShell({ os, shells, defaultShell }: ShellFacts): ShellName {
  if (isShellName(defaultShell)) return defaultShell;
  return shells.find(isShellName) ?? (/^\s*win/i.test(os ?? '') ? 'powershell' : 'sh');
}

/**
 * The shell a command without one means: the first of `preferred` that every agent has, else the agents' default,
 * which must be the same on all of them, because one digest stands for the whole batch.
 * @throws conflict naming the shells found
 */
export function resolveShell(agents: readonly ShellFacts[], preferred: readonly ShellName[] = []): ShellName {
  const common = preferred.find((shell) => agents.every((agent) => shellsOf(agent).includes(shell)));
  if (common !== undefined && agents.length > 0) return common;
  const shells = new Set(agents.map(usualShell));
  const [only, ...others] = shells;
  if (only === undefined || others.length > 0) {
    throw problem('conflict', {
      reason: `the agents' default shells differ (${[...shells].sort().join(', ')}); name one`,
    });
  }
  return only;
}
