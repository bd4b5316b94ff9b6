/** Secrets of second factors as they are sealed, for putting them under another key. */
import { type Queryable, query, queryOne } from './database.ts';

export interface SealedMfa {
  userId: string;
  sealedSecret: string;
}

/** In the order of user ids, those after `afterUserId`. */
export async function listSealedMfa(
  db: Queryable,
  page: { afterUserId: string; limit: number },
): Promise<SealedMfa[]> {
  return query<SealedMfa>(
    db,
    `select user_id as "userId", sealed_secret as "sealedSecret" from user_mfa
     where user_id > cast(:after as uuid) order by user_id limit :limit`,
    { after: page.afterUserId, limit: page.limit },
  );
}

/** A row that changed meanwhile stays as it is. */
export async function replaceSealedMfa(
  db: Queryable,
  secret: { userId: string; from: string; to: string },
): Promise<boolean> {
  const row = await queryOne(
    db,
    `update user_mfa set sealed_secret = :to
     where user_id = cast(:user_id as uuid) and sealed_secret = :from returning user_id`,
    { user_id: secret.userId, from: secret.from, to: secret.to },
  );
  return row !== undefined;
}
