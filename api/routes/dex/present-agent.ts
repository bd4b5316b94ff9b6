/** Agents in the words of dex clients. */
import type { AgentMetrics } from '../../../contracts/agent-protocol.ts';
import type { DexAgent, DexAgentStatus } from '../../../contracts/families/dex/agents.ts';
import type { AgentRow } from '../../../domain/agents/registry.ts';

/** A heartbeat counts as recent, and as stale, up to this age, seconds. */
const RECENT_SECONDS = 30;
const STALE_SECONDS = 60;

/** It has a socket, and was heard of lately. */
const isConnected = (agent: AgentRow): boolean => agent.status === 'online' || agent.status === 'draining';

export const presentDexAgent = (agent: AgentRow): DexAgent => ({
  id: agent.id,
  hostname: agent.hostname,
  ip: agent.address,
  os: agent.os,
  version: agent.version,
  status: agent.isAlive ? 'online' : 'offline',
  last_seen: agent.lastSeenAt?.toISOString() ?? null,
  tags: agent.tags,
  // What it measures goes before what it said in another dialect, or what a client has read here and sent back.
  system_info: systemInfoOf(agent) ?? agent.systemInfo,
  connection_id: isConnected(agent) && agent.epoch !== null ? `${agent.id}:${agent.epoch}` : null,
  is_connected: isConnected(agent),
});

/** Of agents that speak our protocol: their metrics under the names that these clients read. */
function systemInfoOf({ hostname, os, arch, metrics }: AgentRow): Record<string, unknown> | null {
  if (metrics === null) return null;
  return {
    hostname,
    os_version: os,
    architecture: arch,
    cpu_usage: metrics.cpuPercent,
    memory_usage: percentOf(metrics.memoryUsedBytes, metrics.memoryTotalBytes),
    disk_usage: diskUsageOf(metrics),
    uptime: metrics.uptimeSeconds,
  };
}

const diskUsageOf = ({ disks }: AgentMetrics): Record<string, number | null> =>
  Object.fromEntries(disks.map((disk) => [disk.mount, percentOf(disk.usedBytes, disk.totalBytes)]));

function percentOf(used: number | null, total: number | null): number | null {
  return used === null || total === null || total <= 0 ? null : Math.round((used / total) * 1000) / 10;
}

export function presentDexStatus(agent: AgentRow): DexAgentStatus {
  const seconds = agent.secondsSinceSeen;
  const heartbeat = heartbeatStatusOf(seconds);
  const hasSocket = agent.epoch !== null;
  const isRecent = heartbeat === 'recent';
  return {
    agent_id: agent.id,
    overall_status: hasSocket && isRecent ? 'online' : hasSocket || agent.isAlive ? 'warning' : 'offline',
    websocket_connected: hasSocket,
    heartbeat_status: heartbeat,
    seconds_since_heartbeat: seconds === null ? null : Math.round(seconds * 10) / 10,
    last_seen: agent.lastSeenAt?.toISOString() ?? null,
    agent_data: presentDexAgent(agent),
  };
}

function heartbeatStatusOf(seconds: number | null): DexAgentStatus['heartbeat_status'] {
  if (seconds === null) return 'unknown';
  if (seconds < RECENT_SECONDS) return 'recent';
  return seconds < STALE_SECONDS ? 'stale' : 'offline';
}
