/** What the dialects' agents say of their machine, as far as it can be said in bytes and percent. */
import type { AgentMetrics } from '../../../contracts/agent-protocol.ts';
import { type Fields, fieldsOf, firstGiven, numberOf } from './json.ts';

/** Null when nothing of it can be shown. Shares of memory and disks without a size are not invented into bytes. */
export function readMetrics(info: Fields | undefined): AgentMetrics | null {
  if (info === undefined) return null;
  const memory = fieldsOf(info.memory);
  const metrics: AgentMetrics = {
    cpuPercent: positive(firstGiven(info.cpu_percent, info.cpu_usage, fieldsOf(info.cpu)?.percent)),
    loadAverage: positive(firstGiven(info.load_average, info.loadavg)),
    memoryTotalBytes: positive(firstGiven(info.memory_total, memory?.total)),
    memoryUsedBytes: positive(firstGiven(info.memory_used, memory?.used)),
    disks: [],
    networkReceivedBytes: positive(firstGiven(info.network_received, info.bytes_recv)),
    networkSentBytes: positive(firstGiven(info.network_sent, info.bytes_sent)),
    processCount: positive(firstGiven(info.process_count, info.processes)),
    uptimeSeconds: positive(firstGiven(info.uptime_seconds, info.uptime)),
  };
  return Object.values(metrics).some((value) => typeof value === 'number') ? metrics : null;
}

const positive = (value: unknown): number | null => {
  const number = numberOf(value);
  return number === undefined || number < 0 ? null : number;
};
