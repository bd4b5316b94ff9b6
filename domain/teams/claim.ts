import { problem } from '../../contracts/errors.ts';
import type { Actor } from '../deps.ts';
import { claimIdempotencyKey, type RequestKey } from '../idempotency.ts';
import type { Unit } from '../transact.ts';

/**
 * What the key has made before; undefined: go on and make `id`.
 * @throws idempotency_conflict; not_found where it has been deleted since
 */
export async function findMade<Row>(
  unit: Unit,
  actor: Actor,
  requestKey: RequestKey | null,
  wish: { kind: string; id: string },
  find: (id: string) => Promise<Row | undefined>,
): Promise<Row | undefined> {
  if (requestKey === null) return undefined;
  const claim = await claimIdempotencyKey(unit.trx, {
    principalId: actor.principal.id,
    ...requestKey,
    resourceKind: wish.kind,
    resourceId: wish.id,
  });
  if (claim.claimed) return undefined;
  const earlier = await find(claim.resourceId);
  if (earlier === undefined) throw problem('not_found');
  return earlier;
}
