/** Accounts, as administrators handle them. */
import { v7 as newId } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import type { Page } from '../../contracts/shared.ts';
import type { UserChange } from '../../contracts/users.ts';
import {
  countOtherActiveAdmins,
  deleteUser as deleteUserRow,
  findUser,
  findUserByName as findUserRowByName,
  insertUser,
  listUsers as listUserRows,
  lockAccounts,
  lockUser,
  type UserFilter,
  type UserRole,
  type UserRow,
  updateUser as updateUserRow,
} from '../../db/users.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { bodySha256, claimRequest, type RequestKey } from '../idempotency.ts';
import { assertCan, can } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { assertNamesFree, readAccountNames, readEmail } from './account-names.ts';
import { revokeApiTokensOf } from './api-tokens.ts';
import { canonicalName } from './canonical-name.ts';
import type { IdentityDeps } from './deps.ts';
import { assertPasswordAllowed } from './password-policy.ts';
import { endSessionsOfUser } from './sessions.ts';
import { patchOf } from './user-patch.ts';

export interface NewAccount {
  username: string;
  email?: string | null | undefined;
  displayName?: string | null | undefined;
  password: string;
  role: UserRole;
  /** Nothing can be done with it before its owner has changed the password; default false. */
  mustChangePassword?: boolean;
}

/**
 * Create an account for somebody.
 * @param requestKey a repeat with the same key answers the account that the first one made. What is kept of its body
 * leaves the password out: a quick hash of it would be a way to guess it.
 * @throws forbidden, validation_failed, password_refused, user_exists, email_exists, idempotency_conflict
 */
export async function createUser(
  deps: IdentityDeps,
  actor: Actor,
  account: NewAccount,
  requestKey: RequestKey | null = null,
): Promise<UserRow> {
  const { principal } = actor;
  assertCan(principal, 'create', 'user');
  const names = readAccountNames(account.username, account.email ?? null);
  assertPasswordAllowed(account.password, { names: [names.username, names.email, account.displayName] });
  const passwordHash = await deps.passwords.hash(account.password);
  const { user, isRepeat } = await transact(deps, async (unit) => {
    const id = newId();
    const ofAccount = requestKey && {
      key: requestKey.key,
      bodySha256: bodySha256({ ...account, password: undefined }),
    };
    const made = await claimRequest(unit.trx, principal, ofAccount, 'user', id);
    if (made !== undefined) return { user: getRow(await findUser(unit.trx, made), made), isRepeat: true };
    await lockAccounts(unit.trx);
    await assertNamesFree(unit, names, null);
    const user = await insertUser(unit.trx, {
      id,
      ...names,
      displayName: account.displayName ?? null,
      role: account.role,
      passwordHash,
      mustChangePassword: account.mustChangePassword ?? false,
    });
    unit.audit(actor, {
      action: 'user.create',
      targetKind: 'user',
      targetId: id,
      details: { username: user.username, role: user.role },
    });
    return { user, isRepeat: false };
  });
  if (isRepeat && !(await deps.passwords.verify(account.password, user.passwordHash))) {
    throw problem('idempotency_conflict');
  }
  return user;
}

/** Newest first. @throws forbidden, invalid_cursor */
export async function listUsers(
  deps: DomainDeps,
  actor: Actor,
  page: { limit: number; cursor?: string | undefined },
  filter: UserFilter = {},
): Promise<Page<UserRow>> {
  assertCan(actor.principal, 'list', 'user');
  const after = uuidPositionOf(page.cursor);
  const rows = await listUserRows(deps.db, filter, { after, limit: page.limit + 1 });
  return pageOfRows(rows, page.limit, (row) => ({ at: row.createdAt, id: row.id }));
}

/** Everybody may read their own account; another's is not there for who may not. @throws forbidden, user_not_found */
export async function getUser(deps: DomainDeps, actor: Actor, id: string): Promise<UserRow> {
  assertCan(actor.principal, 'read', 'user');
  const isVisible = can(actor.principal, 'read', 'user', id);
  return getRow(isVisible ? await findUser(deps.db, id) : undefined, id);
}

