/** Hashes of the passwords an account had before, so that it does not go back to them. */
import { execute, type Queryable, query } from './database.ts';

/** Newest first. */
export async function listPastPasswordHashes(
  db: Queryable,
  userId: string,
  limit: number,
): Promise<string[]> {
  const rows = await query<{ passwordHash: string }>(
    db,
    `select password_hash as "passwordHash" from password_history
     where user_id = :user_id order by id desc limit :limit`,
    { user_id: userId, limit },
  );
  return rows.map((row) => row.passwordHash);
}

/** Remember a hash that was replaced, and forget all but the newest `keep`. */
export async function rememberPasswordHash(
  db: Queryable,
  userId: string,
  passwordHash: string,
  keep: number,
): Promise<void> {
  await execute(
    db,
    `insert into password_history (user_id, password_hash) values (:user_id, :password_hash)`,
    { user_id: userId, password_hash: passwordHash },
  );
  await execute(
    db,
    `delete from password_history where user_id = :user_id and id not in (
       select id from password_history where user_id = :user_id order by id desc limit :keep)`,
    { user_id: userId, keep },
  );
}
