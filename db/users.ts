/** People who may log in. Names and addresses are unique whatever their case. */
import type { Role } from '../contracts/principal.ts';
import { execute, type Queryable, query, queryOne } from './database.ts';

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
  last_login_at: Date | null;
  created_at: Date;
  updated_at: Date;
}

const columns = `id, username, email, display_name, avatar_url, role, password_hash, is_active,
  must_change_password, last_login_at, created_at, updated_at`;

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
  lastLoginAt: row.last_login_at,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});

/** Key of the transaction lock under which the first user is made. */
const FIRST_USER_LOCK_KEY = 7_305_002;

export async function lockFirstUser(db: Queryable): Promise<void> {
  await execute(db, 'select pg_advisory_xact_lock(:key)', { key: FIRST_USER_LOCK_KEY });
}

export async function hasUsers(db: Queryable): Promise<boolean> {
  const row = await queryOne<{ found: boolean }>(db, 'select exists (select 1 from users) as found');
  return row?.found ?? false;
}

export interface NewUser {
  id: string;
  username: string;
  email: string | null;
  role: UserRole;
  passwordHash: string;
  mustChangePassword: boolean;
}

/** @throws the unique violation of Postgres when the name or the address is taken */
export async function insertUser(db: Queryable, user: NewUser): Promise<void> {
  await query(
    db,
    `insert into users (id, username, email, role, password_hash, must_change_password)
     values (:id, :username, :email, :role, :password_hash, :must_change_password)`,
    {
      id: user.id,
      username: user.username,
      email: user.email,
      role: user.role,
      password_hash: user.passwordHash,
      must_change_password: user.mustChangePassword,
    },
  );
}

export async function findUser(db: Queryable, id: string): Promise<UserRow | undefined> {
  const row = await queryOne<StoredUser>(db, `select ${columns} from users where id = :id`, { id });
  return row && rowToUser(row);
}

/** By user name or e-mail address; where both match different people, the name wins. */
export async function findUserByLogin(db: Queryable, login: string): Promise<UserRow | undefined> {
  const rows = await query<StoredUser>(
    db,
    `select ${columns} from users
     where lower(username) = lower(:login) or lower(email) = lower(:login)
     order by lower(username) = lower(:login) desc
     limit 1`,
    { login },
  );
  return rows[0] && rowToUser(rows[0]);
}

export async function recordLogin(db: Queryable, id: string): Promise<UserRow | undefined> {
  const row = await queryOne<StoredUser>(
    db,
    `update users set last_login_at = now() where id = :id and is_active returning ${columns}`,
    { id },
  );
  return row && rowToUser(row);
}
