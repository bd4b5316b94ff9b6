/** Personal API tokens: made by a person who is logged in, for programs that act for that person. */
import { v7 as newId } from 'uuid';
import { type ApiTokenView, type ApiTokenWish, MAX_TOKENS_OF_USER } from '../../contracts/api-tokens.ts';
import { problem } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import type { Page } from '../../contracts/shared.ts';
import {
  type ApiTokenRow,
  countApiTokens,
  findLiveApiToken,
  insertApiToken,
  type LiveApiToken,
  listApiTokens,
  revokeApiToken,
  revokeApiTokensOfUser,
  touchApiToken,
} from '../../db/api-tokens.ts';
import { findLiveSession } from '../../db/sessions.ts';
import { pageOfRows, uuidPositionOf } from '../cursor.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { claimSecretReply, type RequestKey } from '../idempotency.ts';
import { assertCan } from '../policy.ts';
import { transact, type Unit } from '../transact.ts';
import { createToken, hashToken } from './opaque-tokens.ts';

/** Characters of a token that are kept to recognise it by: its kind and 36 of its 256 bits. */
const SHOWN_PREFIX_LENGTH = 10;
const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * The token is in the answer and kept nowhere.
 * @throws forbidden, conflict when the person holds MAX_TOKENS_OF_USER, or for a repeated Idempotency-Key
 */
export async function createOwnApiToken(
  deps: DomainDeps,
  actor: Actor,
  wish: ApiTokenWish,
  requestKey: RequestKey | null = null,
): Promise<ApiTokenView & { token: string }> {
  const { userId, sessionId } = assertLoggedIn(actor, 'create');
  const token = createToken('api');
  const id = newId();
  const scopes = [...new Set(wish.scopes)].sort();
  const row = await transact(deps, async (unit) => {
    if (requestKey !== null) {
      const resource = { resourceKind: 'api_token', resourceId: id };
      await claimSecretReply(unit.trx, { principalId: userId, ...requestKey, ...resource });
    }
    if ((await countApiTokens(unit.trx, userId)) >= MAX_TOKENS_OF_USER) {
      throw problem('conflict', { reason: `nobody holds more than ${MAX_TOKENS_OF_USER} tokens` });
    }
    // The count holds the account's row: what ended the session meanwhile is seen here, and would not see this token.
    if ((await findLiveSession(unit.trx, sessionId)) === undefined) throw problem('invalid_token');
    unit.audit(actor, {
      action: 'api_token.create',
      targetKind: 'api_token',
      targetId: id,
      details: { name: wish.name, scopes, expiresInDays: wish.expiresInDays },
    });
    return insertApiToken(unit.trx, {
      id,
      userId,
      name: wish.name,
      tokenHash: hashToken(token),
      tokenPrefix: token.slice(0, SHOWN_PREFIX_LENGTH),
      scopes,
      ttlMs: wish.expiresInDays * DAY_MS,
    });
  });
  return { ...presentApiToken(row), token };
}

/** @throws forbidden, invalid_cursor */
export async function listOwnApiTokens(
  deps: DomainDeps,
  actor: Actor,
  page: { limit: number; cursor?: string | undefined },
): Promise<Page<ApiTokenView>> {
  const { userId } = assertLoggedIn(actor, 'list');
  const before = uuidPositionOf(page.cursor);
  const rows = await listApiTokens(deps.db, userId, { before, limit: page.limit + 1 });
  const { items, nextCursor } = pageOfRows(rows, page.limit, (row) => ({ at: row.createdAt, id: row.id }));
  return { items: items.map(presentApiToken), nextCursor };
}

/** @throws forbidden, not_found (also for somebody else's, and for one revoked before) */
export async function revokeOwnApiToken(deps: DomainDeps, actor: Actor, tokenId: string): Promise<void> {
  const { userId } = assertLoggedIn(actor, 'delete');
  await transact(deps, async (unit) => {
    const revoked = await revokeApiToken(unit.trx, { id: tokenId, userId });
    if (!revoked) throw problem('not_found');
    unit.audit(actor, {
      action: 'api_token.revoke',
      targetKind: 'api_token',
      targetId: tokenId,
      details: { name: revoked.name },
    });
  });
}

/**
 * End every API token of a user within a unit of work: HTTP refuses them with its commit, what they hold open ends within
 * CREDENTIAL_RECHECK_MS.
 * @returns how many this call ended
 */
export async function revokeApiTokensOf(
  unit: Unit,
  actor: Actor,
  userId: string,
  reason: 'password_changed' | 'password_reset' | 'account_disabled',
): Promise<number> {
  const revoked = await revokeApiTokensOfUser(unit.trx, userId);
  for (const { id, name } of revoked) {
    unit.audit(actor, {
      action: 'api_token.revoke',
      targetKind: 'api_token',
      targetId: id,
      details: { name, reason },
    });
  }
  return revoked.length;
}

/**
 * A person with a session: no token makes, shows or ends tokens.
 * @throws forbidden
 */
function assertLoggedIn(
  { principal }: Actor,
  verb: 'list' | 'create' | 'delete',
): { userId: string; sessionId: string } {
  assertCan(principal, verb, 'api_token', principal.id);
  const { kind, id: userId, sessionId } = principal;
  if (kind !== 'user' || sessionId === null) throw problem('forbidden');
  return { userId, sessionId };
}

/**
 * Who holds this token, with the role of now.
 * @throws invalid_token when it is unknown, expired or revoked, or its owner disabled
 */
export async function identifyApiToken(deps: Pick<DomainDeps, 'db'>, token: string): Promise<Principal> {
  const found = await findLiveApiToken(deps.db, hashToken(token));
  if (!found) throw problem('invalid_token');
  if (found.isUseStale) await touchApiToken(deps.db, found.tokenId);
  return principalOfApiToken(found);
}

export const principalOfApiToken = (token: LiveApiToken): Principal => ({
  kind: 'user',
  id: token.userId,
  name: token.username,
  roles: [token.role],
  sessionId: null,
  credentialId: token.tokenId,
  scopes: token.scopes,
  ...(token.mustChangePassword && { mustChangePassword: true }),
});

const presentApiToken = (row: ApiTokenRow): ApiTokenView => ({
  id: row.id,
  name: row.name,
  tokenPrefix: row.tokenPrefix,
  scopes: row.scopes,
  createdAt: row.createdAt.toISOString(),
  expiresAt: row.expiresAt.toISOString(),
  lastUsedAt: row.lastUsedAt?.toISOString() ?? null,
});
