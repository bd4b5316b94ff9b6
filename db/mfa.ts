/** Second factors: the sealed secret of an account, the last step it was used at, and its backup codes as hashes. */
import { execute, type Queryable, query, queryOne } from './database.ts';

export interface MfaRow {
  userId: string;
  sealedSecret: string;
  /** Null while it was set up but not proved yet. */
  enabledAt: Date | null;
}

const columns = 'user_id as "userId", sealed_secret as "sealedSecret", enabled_at as "enabledAt"';

export function findMfa(db: Queryable, userId: string): Promise<MfaRow | undefined> {
  return queryOne<MfaRow>(db, `select ${columns} from user_mfa where user_id = :user_id`, {
    user_id: userId,
  });
}

/** Those of these accounts that log in with a second factor. */
export async function findMfaUsers(db: Queryable, userIds: readonly string[]): Promise<Set<string>> {
  const rows = await query<{ user_id: string }>(
    db,
    `select user_id from user_mfa
     where user_id = any(cast(:user_ids as uuid[])) and enabled_at is not null`,
    { user_ids: [...userIds] },
  );
  return new Set(rows.map((row) => row.user_id));
}

/** Keep a secret that is still to be proved, in place of an earlier one of the kind. False when one is in force. */
export async function insertPendingMfa(
  db: Queryable,
  pending: { userId: string; sealedSecret: string },
): Promise<boolean> {
  const rows = await query(
    db,
    `insert into user_mfa (user_id, sealed_secret) values (:user_id, :sealed_secret)
     on conflict (user_id) do update set
       sealed_secret = excluded.sealed_secret, last_step = 0, created_at = excluded.created_at
       where user_mfa.enabled_at is null
     returning user_id`,
    { user_id: pending.userId, sealed_secret: pending.sealedSecret },
  );
  return rows.length === 1;
}

/** Put the secret that was proved at this step in force. False when it is no longer the one that waits. */
export async function enableMfa(
  db: Queryable,
  proved: { userId: string; sealedSecret: string; step: number },
): Promise<boolean> {
  const rows = await query(
    db,
    `update user_mfa set enabled_at = now(), last_step = :step
     where user_id = :user_id and enabled_at is null and sealed_secret = :sealed_secret
     returning user_id`,
    { user_id: proved.userId, sealed_secret: proved.sealedSecret, step: proved.step },
  );
  return rows.length === 1;
}

/** Use a step, once, and none before it afterwards: of parallel calls one is told true. */
export async function useMfaStep(db: Queryable, userId: string, step: number): Promise<boolean> {
  const rows = await query(
    db,
    `update user_mfa set last_step = :step
     where user_id = :user_id and enabled_at is not null and last_step < cast(:step as bigint)
     returning user_id`,
    { user_id: userId, step },
  );
  return rows.length === 1;
}

export async function insertBackupCodes(
  db: Queryable,
  userId: string,
  codeHashes: readonly Buffer[],
): Promise<void> {
  await execute(
    db,
    `insert into mfa_backup_codes (user_id, code_hash)
     select :user_id, code_hash from unnest(cast(:code_hashes as bytea[])) as code_hash`,
    { user_id: userId, code_hashes: [...codeHashes] },
  );
}

/** Use a backup code, once: of parallel calls one is told true. */
export async function useBackupCode(db: Queryable, userId: string, codeHash: Buffer): Promise<boolean> {
  const rows = await query(
    db,
    `update mfa_backup_codes set used_at = now()
     where user_id = :user_id and code_hash = :code_hash and used_at is null
     returning user_id`,
    { user_id: userId, code_hash: codeHash },
  );
  return rows.length === 1;
}

export async function countBackupCodes(db: Queryable, userId: string): Promise<number> {
  const row = await queryOne<{ count: number }>(
    db,
    'select count(*) as count from mfa_backup_codes where user_id = :user_id and used_at is null',
    { user_id: userId },
  );
  return row?.count ?? 0;
}

/** With its backup codes. Returns whether it was in force; undefined when there was none. */
export async function deleteMfa(db: Queryable, userId: string): Promise<{ wasEnabled: boolean } | undefined> {
  const row = await queryOne<{ was_enabled: boolean }>(
    db,
    'delete from user_mfa where user_id = :user_id returning enabled_at is not null as was_enabled',
    { user_id: userId },
  );
  return row && { wasEnabled: row.was_enabled };
}
