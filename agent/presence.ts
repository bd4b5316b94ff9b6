/**
 * Host metrics for presence frames, from node:os and /proc. What a system does not tell is null or empty.
 */
import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { cpus, freemem, loadavg, totalmem, uptime } from 'node:os';
import type { AgentMetrics } from '../contracts/agent-protocol.ts';
import { listPids } from './proc.ts';

/** Disks reported at most. */
const MAX_DISKS = 16;
/** Longest mount point that the protocol takes, characters. */
const MAX_MOUNT_LENGTH = 512;
/** A file system that does not answer (a dead network mount) is left out after this time, milliseconds. */
const STATFS_DEADLINE_MS = 1_000;
const onWindows = process.platform === 'win32';

interface CpuTimes {
  busy: number;
  total: number;
}

const cpuTimes = (): CpuTimes => {
  let busy = 0;
  let total = 0;
  for (const { times } of cpus()) {
    const all = times.user + times.nice + times.sys + times.irq + times.idle;
    total += all;
    busy += all - times.idle;
  }
  return { busy, total };
};

const readText = (path: string): string | null => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
};

/** Free memory counts caches as free where the system says how much could be freed. */
const usedMemory = (): number => {
  const available = /^MemAvailable:\s+(\d+) kB/m.exec(readText('/proc/meminfo') ?? '')?.[1];
  return totalmem() - (available === undefined ? freemem() : Number(available) * 1024);
};

/** Mount points of local block devices, each device once. */
const mountPoints = (): string[] => {
  const mounts = new Map<string, string>();
  for (const line of (readText('/proc/mounts') ?? '').split('\n')) {
    const [device, mount] = line.split(' ');
    if (mount === undefined || device === undefined) continue;
    if ((device.startsWith('/dev/') && !device.startsWith('/dev/loop')) || mount === '/') {
      if (!mounts.has(device)) mounts.set(device, mount.replaceAll('\\040', ' '));
    }
  }
  const points = [...mounts.values()].slice(0, MAX_DISKS);
  return points.length > 0 ? points : [onWindows ? 'C:\\' : '/'];
};

async function disks(): Promise<AgentMetrics['disks']> {
  const read = async (mount: string) => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), STATFS_DEADLINE_MS);
    });
    const facts = await Promise.race([statfs(mount).catch(() => null), late]);
    clearTimeout(timer);
    if (facts === null) return [];
    const totalBytes = facts.blocks * facts.bsize;
    return [
      {
        mount: mount.slice(0, MAX_MOUNT_LENGTH),
        totalBytes,
        usedBytes: totalBytes - facts.bfree * facts.bsize,
      },
    ];
  };
  return (await Promise.all(mountPoints().map(read))).flat();
}

const networkBytes = (): { received: number; sent: number } | null => {
  const text = readText('/proc/net/dev');
  if (text === null) return null;
  let received = 0;
  let sent = 0;
  for (const line of text.split('\n').slice(2)) {
    const [name, rest] = line.split(':');
    if (rest === undefined || name?.trim() === 'lo') continue;
    const fields = rest.trim().split(/\s+/).map(Number);
    received += fields[0] ?? 0;
    sent += fields[8] ?? 0;
  }
  return { received, sent };
};

/** A reader of host metrics; CPU use is that since its last call (since its creation at first). */
export function createMetricsReader(): () => Promise<AgentMetrics> {
  let before = cpuTimes();
  return async () => {
    const now = cpuTimes();
    const elapsed = now.total - before.total;
    // Times of a processor that is taken away or given back go back as well.
    const busy = Math.max(0, now.busy - before.busy);
    const cpuPercent = elapsed > 0 ? Math.round((busy / elapsed) * 1000) / 10 : null;
    before = now;
    const network = networkBytes();
    const processCount = listPids().length;
    return {
      cpuPercent,
      loadAverage: onWindows ? null : (loadavg()[0] ?? null),
      memoryTotalBytes: totalmem(),
      memoryUsedBytes: usedMemory(),
      disks: await disks(),
      networkReceivedBytes: network?.received ?? null,
      networkSentBytes: network?.sent ?? null,
      processCount: processCount === 0 ? null : processCount,
      uptimeSeconds: Math.round(uptime()),
    };
  };
}
