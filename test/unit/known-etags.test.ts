/** Which ETag an answer had at which version: what is remembered never answers for something newer or somebody else. */
import { describe, expect, it } from 'vitest';
import { etagOf } from '../../api/etag.ts';
import { createKnownEtags } from '../../api/known-etags.ts';

/** A thing with a version, and how often it was read. */
function thing(scope = 'all') {
  const state = { version: 1, body: { value: 1 }, reads: 0 };
  return {
    state,
    change(value: number): void {
      state.body = { value };
      state.version++;
    },
    request: (name: string, ifNoneMatch?: string) => ({
      name,
      ifNoneMatch,
      version: async () => ({ scope, version: state.version }),
      read: async () => {
        state.reads++;
        return state.body;
      },
    }),
  };
}

describe('known ETags', () => {
  it('answer for the version that stands, without a read', async () => {
    const known = createKnownEtags();
    const it = thing();
    const first = await known.read(it.request('list'));
    expect(first).toEqual({ status: 200, headers: { ETag: etagOf({ value: 1 }) }, body: { value: 1 } });
    expect(await known.read(it.request('list', first.headers.ETag))).toEqual({
      status: 304,
      headers: first.headers,
    });
    expect(it.state.reads).toBe(1);
    it.change(2);
    expect(await known.read(it.request('list', first.headers.ETag))).toMatchObject({ status: 200 });
    it.change(1);
    // Another version with the content of the first: it is read, and found to be known.
    expect(await known.read(it.request('list', first.headers.ETag))).toMatchObject({ status: 304 });
    expect(it.state.reads).toBe(3);
  });

  it('of a change between the version and the read answer nobody', async () => {
    const known = createKnownEtags();
    const it = thing();
    const request = it.request('list');
    const newer = await known.read({
      ...request,
      read: () => {
        it.change(2);
        return request.read();
      },
    });
    // What was read is the newer content, kept under the older version.
    expect(newer.headers.ETag).toBe(etagOf({ value: 2 }));
    it.change(3);
    expect(await known.read(it.request('list', newer.headers.ETag))).toMatchObject({ status: 200 });
  });

  it('of a slow reader do not take the place of newer ones', async () => {
    const known = createKnownEtags();
    const it = thing();
    let goOn = (): void => undefined;
    const isSlow = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const request = it.request('list');
    const slow = known.read({
      ...request,
      read: async () => {
        const body = await request.read();
        await isSlow;
        return body;
      },
    });
    await Promise.resolve();
    await Promise.resolve();
    it.change(2);
    const fast = await known.read(it.request('list'));
    goOn();
    expect((await slow).headers.ETag).toBe(etagOf({ value: 1 }));
    const { reads } = it.state;
    expect(await known.read(it.request('list', fast.headers.ETag))).toMatchObject({ status: 304 });
    expect(await known.read(it.request('list', etagOf({ value: 1 })))).toMatchObject({ status: 200 });
    expect(it.state.reads).toBe(reads + 1);
  });

  it('are kept apart by scope and name', async () => {
    const known = createKnownEtags();
    const [mine, theirs] = [thing('ada'), thing('otto')];
    theirs.state.body = { value: 9 };
    const { headers } = await known.read(mine.request('list'));
    expect(await known.read(theirs.request('list', headers.ETag))).toMatchObject({ status: 200 });
    expect(await known.read(mine.request('other', '*'))).toMatchObject({ status: 304 });
    expect(mine.state.reads).toBe(2);
  });

  it('are forgotten, the one asked for longest ago first', async () => {
    const known = createKnownEtags({ maxEtags: 2 });
    const it = thing();
    for (const name of ['a', 'b', 'a', 'c']) await known.read(it.request(name, '*'));
    expect(it.state.reads).toBe(3);
    await known.read(it.request('a', '*'));
    expect(it.state.reads).toBe(3);
    await known.read(it.request('b', '*'));
    expect(it.state.reads).toBe(4);
  });
});
