/** The rings of metrics: samples of an agent, bounded by the length of the ring. `writePresence` fills them. */
import { METRICS_STEPS, type MetricsResolution } from '../contracts/agent-metrics.ts';
import { type Queryable, query } from './database.ts';

export interface MetricsSampleRow {
  at: Date;
  cpuPercent: number | null;
  memoryPercent: number | null;
  diskPercent: number | null;
  cpuPercentMax: number | null;
  memoryPercentMax: number | null;
  diskPercentMax: number | null;
}

/** Oldest first. What is older than the ring is long stays until it is written over, and is left out. */
export function listMetrics(
  db: Queryable,
  agentId: string,
  resolution: MetricsResolution,
): Promise<MetricsSampleRow[]> {
  const { seconds, slots } = METRICS_STEPS[resolution];
  const max = resolution === 'fine' ? '' : '_max';
  return query<MetricsSampleRow>(
    db,
    `select to_timestamp(bucket * ${seconds}) as at, cpu_percent as "cpuPercent",
            memory_percent as "memoryPercent", disk_percent as "diskPercent",
            cpu_percent${max} as "cpuPercentMax", memory_percent${max} as "memoryPercentMax",
            disk_percent${max} as "diskPercentMax"
     from agent_metrics_${resolution}
     where agent_id = :agent_id and bucket > extract(epoch from now()) / ${seconds} - ${slots}
     order by bucket`,
    { agent_id: agentId },
  );
}
