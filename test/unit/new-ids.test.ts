import { validate, version } from 'uuid';
import { describe, expect, it } from 'vitest';
import { newId } from '../../domain/new-ids.ts';

describe('newId', () => {
  it('makes ids of version 7 that differ and sort as they were made, across many pools of random bytes', () => {
    const before = Date.now();
    const ids = Array.from({ length: 20_000 }, newId);
    expect(ids.every((id) => validate(id) && version(id) === 7)).toBe(true);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.toSorted()).toEqual(ids);
    const madeAt = Number.parseInt(ids[0]?.replaceAll('-', '').slice(0, 12) ?? '', 16);
    expect(madeAt).toBeGreaterThanOrEqual(before);
    expect(madeAt).toBeLessThanOrEqual(Date.now());
  });
});
