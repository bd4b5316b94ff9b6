/** The token that another installation reports with on the one task it was given. */
import { problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import type { Queryable } from '../../db/database.ts';
import { findTaskOfCallbackToken } from '../../db/delegations.ts';
import { hashToken } from '../identity/opaque-tokens.ts';

/** @throws invalid_token */
export async function identifyCallback({ db }: { db: Queryable }, token: string): Promise<Principal> {
  const taskId = await findTaskOfCallbackToken(db, hashToken(token));
  if (taskId === undefined) throw problem('invalid_token');
  return {
    kind: 'system',
    id: `callback/${taskId}`,
    name: 'callback',
    roles: [],
    sessionId: null,
    callbackOf: taskId,
  };
}