/** For families that address accounts by name. As getUser, but undefined where there is none. @throws forbidden */
export async function findUserByName(
  deps: DomainDeps,
  actor: Actor,
  name: string,
): Promise<UserRow | undefined> {
  assertCan(actor.principal, 'read', 'user');
  const user = await findUserRowByName(deps.db, canonicalName(name));
  return user && can(actor.principal, 'read', 'user', user.id) ? user : undefined;
}

/**
 * Change an account; a member that is absent stays as it is. Disabling ends its sessions and API tokens.
 * @throws forbidden, validation_failed, user_not_found, email_exists, conflict (the last active administrator)
 */
export async function updateUser(
  deps: DomainDeps,
  actor: Actor,
  id: string,
  change: UserChange,
): Promise<UserRow> {
  assertCan(actor.principal, 'update', 'user', id);
  const { displayName, avatarUrl, isActive } = change;
  const names = change.email === undefined ? {} : readEmail(change.email);
  const wish = { displayName, avatarUrl, isActive, ...names };
  return transact(deps, async (unit) => {
    const user = await lockAccount(unit, id);
    const patch = patchOf(user, wish);
    if (Object.keys(patch).length === 0) return user;
    await assertNamesFree(unit, names, id);
    if (patch.isActive === false) {
      await assertNotLastAdmin(unit, user);
      await endSessionsOfUser(unit, actor, id, 'account_disabled');
      // They would be good again with the account, and nobody may know of all of them.
      await revokeApiTokensOf(unit, actor, id, 'account_disabled');
    }
    unit.audit(actor, {
      action: 'user.update',
      targetKind: 'user',
      targetId: id,
      details: {
        changed: Object.keys(patch).filter((member) => member !== 'canonicalEmail'),
        ...(patch.isActive !== undefined && { isActive: patch.isActive }),
      },
    });
    return getRow(await updateUserRow(unit.trx, id, patch), id);
  });
}

/**
 * Give an account another role, and end its sessions. The same role again changes nothing.
 * @throws forbidden, user_not_found, conflict (the last active administrator)
 */
export async function setRole(deps: DomainDeps, actor: Actor, id: string, role: UserRole): Promise<UserRow> {
  assertCan(actor.principal, 'update', 'user');
  return transact(deps, async (unit) => {
    const user = await lockAccount(unit, id);
    if (user.role === role) return user;
    await assertNotLastAdmin(unit, user);
    await endSessionsOfUser(unit, actor, id, 'role_changed');
    unit.audit(actor, {
      action: 'user.set_role',
      targetKind: 'user',
      targetId: id,
      details: { role, previous: user.role },
    });
    return getRow(await updateUserRow(unit.trx, id, { role }), id);
  });
}

/**
 * Delete an account with its sessions and credentials. What it did stays in the audit trail.
 * @throws forbidden, user_not_found, conflict (the last active administrator)
 */
export async function deleteUser(deps: DomainDeps, actor: Actor, id: string): Promise<void> {
  assertCan(actor.principal, 'delete', 'user');
  await transact(deps, async (unit) => {
    const user = await lockAccount(unit, id);
    await assertNotLastAdmin(unit, user);
    await endSessionsOfUser(unit, actor, id, 'account_deleted');
    await deleteUserRow(unit.trx, id);
    unit.audit(actor, {
      action: 'user.delete',
      targetKind: 'user',
      targetId: id,
      details: { username: user.username, role: user.role },
    });
  });
}

/** Under the accounts lock, so that of two who leave at once one is still there to be counted. */
async function lockAccount(unit: Unit, id: string): Promise<UserRow> {
  await lockAccounts(unit.trx);
  return getRow(await lockUser(unit.trx, id), id);
}

async function assertNotLastAdmin(unit: Unit, user: UserRow): Promise<void> {
  if (user.role !== 'admin' || !user.isActive) return;
  if ((await countOtherActiveAdmins(unit.trx, user.id)) > 0) return;
  throw problem('conflict', { reason: 'this is the last active administrator' });
}

function getRow(user: UserRow | undefined, userId: string): UserRow {
  if (!user) throw problem('user_not_found', { userId });
  return user;
}
