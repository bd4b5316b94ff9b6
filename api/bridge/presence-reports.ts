/**
 * What agents say of themselves, stored together: the latest report of each, one statement a second whatever the fleet.
 */
import { type PresencePort, type PresenceReport, recordPresence } from '../../domain/agents/presence.ts';
import type { DomainDeps, Log } from '../../domain/deps.ts';

/** Reports are stored this often, milliseconds. */
const FLUSH_INTERVAL_MS = 1_000;

export interface PresenceReports extends PresencePort {
  /** The socket at this epoch is gone: what it said last is not stored any more. */
  forget(agentId: string, epoch: number): void;
  /** Resolves when everything that is being stored now is stored, or was given up. Never rejects. */
  stored(): Promise<void>;
  /** Store what is left. Never rejects. */
  close(): Promise<void>;
}

export function createPresenceReports({
  domain,
  bridgeId,
  log,
}: {
  domain: DomainDeps;
  bridgeId: string;
  log: Log;
}): PresenceReports {
  const latest = new Map<string, PresenceReport>();
  let storing: Promise<void> | undefined;

  const flush = (): void => {
    // One at a time: a database that is slow gets fewer and larger statements, not more of them.
    if (latest.size === 0 || storing !== undefined) return;
    const reports = [...latest.values()];
    latest.clear();
    storing = recordPresence(domain, bridgeId, reports)
      .catch((error: unknown) => log.error({ event: 'presence_not_stored', err: error }))
      .finally(() => {
        storing = undefined;
      });
  };

  const timer = setInterval(flush, FLUSH_INTERVAL_MS);
  return {
    add: (report) => void latest.set(report.agentId, merge(latest.get(report.agentId), report)),
    forget(agentId, epoch) {
      if (latest.get(agentId)?.epoch === epoch) latest.delete(agentId);
    },
    stored: () => storing ?? Promise.resolve(),
    async close() {
      clearInterval(timer);
      await storing;
      flush();
      await storing;
    },
  };
}

/** What the newer one does not tell stays; a heartbeat over HTTP does not speak for the socket. */
function merge(older: PresenceReport | undefined, newer: PresenceReport): PresenceReport {
  if (older === undefined) return newer;
  const socket = newer.epoch === null ? older : newer;
  return {
    ...socket,
    metrics: newer.metrics ?? older.metrics,
    systemInfo: newer.systemInfo ?? older.systemInfo ?? null,
  };
}
