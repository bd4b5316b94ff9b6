/** Is anybody there? */
import { problem } from '../../contracts/errors.ts';
import { listSilentUrlAgents } from '../../db/url-agents.ts';
import { inLanes } from '../in-lanes.ts';
import { seen } from './call.ts';
import type { UrlAgentDeps } from './deps.ts';

/** Of one attempt, milliseconds. */
export const PROBE_TIMEOUT_MS = 5_000;
/** An agent that was not heard of for so long is looked for, milliseconds. */
const PROBE_AFTER_MS = 60_000;
/** Agents that are looked for in one round, and at the same time. */
const PROBES_OF_A_ROUND = 256;
const PARALLEL_PROBES = 16;

/**
 * At `/health`, then at the address itself; an answer below 400 is one.
 * @throws agent_url_unreachable, which says why where the guard stands in the way
 */
export async function probe(deps: Pick<UrlAgentDeps, 'agentUrls'>, url: string): Promise<void> {
  let reason = '';
  for (const asked of [`${url}/health`, url]) {
    const answer = await deps.agentUrls.request({
      url: asked,
      method: 'GET',
      timeoutMs: PROBE_TIMEOUT_MS,
      maxResponseBytes: 1024,
    });
    if (answer.kind === 'answered' && answer.status < 400) return;
    reason = answer.kind === 'answered' ? `status ${answer.status}` : answer.message;
  }
  throw problem('agent_url_unreachable', { url }, { details: { details: reason } });
}

/**
 * Look for those that have been silent for a while, so that who is there is not called away. First those that are not
 * called away yet: many that are gone must not keep them from being found.
 * @returns how many are there
 */
export async function probeSilent(deps: UrlAgentDeps, stop: AbortSignal): Promise<number> {
  const silent = await listSilentUrlAgents(deps.db, PROBE_AFTER_MS, PROBES_OF_A_ROUND);
  const lanes = { count: PARALLEL_PROBES, isStopped: () => stop.aborted };
  const found = await inLanes(silent, lanes, async ({ agentId, url }) => {
    const isThere = await probe(deps, url).then(
      () => true,
      () => false,
    );
    if (isThere) await seen(deps, agentId);
    return isThere;
  });
  return found.filter(Boolean).length;
}
