/**
 * Failed attempts to prove who one is. They lock the account that was tried, slow down the address they come from, and
 * ban it when they go on.
 *
 *  A. A failure is counted in a transaction of its own, which nothing rolls back.
 *  B. What is counted is the account, by whatever name, dialect or factor it was tried; a name that nobody has is counted
 *     and locked in the same way, so that a lock tells nothing about who exists.
 *  C. The gate is asked before anything is verified, and again in the transaction that lets somebody in: of parallel
 *     guesses no right one gets in behind as many wrong ones as close it.
 *  D. A good login forgets its own failures from its own address, and no others.
 */
import { createHmac } from 'node:crypto';
import { problem, type SteelthreadError } from '../../contracts/errors.ts';
import type { Principal } from '../../contracts/principal.ts';
import { insertAuditEvents } from '../../db/audit-events.ts';
import { findBan, insertBan } from '../../db/bans.ts';
import type { Queryable, Trx } from '../../db/database.ts';
import {
  type AddressLimits,
  clearFailures,
  countAddressFailure,
  countFailure,
  countRefusal,
  holdSubject,
  type LockRules,
  lockIfDue,
  lockSubject,
  readAttemptGate,
} from '../../db/login-attempts.ts';
import type { UserRow } from '../../db/users.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { type AuditFacts, auditEntry, transact, type Unit } from '../transact.ts';
import { canonicalName } from './canonical-name.ts';
import type { IdentityDeps } from './deps.ts';
import { deriveKey } from './key-classes.ts';
import { networkOf } from './network.ts';
import type { RequestOrigin } from './open-session.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** When an account is locked: 15, 30, 60, 120, then 240 minutes at a time. */
export const lockRules: LockRules = {
  afterFailures: 5,
  windowMs: 15 * MINUTE_MS,
  firstLockMs: 15 * MINUTE_MS,
  maxLockMs: 4 * HOUR_MS,
  memoryMs: 24 * HOUR_MS,
};

/** Failures of one address after which its attempts are refused; as many in an hour ban it as well. */
export const addressLimits: AddressLimits = { perMinute: 10, perHour: 50 };
/** How long an address is banned, milliseconds. */
export const BAN_MS = 24 * HOUR_MS;
/** Audit rows that one address can leave in a minute with attempts that are refused unseen. */
export const MAX_REFUSAL_ROWS = 20;
/** Counters that nobody touched for so long are deleted, milliseconds: longer than every lock is remembered. */
export const ATTEMPT_RETENTION_MS = 2 * lockRules.memoryMs;

/** What somebody tries, and as whom. */
export interface Tried {
  /** Action of the audit trail under which refusals are found, e.g. `auth.login`. */
  action: string;
  /** What is counted and locked, see `subjectOf`; null when only the address is (a registration). */
  subject: string | null;
  /** The account; undefined when nobody has that name. */
  user: Pick<UserRow, 'id' | 'username'> | undefined;
}

export const subjectOfUser = (userId: string): string => `user:${userId}`;

/**
 * Invariant B. A name that nobody has is kept as a keyed hash only: people type passwords into the wrong field.
 * @param login as it was typed
 */
export function subjectOf(
  deps: Pick<IdentityDeps, 'identity'>,
  user: Pick<UserRow, 'id'> | undefined,
  login: string,
): string {
  const [key = ''] = deps.identity.secretKeys;
  const mac = createHmac('sha256', deriveKey(key, 'unknown_name')).update(canonicalName(login)).digest();
  return user ? subjectOfUser(user.id) : `name:${mac.toString('base64url')}`;
}

/**
 * May this be tried now, from here? Refusals are written to the audit trail.
 * @throws address_banned, rate_limited, account_locked, each with Retry-After
 */
export async function admitAttempt(deps: DomainDeps, origin: RequestOrigin, tried: Tried): Promise<void> {
  const refusal = await readRefusal(deps.db, origin, tried);
  if (refusal) throw await refuseAttempt(deps, origin, tried, refusal);
}

/**
 * Invariant C, in the transaction that lets somebody in: the subject stays as it is until that ends. A refusal is
 * returned, so that the caller can end its transaction first; then `throw await refuseAttempt(…)`.
 */
export async function confirmAttempt(
  trx: Trx,
  origin: RequestOrigin,
  tried: Tried,
): Promise<SteelthreadError | undefined> {
  if (tried.subject !== null) await lockSubject(trx, tried.subject);
  return readRefusal(trx, origin, tried);
}

/** Invariant D, in the transaction that lets somebody in, after `confirmAttempt`. */
export async function forgetOwnFailures(trx: Trx, origin: RequestOrigin, tried: Tried): Promise<void> {
  if (tried.subject !== null) await clearFailures(trx, tried.subject, networkOf(origin.address));
}

/**
 * From a banned address nobody refreshes either.
 * @throws address_banned with Retry-After
 */
export async function assertNotBanned(deps: DomainDeps, origin: RequestOrigin, tried: Tried): Promise<void> {
  const seconds = await findBan(deps.db, networkOf(origin.address));
  if (seconds !== null) throw await refuseAttempt(deps, origin, tried, banned(seconds));
}

/**
 * Counts a wrong guess. Returns the error to throw: the given one, or what the attempt would have been told had it come
 * a moment later, so that parallel guesses learn no more than those one after the other.
 */
