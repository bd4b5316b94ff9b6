/** What agents say of themselves between hello and goodbye. */
import { OFFLINE_AFTER_MS } from '../../contracts/agents.ts';
import { type PresenceReport, releaseSilentConnections, writePresence } from '../../db/agent-connections.ts';
import type { DomainDeps } from '../deps.ts';
import { transact } from '../transact.ts';
import { plainText } from './plain-text.ts';

export type { PresenceReport };

/** More commands than any agent runs; the column is a 32-bit integer. */
const MAX_RUNNING = 1_000_000;

/** Store presence reports of one bridge, set-based. */
export async function recordPresence(
  deps: DomainDeps,
  bridgeId: string,
  reports: readonly PresenceReport[],
): Promise<void> {
  await writePresence(deps.db, bridgeId, reports.map(storable));
}

/** One agent's odd report must not keep those of the others from being stored. */
const storable = (report: PresenceReport): PresenceReport => ({
  ...report,
  running: Math.min(report.running, MAX_RUNNING),
  metrics: report.metrics && {
    ...report.metrics,
    disks: report.metrics.disks.map((disk) => ({ ...disk, mount: plainText(disk.mount) })),
  },
});

/** Release the connections of bridges that died without saying so. Returns how many. */
export async function sweepPresence(deps: DomainDeps): Promise<number> {
  return transact(deps, async (unit) => {
    const agents = await releaseSilentConnections(unit.trx, OFFLINE_AFTER_MS);
    for (const agentId of agents) unit.emit('agent.disconnected', { agentId, data: { reason: 'silent' } });
    return agents.length;
  });
}
