import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deleteOldIdempotencyKeys } from '../../db/idempotency-keys.ts';
import { bodySha256, canonicalJson, claimIdempotencyKey } from '../../domain/idempotency.ts';
import { transact } from '../../domain/transact.ts';
import { type IdentityStack, startIdentity } from '../support/identity.ts';

let stack: IdentityStack;
beforeAll(async () => {
  stack = await startIdentity({ withAdmin: false });
});
afterAll(() => stack.close());

const wish = {
  principalId: 'user-1',
  key: 'key-1',
  bodySha256: bodySha256({ title: 'x' }),
  resourceKind: 'task',
  resourceId: 'task-1',
};
const claim = (changed: Partial<typeof wish> = {}) =>
  transact(stack.deps, (unit) => claimIdempotencyKey(unit.trx, { ...wish, ...changed }));

describe('an Idempotency-Key', () => {
  it('stands for the resource of its first request', async () => {
    expect(await claim()).toEqual({ claimed: true });
    expect(await claim({ resourceId: 'task-2' })).toEqual({ claimed: false, resourceId: 'task-1' });
  });

  it('is refused with another body or another kind of resource', async () => {
    await expect(claim({ bodySha256: bodySha256({ title: 'y' }) })).rejects.toMatchObject({
      code: 'idempotency_conflict',
    });
    await expect(claim({ resourceKind: 'command' })).rejects.toMatchObject({ code: 'idempotency_conflict' });
  });

  it('belongs to its principal', async () => {
    expect(await claim({ principalId: 'user-2' })).toEqual({ claimed: true });
  });

  it('is claimed by one of twenty parallel requests, the others hear of its resource', async () => {
    const claims = await Promise.all(
      Array.from({ length: 20 }, (_, i) => claim({ key: 'parallel', resourceId: `task-${i}` })),
    );
    expect(claims.filter((result) => result.claimed)).toHaveLength(1);
    const made = claims.flatMap((result) => (result.claimed ? [] : [result.resourceId]));
    expect(new Set(made).size).toBe(1);
  });

  it('is free again when its request failed: the one that waited for it takes it', async () => {
    const claimed = gate();
    const fail = gate();
    const first = transact(stack.deps, async (unit) => {
      await claimIdempotencyKey(unit.trx, { ...wish, key: 'rolled-back', resourceId: 'lost' });
      claimed.resolve();
      await fail.promise;
      throw new Error('the rest of the request failed');
    });
    first.catch(() => undefined);
    await claimed.promise;
    const second = claim({ key: 'rolled-back', resourceId: 'kept' });
    await waitForBlockedInsert();
    fail.resolve();
    await expect(first).rejects.toThrow('the rest of the request failed');
    expect(await second).toEqual({ claimed: true });
    expect(await claim({ key: 'rolled-back' })).toEqual({ claimed: false, resourceId: 'kept' });
  });

  it('is forgotten after the retention', async () => {
    await stack
      .db('idempotency_keys')
      .where({ key: 'key-1' })
      .update({ created_at: new Date(0) });
    expect(await deleteOldIdempotencyKeys(stack.db, new Date(1000), 100)).toBe(2);
    expect(await claim({ resourceId: 'task-9' })).toEqual({ claimed: true });
  });
});

describe('canonical JSON', () => {
  it('does not depend on the order of members, and leaves out what is undefined', () => {
    expect(canonicalJson({ b: [1, { d: null, c: undefined }], a: 'x' })).toBe('{"a":"x","b":[1,{"d":null}]}');
    expect(bodySha256({ a: 1, b: 2 })).toBe(bodySha256({ b: 2, a: 1 }));
    expect(bodySha256({ a: [1, 2] })).not.toBe(bodySha256({ a: [2, 1] }));
    expect(canonicalJson([undefined, 'é'])).toBe('[null,"é"]');
  });
});

/** Until the second request waits in Postgres for the first. */
async function waitForBlockedInsert(): Promise<void> {
  await expect
    .poll(async () => {
      const { rows } = await stack.db.raw(
        `select count(*) as waiting from pg_stat_activity
         where datname = current_database() and wait_event_type = 'Lock' and query like '%idempotency_keys%'`,
      );
      return rows[0].waiting;
    })
    .toBe(1);
}

function gate(): { promise: Promise<void>; resolve: () => void } {
  let open: () => void = () => undefined;
  const promise = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { promise, resolve: () => open() };
}
