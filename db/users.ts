/** People who may log in. They are found by the canonical forms of their names and addresses, which are unique. */

import type { Role } from '../contracts/principal.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';
import { lockKeys } from './lock-keys.ts';

export type UserRole = Extract<Role, 'viewer' | 'user' | 'operator' | 'admin'>;

export interface UserRow {
  id: string;
  username: string;
  email: string | null;
  displayName: string | null;
  avatarUrl: string | null;
  role: UserRole;
  passwordHash: string;
  isActive: boolean;
  mustChangePassword: boolean;
  passwordChangedAt: Date;
  lastLoginAt: Date | null;
  createdAt: Date;
  updatedAt: Date;
}

export interface StoredUser {
  id: string;
  username: string;
  email: string | null;
  display_name: string | null;
  avatar_url: string | null;
  role: UserRole;
  password_hash: string;
  is_active: boolean;
  must_change_password: boolean;
  password_changed_at: Date;
  last_login_at: Date | null;
  created_at: Date;
  updated_at: Date;
}

const columns = `id, username, email, display_name, avatar_url, role, password_hash, is_active,
  must_change_password, password_changed_at, last_login_at, created_at, updated_at`;

export const rowToUser = (row: StoredUser): UserRow => ({
  id: row.id,
  username: row.username,
  email: row.email,
  displayName: row.display_name,
  avatarUrl: row.avatar_url,
  role: row.role,
  passwordHash: row.password_hash,
  isActive: row.is_active,
  mustChangePassword: row.must_change_password,
  passwordChangedAt: row.password_changed_at,
  lastLoginAt: row.last_login_at,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

/**
 * One transaction at a time makes, renames, demotes, disables or deletes accounts: names must be unique across two
 * columns, and an administrator must remain. Neither can be said of single rows.
 */
export async function lockAccounts(db: Queryable): Promise<void> {
  await execute(db, 'select pg_advisory_xact_lock(:key)', { key: lockKeys.accounts });
}

export async function hasUsers(db: Queryable): Promise<boolean> {
  const row = await queryOne<{ found: boolean }>(db, 'select exists (select 1 from users) as found');
  return row?.found ?? false;
}

export interface NewUser {
  id: string;
  username: string;
  canonicalName: string;
  email: string | null;
  canonicalEmail: string | null;
  displayName?: string | null;
  role: UserRole;
  passwordHash: string;
  mustChangePassword: boolean;
}

/** @throws the unique violation of Postgres when the name or the address is taken */
export async function insertUser(db: Queryable, user: NewUser): Promise<UserRow> {
  const row = await queryOne<StoredUser>(
    db,
    `insert into users (id, username, canonical_name, email, canonical_email, display_name, role, password_hash,
                        must_change_password)
     values (:id, :username, :canonical_name, :email, :canonical_email, :display_name, :role, :password_hash,
             :must_change_password)
     returning ${columns}`,
    {
      id: user.id,
      username: user.username,
      canonical_name: user.canonicalName,
      email: user.email,
      canonical_email: user.canonicalEmail,
      display_name: user.displayName ?? null,
      role: user.role,
      password_hash: user.passwordHash,
      must_change_password: user.mustChangePassword,
    },
  );
  if (row === undefined) throw new Error('an insert returned no row');
  return rowToUser(row);
}

export async function findUser(db: Queryable, id: string): Promise<UserRow | undefined> {
  const row = await queryOne<StoredUser>(db, `select ${columns} from users where id = :id`, { id });
  return row && rowToUser(row);
}

/** As findUser, and the row stays as it is until the end of the transaction. */
export async function lockUser(db: Queryable, id: string): Promise<UserRow | undefined> {
  const row = await queryOne<StoredUser>(
    db,
    `select ${columns} from users where id = :id for no key update`,
    { id },
  );
  return row && rowToUser(row);
}

/** By canonical name. */
export async function findUserByName(db: Queryable, canonicalName: string): Promise<UserRow | undefined> {
  const row = await queryOne<StoredUser>(
    db,
    `select ${columns} from users where canonical_name = :canonical_name`,
    { canonical_name: canonicalName },
  );
  return row && rowToUser(row);
}

/** By the canonical form of a user name or an e-mail address; where both match different people, the name wins. */
export async function findUserByLogin(db: Queryable, canonicalLogin: string): Promise<UserRow | undefined> {
  const row = await queryOne<StoredUser>(
    db,
    `select ${columns} from users
     where canonical_name = :login or canonical_email = :login
     order by canonical_name = :login desc
     limit 1`,
    { login: canonicalLogin },
  );
  return row && rowToUser(row);
}

/** Accounts other than `exceptId` that go by one of these canonical forms, as a name or as an address. */
export function findNamesakes(
  db: Queryable,
  canonicalForms: readonly string[],
  exceptId: string | null,
): Promise<{ canonicalName: string; canonicalEmail: string | null }[]> {
  return query(
    db,
    `select canonical_name as "canonicalName", canonical_email as "canonicalEmail" from users
     where (canonical_name = any(cast(:forms as text[])) or canonical_email = any(cast(:forms as text[])))
       and id is distinct from cast(:except_id as uuid)`,
    { forms: [...canonicalForms], except_id: exceptId },
  );
}

export interface UserFilter {
  role?: UserRole;
  isActive?: boolean;
}

/** Newest first, after the position. */
export async function listUsers(
  db: Queryable,
  filter: UserFilter,
  page: { after: { at: Date; id: string } | undefined; limit: number },
): Promise<UserRow[]> {
  const conditions = [
    page.after && '(created_at, id) < (:at, cast(:id as uuid))',
    filter.role !== undefined && 'role = :role',
    filter.isActive !== undefined && 'is_active = :is_active',
  ].filter((condition) => typeof condition === 'string');
  const rows = await query<StoredUser>(
    db,
    `select ${columns} from users
     ${conditions.length > 0 ? `where ${conditions.join(' and ')}` : ''}
     order by created_at desc, id desc limit :limit`,
    {
      limit: page.limit,
      ...page.after,
      ...(filter.role !== undefined && { role: filter.role }),
      ...(filter.isActive !== undefined && { is_active: filter.isActive }),
    },
  );
  return rows.map(rowToUser);
}

export async function countOtherActiveAdmins(db: Queryable, exceptId: string): Promise<number> {
  const row = await queryOne<{ count: number }>(
    db,
    `select count(*) as count from users where role = 'admin' and is_active and id <> :except_id`,
    { except_id: exceptId },
  );
  return row?.count ?? 0;
}

/** What an update may change; an absent member stays as it is. */
export interface UserPatch {
  displayName?: string | null;
  avatarUrl?: string | null;
  email?: string | null;
  /** Goes with `email`. */
  canonicalEmail?: string | null;
  isActive?: boolean;
  role?: UserRole;
}

const patchColumns: Record<keyof UserPatch, string> = {
  displayName: 'display_name',
  avatarUrl: 'avatar_url',
  email: 'email',
  canonicalEmail: 'canonical_email',
  isActive: 'is_active',
  role: 'role',
};

/** Undefined when there is no such user. */
export async function updateUser(db: Queryable, id: string, patch: UserPatch): Promise<UserRow | undefined> {
  const sets: string[] = [];
  const bindings: Record<string, unknown> = { id };
  for (const [member, column] of Object.entries(patchColumns)) {
    const value = patch[member as keyof UserPatch];
    if (value === undefined) continue;
    sets.push(`${column} = :${column}`);
    bindings[column] = value;
  }
  const row = await queryOne<StoredUser>(
    db,
    `update users set ${[...sets, 'updated_at = now()'].join(', ')} where id = :id returning ${columns}`,
    bindings,
  );
  return row && rowToUser(row);
}

/** Replace the password, if it still is the one of `oldHash`. False when it was replaced meanwhile. */
export async function replacePasswordHash(
  db: Queryable,
  id: string,
  hashes: { oldHash: string; newHash: string; mustChangePassword: boolean },
): Promise<boolean> {
  const rows = await query(
    db,
    `update users set password_hash = :new_hash, must_change_password = :must_change_password,
            password_changed_at = now(), updated_at = now()
     where id = :id and password_hash = :old_hash returning id`,
    {
      id,
      old_hash: hashes.oldHash,
      new_hash: hashes.newHash,
      must_change_password: hashes.mustChangePassword,
    },
  );
  return rows.length === 1;
}

/** With sessions, history and whatever else hangs on the account. False when there is no such user. */
export async function deleteUser(db: Queryable, id: string): Promise<boolean> {
  return (await query(db, 'delete from users where id = :id returning id', { id })).length === 1;
}

/** Undefined when the account is disabled or gone. */
export async function recordLogin(db: Queryable, id: string): Promise<UserRow | undefined> {
  const row = await queryOne<StoredUser>(
    db,
    `update users set last_login_at = now() where id = :id and is_active returning ${columns}`,
    { id },
  );
  return row && rowToUser(row);
}

/** May the account open terminals besides what its role lets it? @returns its name; undefined when there is none */
export async function setTerminalRight(
  db: Queryable,
  id: string,
  isAllowed: boolean,
): Promise<string | undefined> {
  const row = await queryOne<{ username: string }>(
    db,
    'update users set may_open_terminals = :isAllowed where id = :id returning username',
    { id, isAllowed },
  );
  return row?.username;
}
