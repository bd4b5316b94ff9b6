/** The agent that a client names by its address, also one that nobody has registered yet. */
import { isProblem, problem } from '../../contracts/errors.ts';
import { lockHostname } from '../../db/agent-registration.ts';
import { findUrlAgentAt } from '../../db/url-agents.ts';
import { resolveAgentRef } from '../agents/resolve-ref.ts';
import type { Actor } from '../deps.ts';
import { can } from '../policy.ts';
import { transact } from '../transact.ts';
import { normalUrl, type UrlAgentDeps } from './deps.ts';
import { PROBE_TIMEOUT_MS } from './probe.ts';
import { write } from './register.ts';

/**
 * As `resolveAgentRef`; an address that is new is registered where the actor may do that and the guard lets it out.
 * @throws agent_not_found (also an address that has no host), conflict, agent_url_unreachable (the guard)
 */
export async function resolveOrRegister(deps: UrlAgentDeps, actor: Actor, ref: string): Promise<string> {
  try {
    return await resolveAgentRef(deps.db, ref);
  } catch (error) {
    const isNew = isProblem(error, 'agent_not_found') && /^https?:\/\//i.test(ref);
    if (!isNew || !can(actor.principal, 'register', 'agent')) throw error;
  }
  const url = normalUrl(ref);
  await assertReachable(deps, url, ref);
  const name = new URL(url).host.slice(0, 255);
  return transact(deps, async (unit) => {
    // As registrations: of two that name it at once the second finds the agent of the first.
    await lockHostname(unit.trx, url);
    const known = await findUrlAgentAt(unit.trx, url);
    if (known !== undefined) return known.agentId;
    return (await write(unit, deps, actor, { name, url, role: 'worker' }, { isSeen: false })).agentId;
  });
}

/** Somebody could be there; whoever is away for now is no less an agent. */
async function assertReachable(deps: UrlAgentDeps, url: string, ref: string): Promise<void> {
  const answer = await deps.agentUrls.request({
    url: `${url}/health`,
    method: 'GET',
    timeoutMs: PROBE_TIMEOUT_MS,
    maxResponseBytes: 1024,
  });
  if (answer.kind === 'refused')
    throw problem('agent_url_unreachable', { url }, { details: { details: answer.message } });
  if (answer.kind === 'failed' && !answer.mayHaveArrived && answer.code !== 'connect_failed')
    throw problem('agent_not_found', { agentId: ref });
}
