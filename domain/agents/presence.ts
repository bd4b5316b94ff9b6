/** What agents say of themselves between hello and goodbye, by their socket or by heartbeats over HTTP. */
import type { AgentMetrics } from '../../contracts/agent-protocol.ts';
import { OFFLINE_AFTER_MS } from '../../contracts/agents.ts';
import { releaseSilentConnections } from '../../db/agent-connections.ts';
import { markSilentOffline, type PresenceRow, writePresence } from '../../db/agent-presence.ts';
import type { DomainDeps } from '../deps.ts';
import { transact } from '../transact.ts';
import { plainText } from './plain-text.ts';
import { sharesOfSystemInfo, storableSystemInfo } from './system-info.ts';

/** A word of an agent; `epoch` is null where it came over HTTP. */
export interface PresenceReport {
  agentId: string;
  epoch: number | null;
  journalSeq: number;
  running: number;
  draining: boolean;
  metrics: AgentMetrics | null;
  /** What agents of other dialects say of their machine, as they say it. */
  systemInfo?: Readonly<Record<string, unknown>> | null;
}

/** Takes reports and stores them together, once a second whatever the fleet; the latest of each agent counts. */
export interface PresencePort {
  add(report: PresenceReport): void;
}

/** More commands than any agent runs; the column is a 32-bit integer. */
const MAX_RUNNING = 1_000_000;
/** Above this a share is no share. */
const MAX_PERCENT = 1_000;

/** Store presence reports of one bridge, set-based; at most one an agent. Tells who came online by it. */
export async function recordPresence(
  deps: DomainDeps,
  bridgeId: string,
  reports: readonly PresenceReport[],
): Promise<void> {
  await transact(deps, async (unit) => {
    const risen = await writePresence(unit.trx, bridgeId, reports.map(storable));
    for (const agentId of risen) unit.emit('agent.online', { agentId, data: {} });
  });
}

/** A heartbeat over HTTP: whoever sends it has no socket, so it says nothing of what runs. */
export const heartbeatOf = (
  agentId: string,
  systemInfo: Readonly<Record<string, unknown>> | null,
): PresenceReport => ({
  agentId,
  epoch: null,
  journalSeq: 0,
  running: 0,
  draining: false,
  metrics: null,
  systemInfo,
});

/** One agent's odd report must not keep those of the others from being stored. */
function storable(report: PresenceReport): PresenceRow {
  const systemInfo = report.systemInfo == null ? null : storableSystemInfo(report.systemInfo);
  const metrics = report.metrics && {
    ...report.metrics,
    disks: report.metrics.disks.map((disk) => ({ ...disk, mount: plainText(disk.mount) })),
  };
  const shares = systemInfo === null ? NO_SHARES : sharesOfSystemInfo(systemInfo);
  return {
    agentId: report.agentId,
    epoch: report.epoch,
    journalSeq: report.journalSeq,
    running: Math.min(report.running, MAX_RUNNING),
    draining: report.draining,
    metrics,
    systemInfo,
    ...(metrics === null ? shares : sharesOf(metrics)),
  };
}

type Shares = Pick<PresenceRow, 'cpuPercent' | 'memoryPercent' | 'diskPercent'>;

const NO_SHARES: Shares = { cpuPercent: null, memoryPercent: null, diskPercent: null };

function sharesOf(metrics: AgentMetrics): Shares {
  const disks = metrics.disks.flatMap((disk) => shareOf(disk.usedBytes, disk.totalBytes) ?? []);
  return {
    cpuPercent: metrics.cpuPercent === null ? null : Math.min(metrics.cpuPercent, MAX_PERCENT),
    memoryPercent: shareOf(metrics.memoryUsedBytes, metrics.memoryTotalBytes),
    diskPercent: disks.length === 0 ? null : Math.max(...disks),
  };
}

function shareOf(used: number | null, total: number | null): number | null {
  if (used === null || total === null || total <= 0) return null;
  return Math.min(Math.max((used / total) * 100, 0), MAX_PERCENT);
}

/**
 * Release the connections of bridges that died without saying so, and tell which agents are offline now. Returns how
 * many of both.
 */
export async function sweepPresence(deps: DomainDeps): Promise<number> {
  return transact(deps, async (unit) => {
    const released = await releaseSilentConnections(unit.trx, OFFLINE_AFTER_MS);
    for (const agentId of released) unit.emit('agent.disconnected', { agentId, data: { reason: 'silent' } });
    const silent = await markSilentOffline(unit.trx, OFFLINE_AFTER_MS);
    for (const agentId of silent) unit.emit('agent.offline', { agentId, data: {} });
    return released.length + silent.length;
  });
}
