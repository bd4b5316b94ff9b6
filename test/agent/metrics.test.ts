/** Metrics of a machine that is not as usual: the server must be able to read them all the same. */
import { expect, test, vi } from 'vitest';
import { createMetricsReader } from '../../agent/presence.ts';
import { metricsSchema } from '../../contracts/agent-protocol.ts';

const odd = vi.hoisted(() => ({ mount: `/${'m'.repeat(600)}`, user: 1_000, idle: 1_000 }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  const readFileSync = (path: string, encoding: 'utf8'): string =>
    path === '/proc/mounts' ? `/dev/odd ${odd.mount} ext4 rw 0 0\n` : fs.readFileSync(path, encoding);
  return { ...fs, readFileSync };
});
vi.mock('node:fs/promises', async (original) => ({
  ...(await original<typeof import('node:fs/promises')>()),
  statfs: async () => ({ blocks: 10, bsize: 1, bfree: 4 }),
}));
vi.mock('node:os', async (original) => ({
  ...(await original<typeof import('node:os')>()),
  cpus: () => [{ times: { user: odd.user, nice: 0, sys: 0, irq: 0, idle: odd.idle } }],
}));

test('a mount point with a long name, and processor time that goes back', async () => {
  const read = createMetricsReader();
  odd.user -= 10;
  odd.idle += 1_000;
  const metrics = metricsSchema.parse(await read());
  expect(metrics).toMatchObject({
    cpuPercent: 0,
    disks: [{ mount: odd.mount.slice(0, 512), totalBytes: 10, usedBytes: 6 }],
  });
});