export async function failAttempt(
  deps: DomainDeps,
  origin: RequestOrigin,
  tried: Tried,
  reason: 'invalid_credentials' | 'mfa_token_invalid',
): Promise<SteelthreadError> {
  const network = networkOf(origin.address);
  const actor = actorOf(origin, tried);
  const isOver = await transact(deps, async (unit) => {
    const { subject } = tried;
    const isLocked = subject !== null && (await countForSubject(unit, actor, tried, subject, network));
    const { inMinute, inHour } = await countAddressFailure(unit.trx, network);
    if (inHour >= addressLimits.perHour) await banAddress(unit, actor, network, inHour);
    unit.audit(actor, { ...factsOf(tried), outcome: 'failed', details: { reason } });
    return isLocked || inMinute > addressLimits.perMinute || inHour > addressLimits.perHour;
  });
  return (isOver ? await readRefusal(deps.db, origin, tried) : undefined) ?? problem(reason);
}

/**
 * Counts a token that nobody was ever given: a guess of the address alone, whose refusal is in the audit trail already.
 * Returns the error to throw: the given one, or what guesses beyond the limit are told.
 */
export async function failTokenGuess(
  deps: DomainDeps,
  origin: RequestOrigin,
  tried: Tried,
  reason: 'invalid_refresh_token',
): Promise<SteelthreadError> {
  const network = networkOf(origin.address);
  const isOver = await transact(deps, async (unit) => {
    const { inMinute, inHour } = await countAddressFailure(unit.trx, network);
    if (inHour >= addressLimits.perHour) await banAddress(unit, actorOf(origin, tried), network, inHour);
    return inMinute > addressLimits.perMinute || inHour > addressLimits.perHour;
  });
  const refusal = isOver ? await readRefusal(deps.db, origin, tried) : undefined;
  return refusal === undefined ? problem(reason) : refuseAttempt(deps, origin, tried, refusal);
}

/** Writes that an attempt was refused without being counted as a guess. Returns the error, to be thrown. */
export async function refuseAttempt(
  deps: DomainDeps,
  origin: RequestOrigin,
  tried: Tried,
  refusal: SteelthreadError,
): Promise<SteelthreadError> {
  const network = networkOf(origin.address);
  const { inMinute, leftOutBefore } = await countRefusal(deps.db, network, MAX_REFUSAL_ROWS);
  if (inMinute <= MAX_REFUSAL_ROWS) {
    const isFirst = inMinute === 1 && leftOutBefore > 0;
    const details = { reason: refusal.code, ...(isFirst && { leftOutBefore }) };
    const facts: AuditFacts = { ...factsOf(tried), outcome: 'denied', details };
    await insertAuditEvents(deps.db, [auditEntry(actorOf(origin, tried), facts)]);
  }
  return refusal;
}

/** Returns whether the subject was locked before this failure. */
async function countForSubject(
  unit: Unit,
  actor: Actor,
  tried: Tried,
  subject: string,
  network: string,
): Promise<boolean> {
  const { isLocked } = await holdSubject(unit.trx, subject);
  await countFailure(unit.trx, { subject, network, windowMs: lockRules.windowMs });
  const lock = await lockIfDue(unit.trx, subject, lockRules);
  if (lock) {
    const { level, lockedUntil } = lock;
    unit.audit(actor, {
      action: 'account.locked',
      targetKind: 'user',
      targetId: tried.user?.id ?? UNKNOWN,
      details: { level, lockedUntil },
    });
  }
  return isLocked;
}

async function banAddress(unit: Unit, actor: Actor, network: string, failures: number): Promise<void> {
  const ban = await insertBan(unit.trx, { network, failures, banMs: BAN_MS });
  if (!ban) return;
  unit.audit(actor, {
    action: 'address.banned',
    targetKind: 'address',
    targetId: network,
    details: { failures, expiresAt: ban.expiresAt },
  });
}

async function readRefusal(
  db: Queryable,
  origin: RequestOrigin,
  tried: Tried,
): Promise<SteelthreadError | undefined> {
  const network = networkOf(origin.address);
  const gate = await readAttemptGate(db, { subject: tried.subject, network }, addressLimits);
  if (gate.bannedSeconds !== null) return banned(gate.bannedSeconds);
  if (gate.limitedSeconds !== null) {
    return problem('rate_limited', { seconds: gate.limitedSeconds }, retryAfter(gate.limitedSeconds));
  }
  if (gate.lockedSeconds !== null) {
    return problem('account_locked', { seconds: gate.lockedSeconds }, retryAfter(gate.lockedSeconds));
  }
  return undefined;
}

const banned = (seconds: number): SteelthreadError =>
  problem('address_banned', { seconds }, retryAfter(seconds));

const retryAfter = (seconds: number) => ({ headers: { 'Retry-After': String(seconds) } });

const UNKNOWN = 'unknown';

/** The account that is tried, with no right and no session: whoever asks has proved nothing. */
function actorOf(origin: RequestOrigin, { user }: Tried): Actor {
  const principal: Principal = {
    kind: 'user',
    id: user?.id ?? UNKNOWN,
    name: user?.username ?? UNKNOWN,
    roles: [],
    sessionId: null,
  };
  return { principal, address: origin.address, requestId: origin.requestId };
}

const factsOf = ({ action, user }: Tried): Pick<AuditFacts, 'action' | 'targetKind' | 'targetId'> => ({
  action,
  targetKind: 'user',
  targetId: user?.id ?? UNKNOWN,
});
