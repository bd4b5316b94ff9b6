/** Banned addresses, and locked accounts, as an administrator sees and lifts them. How they come about: attempts.ts. */
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import { type BanRow, deleteBan, listBans } from '../../db/bans.ts';
import { forgetAddressFailures, forgetSubject, lockSubject } from '../../db/login-attempts.ts';
import { findUser } from '../../db/users.ts';
import { pageOfRows, positionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { assertCan } from '../policy.ts';
import { transact } from '../transact.ts';
import { subjectOfUser } from './attempts.ts';
import { networkOf } from './network.ts';

/**
 * Bans that hold, newest first.
 * @throws forbidden, invalid_cursor
 */
export async function listBanPage(
  deps: DomainDeps,
  actor: Actor,
  query: { limit: number; cursor?: string | undefined },
): Promise<Page<BanRow>> {
  assertCan(actor.principal, 'list', 'ban');
  const rows = await listBans(deps.db, { after: positionOf(query.cursor), limit: query.limit + 1 });
  return pageOfRows(rows, query.limit, (row) => ({ at: row.bannedAt, id: row.network }));
}

/**
 * Lift the ban of an address, or of the network it belongs to, and forget its failures: it starts anew.
 * @throws forbidden, ban_not_found
 */
export async function liftBan(deps: DomainDeps, actor: Actor, address: string): Promise<void> {
  assertCan(actor.principal, 'delete', 'ban');
  const network = networkOf(address);
  await transact(deps, async (unit) => {
    // First, as whoever counts a failure does: the counter, then the ban.
    await forgetAddressFailures(unit.trx, network);
    const ban = await deleteBan(unit.trx, network);
    if (!ban) throw problem('ban_not_found', { address: network });
    unit.audit(actor, {
      action: 'address.unbanned',
      targetKind: 'address',
      targetId: network,
      details: { failures: ban.failures, expiresAt: ban.expiresAt },
    });
  });
}

/**
 * Lift the lock of an account and forget its failures, wherever they came from.
 * @throws forbidden, user_not_found
 */
export async function unlockUser(deps: DomainDeps, actor: Actor, userId: string): Promise<void> {
  assertCan(actor.principal, 'update', 'user');
  const subject = subjectOfUser(userId);
  await transact(deps, async (unit) => {
    if (!(await findUser(unit.trx, userId))) throw problem('user_not_found', { userId });
    await lockSubject(unit.trx, subject);
    const { wasLocked } = await forgetSubject(unit.trx, subject);
    unit.audit(actor, {
      action: 'account.unlocked',
      targetKind: 'user',
      targetId: userId,
      details: { wasLocked },
    });
  });
}
