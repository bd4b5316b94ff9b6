/**
 * Rotating refresh tokens.
 *
 *  A. A token is claimed by one update of its unused row: of parallel requests one rotates, the others wait for it.
 *  B. A used token within REFRESH_GRACE_MS answers the very same successor: a lost reply or a double click neither
 *     ends the session nor forks the family.
 *  C. A used token later than that is a stolen or a restored one: the session ends, whoever came first.
 */
import { v7 as newId } from 'uuid';
import { problem } from '../../contracts/errors.ts';
import {
  findRefreshToken,
  hasRefreshToken,
  insertRefreshToken,
  type RefreshTokenRow,
  useRefreshToken,
} from '../../db/refresh-tokens.ts';
import { findLiveSession, type LiveSession } from '../../db/sessions.ts';
import { findUser } from '../../db/users.ts';
import { transact, type Unit } from '../transact.ts';
import { assertNotBanned, failTokenGuess, type Tried } from './attempts.ts';
import { type IdentityDeps, REFRESH_GRACE_MS, REFRESH_TOKEN_TTL_MS } from './deps.ts';
import { deriveRefreshToken, hashToken, isTokenOf } from './opaque-tokens.ts';
import type { RequestOrigin } from './open-session.ts';
import { principalOf } from './present-user.ts';
import { endSession } from './sessions.ts';
import { type IssuedTokens, issueTokens, type TokenStyle } from './tokens.ts';

/**
 * Trade a refresh token for new tokens, in the style of the family whose client logged in.
 * @throws invalid_refresh_token when it is unknown, expired, used before (which ends its session), or its session
 * has ended
 * @throws address_banned; rate_limited for tokens nobody was ever given, which count like wrong passwords for the
 * address they come from (each with Retry-After). Who holds a real one is not held back by others' guesses.
 */
export async function refresh(
  deps: IdentityDeps,
  origin: RequestOrigin,
  token: string,
  style: TokenStyle = {},
): Promise<IssuedTokens> {
  await assertNotBanned(deps, origin, refreshing);
  if (!(await isKnown(deps, token))) {
    throw await failTokenGuess(deps, origin, refreshing, 'invalid_refresh_token');
  }
  // A refusal is a value here: what a reuse revokes must commit before anything is thrown.
  const issued = await transact(deps, async (unit) => {
    const rotated = (await rotate(deps, unit, token)) ?? (await repeat(deps, unit, origin, token));
    if (!rotated) return undefined;
    const user = await findUser(unit.trx, rotated.session.userId);
    if (!user) return undefined;
    const { sessionId, family } = rotated.session;
    const facts = { user, sessionId, refreshToken: rotated.refreshToken };
    return issueTokens(deps, facts, { family, ...style });
  });
  if (!issued) throw problem('invalid_refresh_token');
  return issued;
}

const refreshing: Tried = { action: 'auth.refresh', subject: null, user: undefined };

/** Was it ever given out? Those of sessions that ended long ago are forgotten. */
const isKnown = async (deps: IdentityDeps, token: string): Promise<boolean> =>
  isTokenOf('refresh', token) && (await findRefreshToken(deps.db, hashToken(token))) !== undefined;

interface Rotation {
  session: LiveSession;
  refreshToken: string;
}

/** Invariant A. Undefined when the token cannot be claimed. */
async function rotate(deps: IdentityDeps, unit: Unit, token: string): Promise<Rotation | undefined> {
  const successorId = newId();
  const claimed = await useRefreshToken(unit.trx, hashToken(token), successorId);
  const session = claimed && (await findLiveSession(unit.trx, claimed.sessionId));
  if (!session) return undefined;
  const [key] = deps.identity.secretKeys;
  if (key === undefined) throw new Error('no key to derive refresh tokens with');
  const refreshToken = deriveRefreshToken(key, token, successorId);
  await insertRefreshToken(unit.trx, {
    id: successorId,
    sessionId: session.sessionId,
    tokenHash: hashToken(refreshToken),
    ttlMs: REFRESH_TOKEN_TTL_MS,
  });
  return { session, refreshToken };
}

/** Invariants B and C. Undefined when there is nothing to answer. */
async function repeat(
  deps: IdentityDeps,
  unit: Unit,
  origin: RequestOrigin,
  token: string,
): Promise<Rotation | undefined> {
  const row = await findRefreshToken(unit.trx, hashToken(token));
  const session = row && (await findLiveSession(unit.trx, row.sessionId));
  if (!session || row.usedForMs === null) return undefined;
  if (row.usedForMs <= REFRESH_GRACE_MS && !row.isExpired) {
    const refreshToken = await findSuccessor(deps, unit, row, token);
    return refreshToken === undefined ? undefined : { session, refreshToken };
  }
  const actor = {
    principal: principalOf(session),
    address: origin.address,
    requestId: origin.requestId,
  };
  unit.audit(actor, {
    action: 'auth.refresh_reuse',
    targetKind: 'session',
    targetId: row.sessionId,
    outcome: 'denied',
    details: { usedForMs: Math.round(row.usedForMs) },
  });
  await endSession(unit, actor, row.sessionId, 'refresh_token_reused');
  return undefined;
}

/** The token that followed, under whichever of the keys it was derived. */
async function findSuccessor(
  deps: IdentityDeps,
  unit: Unit,
  row: RefreshTokenRow,
  token: string,
): Promise<string | undefined> {
  if (row.successorId === null) return undefined;
  for (const key of deps.identity.secretKeys) {
    const successor = deriveRefreshToken(key, token, row.successorId);
    if (await hasRefreshToken(unit.trx, row.successorId, hashToken(successor))) return successor;
  }
  return undefined;
}
