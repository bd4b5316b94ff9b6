/** What this process and its machine use up. */
import { cpus } from 'node:os';

export interface Resources {
  /** Of the machine, percent since the reading before, or since the reader was made. */
  cpuPercent: number;
  /** Memory of this process, bytes. */
  ramBytes: number;
}

/** Two readings of the CPU times closer than this say nothing, milliseconds. */
const MIN_CPU_SPAN_MS = 250;

export function createResourceReader(): () => Resources {
  let before = { ...cpuTimes(), at: performance.now() };
  let cpuPercent = 0;
  return () => {
    if (performance.now() - before.at >= MIN_CPU_SPAN_MS) {
      const now = { ...cpuTimes(), at: performance.now() };
      const total = now.total - before.total;
      cpuPercent = total <= 0 ? 0 : Math.round(((now.busy - before.busy) / total) * 1_000) / 10;
      before = now;
    }
    return { cpuPercent, ramBytes: process.memoryUsage.rss() };
  };
}

function cpuTimes(): { busy: number; total: number } {
  let busy = 0;
  let total = 0;
  for (const { times } of cpus()) {
    const all = times.user + times.nice + times.sys + times.irq + times.idle;
    total += all;
    busy += all - times.idle;
  }
  return { busy, total };
}
