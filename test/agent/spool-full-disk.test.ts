/** Output that a full disk took only a part of, after the agent was started again. */
import { existsSync, mkdtempSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test, vi } from 'vitest';
import { createSpool, restoreSpool } from '../../agent/spool.ts';
import { sha256 } from '../support/scripted-bridge.ts';

vi.mock('node:fs', async (importOriginal) => {
  const fs = await importOriginal<typeof import('node:fs')>();
  return { ...fs, writeSync: vi.fn(fs.writeSync) };
});

const directory = mkdtempSync(join(tmpdir(), 'steelthread-full-disk-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const bytes = Buffer.from('0123456789');

test('a spill that failed half way leaves no file behind', () => {
  const path = join(directory, 'spilled');
  const spool = createSpool({ path, capBytes: 1000 });
  spool.append(bytes);
  vi.mocked(writeSync)
    .mockImplementationOnce((fd) => {
      writeFileSync(fd, bytes.subarray(0, 4));
      return 4;
    })
    .mockImplementationOnce(() => {
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    });
  spool.spill();
  expect(existsSync(path)).toBe(false);
  expect(spool.memoryBase64()).toBe(bytes.toString('base64'));
});

test('saved bytes are all there is: a file beside them is a part', () => {
  const path = join(directory, 'restored');
  writeFileSync(path, bytes.subarray(0, 4));
  const restored = restoreSpool(path, bytes.toString('base64'));
  expect(restored.summary()).toMatchObject({ bytes: 10, sha256: sha256(bytes) });
  expect(restored.read(0, 100).toString()).toBe('0123456789');
});
