import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSpool, restoreSpool } from '../../agent/spool.ts';
import { sha256 } from '../support/scripted-bridge.ts';

describe('spool', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'steelthread-spool-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));
  const path = (): string => join(directory, 'x.stdout');

  test('small output needs no file, large output reads the same from every offset', () => {
    const spool = createSpool({ path: path(), capBytes: 1000, memoryBytes: 100 });
    const bytes = Buffer.from(Array.from({ length: 1200 }, (_, index) => index % 251));
    spool.append(bytes.subarray(0, 90));
    expect(existsSync(path())).toBe(false);
    expect(spool.memoryBase64()).toBe(bytes.subarray(0, 90).toString('base64'));
    for (let at = 90; at < 1200; at += 37) spool.append(bytes.subarray(at, Math.min(at + 37, 1200)));
    expect(existsSync(path())).toBe(true);
    expect(spool.memoryBase64()).toBeNull();
    const kept = bytes.subarray(0, 1000);
    for (const offset of [0, 1, 99, 100, 500, 999]) {
      expect(spool.read(offset, 64).equals(kept.subarray(offset, offset + 64))).toBe(true);
    }
    expect(spool.read(1000, 10)).toHaveLength(0);
    expect(spool.summary()).toEqual({ bytes: 1000, totalBytes: 1200, sha256: sha256(kept), truncated: true });
    spool.close();
    const restored = restoreSpool(path(), undefined);
    expect(restored.summary()).toMatchObject({ bytes: 1000, sha256: sha256(kept) });
    restored.discard();
    expect(existsSync(path())).toBe(false);
  });

  test('one chunk larger than the memory goes to the file at once', () => {
    const spool = createSpool({ path: path(), capBytes: 1000, memoryBytes: 100 });
    spool.append(Buffer.alloc(500, 'a'));
    expect(existsSync(path())).toBe(true);
    expect(spool.read(450, 100).toString()).toBe('a'.repeat(50));
    spool.discard();
  });

  test('a disk that refuses is told and flagged, and what was kept stays readable', () => {
    const errors: unknown[] = [];
    const spool = createSpool({
      path: join(directory, 'missing', 'x'),
      capBytes: 1000,
      memoryBytes: 100,
      onDiskError: (error) => errors.push(error),
    });
    spool.append(Buffer.alloc(80, 'a'));
    spool.append(Buffer.alloc(80, 'b'));
    spool.append(Buffer.alloc(10, 'c'));
    expect(errors).toHaveLength(1);
    expect(spool.summary()).toEqual({
      bytes: 80,
      totalBytes: 170,
      sha256: sha256(Buffer.alloc(80, 'a')),
      truncated: true,
    });
    expect(spool.read(0, 100).toString()).toBe('a'.repeat(80));
  });
});
