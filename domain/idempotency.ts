/**
 * Idempotency-Key: the same key with the same body means the same resource, however often it is sent.
 *
 *  A. The key is claimed in the transaction that makes the resource: both are there or neither is.
 *  B. A repeat that runs beside the first waits for it in Postgres and then finds its resource.
 */
import { createHash } from 'node:crypto';
import { problem } from '../contracts/errors.ts';
import type { Principal } from '../contracts/principal.ts';
import type { Trx } from '../db/database.ts';
import { findIdempotencyKey, insertIdempotencyKey, type NewIdempotencyKey } from '../db/idempotency-keys.ts';

/** Keys are remembered this long, hours. */
export const IDEMPOTENCY_KEY_RETENTION_HOURS = 24;
/** Tries before giving up when the retention deletes the key between the insert and the read. */
const CLAIM_TRIES = 3;

export type IdempotencyClaim =
  /** The caller goes on and makes `resourceId`. */
  | { claimed: true }
  /** The key has made this resource before. */
  | { claimed: false; resourceId: string };

/**
 * Claim the key for the resource that this transaction is about to make. `resourceId` is the id it will have.
 * @throws idempotency_conflict when the key stands for another body or another kind of resource
 */
export async function claimIdempotencyKey(trx: Trx, claim: NewIdempotencyKey): Promise<IdempotencyClaim> {
  for (let i = 0; i < CLAIM_TRIES; i++) {
    if (await insertIdempotencyKey(trx, claim)) return { claimed: true };
    const earlier = await findIdempotencyKey(trx, claim.principalId, claim.key);
    if (earlier === undefined) continue;
    if (earlier.bodySha256 !== claim.bodySha256 || earlier.resourceKind !== claim.resourceKind) {
      throw problem('idempotency_conflict');
    }
    return { claimed: false, resourceId: earlier.resourceId };
  }
  throw problem('service_unavailable');
}

/**
 * Claim the key of a request for what this transaction is about to make under `resourceId`. Without a key nothing is
 * claimed.
 * @returns the id of what the key has made before; undefined: go on and make it
 * @throws idempotency_conflict
 */
export async function claimRequest(
  trx: Trx,
  principal: Pick<Principal, 'id'>,
  requestKey: RequestKey | null,
  resourceKind: string,
  resourceId: string,
): Promise<string | undefined> {
  if (requestKey === null) return undefined;
  const claim = { principalId: principal.id, ...requestKey, resourceKind, resourceId };
  const answer = await claimIdempotencyKey(trx, claim);
  return answer.claimed ? undefined : answer.resourceId;
}

/**
 * Claim the key for something whose reply holds a secret. Only a hash of the secret is kept, so the reply cannot
 * be given again: a repeat is refused instead of making a second secret.
 * @throws conflict on a repeat, idempotency_conflict as `claimIdempotencyKey`
 */
export async function claimSecretReply(trx: Trx, claim: NewIdempotencyKey): Promise<void> {
  const { claimed } = await claimIdempotencyKey(trx, claim);
  if (claimed) return;
  throw problem('conflict', {
    reason:
      'this Idempotency-Key was answered before with a secret that is shown only once; send a new key for a new secret',
  });
}

/**
 * Claim the key for an act on something that exists; true when it stands for this very request already, so that
 * nothing is to be done again. Ask it before anything else is checked: a repeat is answered in every state.
 * @param act name of the act, for example `task.assign`
 * @throws idempotency_conflict
 */
export async function isRepeatedRequest(
  trx: Trx,
  principal: Pick<Principal, 'id'>,
  requestKey: RequestKey | null,
  act: string,
  resourceId: string,
): Promise<boolean> {
  return (await claimRequest(trx, principal, requestKey, act, resourceId)) !== undefined;
}

/** What a request says about its Idempotency-Key; null without one. */
export interface RequestKey {
  key: string;
  bodySha256: string;
}

/** `body` is the parsed body, so that a default that is written out is the same as one left out. */
export const requestKeyOf = (request: { idempotencyKey: string | null }, body: unknown): RequestKey | null =>
  request.idempotencyKey === null ? null : { key: request.idempotencyKey, bodySha256: bodySha256(body) };

/** sha256 (hex) of a JSON value with sorted keys: the order in which a client writes its members says nothing. */
export const bodySha256 = (body: unknown): string =>
  createHash('sha256').update(canonicalJson(body)).digest('hex');

/** JSON with sorted keys and without members that are undefined. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join()}]`;
  if (value instanceof Date) return JSON.stringify(value);
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`);
    return `{${members.join()}}`;
  }
  return JSON.stringify(value) ?? 'null';
}
