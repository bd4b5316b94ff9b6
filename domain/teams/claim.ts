import { problem } from '../../contracts/errors.ts';
import type { Actor } from '../deps.ts';
import { claimRequest, type RequestKey } from '../idempotency.ts';
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
  const made = await claimRequest(unit.trx, actor.principal, requestKey, wish.kind, wish.id);
  if (made === undefined) return undefined;
  const earlier = await find(made);
  if (earlier === undefined) throw problem('not_found');
  return earlier;
}
