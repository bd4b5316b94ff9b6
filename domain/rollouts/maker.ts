/** Who made a rollout: its batches run in that name, and only while that principal may run commands. */
import { validate as isUuid } from 'uuid';
import type { Principal } from '../../contracts/principal.ts';
import type { RolloutRow } from '../../db/rollouts.ts';
import { findUser } from '../../db/users.ts';
import type { Actor } from '../deps.ts';
import { systemPrincipal } from '../identity/identify.ts';
import { can } from '../policy.ts';
import type { Unit } from '../transact.ts';

type Maker = Pick<RolloutRow, 'creatorKind' | 'creatorId' | 'creatorName'>;

/** What the process knows of the shared agent token. */
export interface MakerDeps {
  /** Its holder may run commands (AGENT_TOKEN_ADMIN); default false. */
  agentTokenAdmin?: boolean;
}

export const makerOf = ({ creatorKind, creatorId, creatorName }: Maker): Actor => ({
  principal: {
    kind: creatorKind === 'user' ? 'user' : 'system',
    id: creatorId,
    name: creatorName,
    roles: [],
    sessionId: null,
  },
  address: null,
  requestId: null,
});

/** With the rights of now: who was disabled or demoted meanwhile runs nothing more. */
export async function mayMakerRun(unit: Unit, deps: MakerDeps, maker: Maker): Promise<boolean> {
  if (maker.creatorKind !== 'user') {
    return can(systemPrincipal({ agentTokenAdmin: deps.agentTokenAdmin ?? false }), 'execute', 'command');
  }
  const user = isUuid(maker.creatorId) ? await findUser(unit.trx, maker.creatorId) : undefined;
  if (user === undefined || !user.isActive) return false;
  const { id, username: name, role } = user;
  const principal: Principal = { kind: 'user', id, name, roles: [role], sessionId: null };
  return can(principal, 'execute', 'command') && can(principal, 'create', 'rollout');
}
