/** What an id that somebody calls himself by stands for, before anything is made of it. */
import type { Principal } from '../../contracts/principal.ts';
import { findAgent } from '../../db/agents.ts';
import type { DomainDeps } from '../deps.ts';

/**
 * Whether the id is that of an agent which this credential does not speak for: to an agent every other, to the holder of the
 * shared token one that was given a token of its own, or is revoked.
 */
export async function isOfAnotherAgent(
  deps: DomainDeps,
  principal: Principal,
  claimedId: string,
): Promise<boolean> {
  if (principal.kind === 'agent' && principal.id === claimedId) return false;
  const agent = await findAgent(deps.db, claimedId);
  if (agent === undefined) return false;
  return principal.kind === 'agent' || agent.hasOwnToken || agent.revokedAt !== null;
}
