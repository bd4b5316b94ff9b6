/** Ask an agent for a fresh word about itself. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentRow } from '../../db/agents.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { getAgent } from './registry.ts';

/** Longest wait for the fresh word, milliseconds: presence is stored once a second. */
const REFRESH_WAIT_MS = 4_000;
/** Pause between two looks, milliseconds. */
const REFRESH_LOOK_MS = 200;

/**
 * Ask whoever holds the agent's socket for a report, and wait until it is stored, at most REFRESH_WAIT_MS. `isFresh` is
 * false when there is no socket, or the agent did not answer in time; the agent is then as it was last known.
 * @throws forbidden, agent_not_found
 */
export async function refreshAgent(
  deps: DomainDeps,
  actor: Actor,
  agentId: string,
  signal: AbortSignal,
): Promise<{ agent: AgentRow; isFresh: boolean }> {
  assertCan(actor.principal, 'heartbeat', 'agent');
  const before = await getAgent(deps, actor, agentId);
  if (before.status !== 'online' && before.status !== 'draining') return { agent: before, isFresh: false };
  await transact(deps, async (unit) => unit.emit('agent.refresh_requested', { agentId, data: {} }));
  const until = performance.now() + REFRESH_WAIT_MS;
  let agent = before;
  while (performance.now() < until && !signal.aborted) {
    await sleep(REFRESH_LOOK_MS);
    agent = await getAgent(deps, actor, agentId);
    if ((agent.lastSeenAt?.getTime() ?? 0) > (before.lastSeenAt?.getTime() ?? 0))
      return { agent, isFresh: true };
  }
  return { agent, isFresh: false };
}
