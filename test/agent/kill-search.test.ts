/** The kill rule where not everything under /proc can be read. */
import { randomUUID } from 'node:crypto';
import { beforeEach, expect, test, vi } from 'vitest';
import { killCommand } from '../../agent/kill.ts';

/** What reading a file of the only other process there is fails with. */
let failure = '';
let searches = 0;
beforeEach(() => {
  searches = 0;
});

vi.mock('node:fs', async (importOriginal) => {
  const fs = await importOriginal<typeof import('node:fs')>();
  const pid = '4194304'; // Above the highest that Linux gives out.
  return {
    ...fs,
    readdirSync: (path: string) => {
      if (path !== '/proc') return fs.readdirSync(path);
      searches += 1;
      return [pid];
    },
    readFileSync: (path: string, encoding: BufferEncoding) => {
      if (!path.startsWith(`/proc/${pid}/`)) return fs.readFileSync(path, encoding);
      throw Object.assign(new Error(`${failure}: ${path}`), { code: failure });
    },
  };
});

const kill = (): Promise<number> =>
  killCommand({ commandId: randomUUID(), pid: null, processStart: null }, { deadlineMs: 30_000 });

test.runIf(process.platform === 'linux')('what is hidden from the agent for good delays no end', async () => {
  for (failure of ['EPERM', 'EACCES']) expect(await kill()).toBe(0);
  expect(searches).toBe(4);
});

test.runIf(process.platform === 'linux')('what was there and is gone is doubted for a while', async () => {
  failure = 'ENOENT';
  expect(await kill()).toBe(0);
  expect(searches).toBeGreaterThan(2);
});
