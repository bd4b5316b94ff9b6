/** The machine that this process runs on, in numbers. */
import { readFile, statfs } from 'node:fs/promises';
import { freemem, hostname, release, totalmem, type } from 'node:os';
import type { ReadResources } from '../domain/stats/stats.ts';

export interface HostReport {
  hostname: string;
  osVersion: string;
  /** Percent since the report before, or since the reader was made. */
  cpuPercent: number;
  memoryPercent: number;
  /** Percent by mount; a file system that does not answer in time is left out. */
  diskPercents: Record<string, number>;
}

const STATFS_DEADLINE_MS = 1_000;
const MAX_DISKS = 16;

export function createHostReader(readResources: ReadResources): () => Promise<HostReport> {
  return async () => {
    const { cpuPercent } = readResources();
    const mounts = await listMounts();
    const disks = await Promise.all(mounts.map(async (mount) => [mount, await diskPercent(mount)] as const));
    return {
      hostname: hostname(),
      osVersion: `${type()} ${release()}`,
      cpuPercent,
      memoryPercent: percent(totalmem() - (await availableMemory()), totalmem()),
      diskPercents: Object.fromEntries(
        disks.flatMap(([mount, used]) => (used === null ? [] : [[mount, used]])),
      ),
    };
  };
}

/** Caches count as free where the system says how much could be freed. */
async function availableMemory(): Promise<number> {
  const available = /^MemAvailable:\s+(\d+) kB/m.exec(await readText('/proc/meminfo'))?.[1];
  return available === undefined ? freemem() : Number(available) * 1024;
}

/** Mount points of local block devices, each device once; where the system does not list them, its root. */
async function listMounts(): Promise<string[]> {
  const byDevice = new Map<string, string>();
  for (const line of (await readText('/proc/mounts')).split('\n')) {
    const [device = '', mount] = line.split(' ');
    if (mount === undefined || byDevice.has(device)) continue;
    const isDisk = device.startsWith('/dev/') && !device.startsWith('/dev/loop');
    if (isDisk || mount === '/') byDevice.set(device, mount.replaceAll('\\040', ' '));
  }
  const mounts = [...byDevice.values()].slice(0, MAX_DISKS);
  return mounts.length > 0 ? mounts : [process.platform === 'win32' ? 'C:\\' : '/'];
}

async function diskPercent(mount: string): Promise<number | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), STATFS_DEADLINE_MS);
  });
  const facts = await Promise.race([statfs(mount).catch(() => null), late]);
  clearTimeout(timer);
  return facts === null || facts.blocks === 0 ? null : percent(facts.blocks - facts.bfree, facts.blocks);
}

const readText = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

const percent = (part: number, whole: number): number =>
  whole <= 0 ? 0 : Math.round((part / whole) * 1000) / 10;
