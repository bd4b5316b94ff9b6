/** Agents as the family with addresses lists them: all of them, the ones without an address by their id. */
import { listUrlAgents } from '../../db/url-agents.ts';
import { type AgentRow, listUsableAgents } from '../agents/registry.ts';
import type { Actor, DomainDeps } from '../deps.ts';

/** Most agents of one answer; the newest. */
const MAX_LISTED = 1_000;

export interface FamilyAgent {
  agent: AgentRow;
  url: string | null;
  role: string;
  /** It wants to be asked with a token. */
  hasToken: boolean;
}

/** @throws forbidden */
export async function listFamilyAgents(deps: DomainDeps, actor: Actor): Promise<FamilyAgent[]> {
  const agents = await listUsableAgents(deps, actor, {}, MAX_LISTED);
  const addressed = await listUrlAgents(
    deps.db,
    agents.filter(({ delivery }) => delivery === 'url').map(({ id }) => id),
  );
  const rows = new Map(addressed.map((row) => [row.agentId, row]));
  return agents.map((agent) => {
    const row = rows.get(agent.id);
    return { agent, url: row?.url ?? null, role: row?.role ?? 'worker', hasToken: row?.sealedToken != null };
  });
}
