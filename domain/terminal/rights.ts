/** The right to terminals that an account has besides its role. */
import { problem } from '../../contracts/errors.ts';
import { setTerminalRight } from '../../db/users.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';

/**
 * Give the right, or take it back: open terminals of the account end with it within 5 seconds (promise P8).
 * @throws forbidden, user_not_found
 */
export async function grantTerminals(
  deps: DomainDeps,
  actor: Actor,
  userId: string,
  isAllowed: boolean,
): Promise<void> {
  assertCan(actor.principal, 'update', 'user');
  await transact(deps, async (unit) => {
    const username = await setTerminalRight(unit.trx, userId, isAllowed);
    if (username === undefined) throw problem('user_not_found', { userId });
    unit.audit(actor, {
      action: 'user.terminal_right',
      targetKind: 'user',
      targetId: userId,
      details: { username, isAllowed },
    });
  });
}
