import type { Principal } from '../../contracts/principal.ts';
import type { Trx } from '../../db/database.ts';
import type { StepRow } from '../../db/steps.ts';
import type { TaskRow } from '../../db/tasks.ts';
import { findUser } from '../../db/users.ts';
import { type Actor, engineActor } from '../deps.ts';
import { systemPrincipal } from '../identity/identify.ts';
import { can } from '../policy.ts';

/**
 * Whoever decided a step, with the rights of now: what still follows from the decision is done in their name, and
 * only while they could decide it again. Without a decision it is the engine, which may execute nothing.
 */
export async function findDecider(
  trx: Trx,
  deps: { agentTokenAdmin?: boolean },
  task: TaskRow,
  step: StepRow,
): Promise<{ actor: Actor; mayExecute: boolean }> {
  const { decidedKind: kind, decidedId: id, decidedName: name } = step;
  if (kind === null || id === null || name === null) return { actor: engineActor, mayExecute: false };
  const principal = await principalOf(trx, deps, { kind, id, name });
  const mayExecute = principal !== undefined && can(principal, 'execute', 'task', task.creatorId);
  const shown: Principal = principal ?? {
    kind: kind === 'user' ? 'user' : 'system',
    id,
    name,
    roles: [],
    sessionId: null,
  };
  return { actor: { principal: shown, address: null, requestId: null }, mayExecute };
}

/** Undefined: there is no such account any more, or it is disabled. */
async function principalOf(
  trx: Trx,
  deps: { agentTokenAdmin?: boolean },
  { kind, id, name }: { kind: string; id: string; name: string },
): Promise<Principal | undefined> {
  if (kind !== 'user') {
    return { ...systemPrincipal({ agentTokenAdmin: deps.agentTokenAdmin ?? false }), id, name };
  }
  const user = await findUser(trx, id);
  if (user === undefined || !user.isActive) return undefined;
  return { kind: 'user', id, name: user.username, roles: [user.role], sessionId: null };
}
