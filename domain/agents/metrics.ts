/** The history of an agent's metrics, for charts. */
import { METRICS_STEPS, type MetricsHistory, type MetricsResolution } from '../../contracts/agent-metrics.ts';
import { listMetrics } from '../../db/agent-metrics.ts';
import type { Actor, DomainDeps } from '../deps.ts';
import { getAgent } from './registry.ts';

/** @throws forbidden, agent_not_found */
export async function readMetricsHistory(
  deps: DomainDeps,
  actor: Actor,
  agentId: string,
  resolution: MetricsResolution,
): Promise<MetricsHistory> {
  await getAgent(deps, actor, agentId);
  const samples = await listMetrics(deps.db, agentId, resolution);
  return {
    agentId,
    resolution,
    stepSeconds: METRICS_STEPS[resolution].seconds,
    samples: samples.map((sample) => ({ ...sample, at: sample.at.toISOString() })),
  };
}
