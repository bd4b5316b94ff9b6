/** What agents say of themselves, stored together now and then: the latest report of each. */
import { type PresenceReport, recordPresence } from '../../domain/agents/presence.ts';
import type { DomainDeps, Log } from '../../domain/deps.ts';

/** Reports are stored this often, milliseconds. */
const FLUSH_INTERVAL_MS = 5_000;

export interface PresenceReports {
  add(report: PresenceReport): void;
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
  let storing: Promise<void> = Promise.resolve();

  const flush = (): void => {
    if (latest.size === 0) return;
    const reports = [...latest.values()];
    latest.clear();
    const before = storing;
    storing = recordPresence(domain, bridgeId, reports)
      .catch((error: unknown) => log.error({ event: 'presence_not_stored', err: error }))
      .then(() => before);
  };

  const timer = setInterval(flush, FLUSH_INTERVAL_MS);
  return {
    add: (report) => void latest.set(report.agentId, report),
    forget(agentId, epoch) {
      if (latest.get(agentId)?.epoch === epoch) latest.delete(agentId);
    },
    stored: () => storing,
    close() {
      clearInterval(timer);
      flush();
      return storing;
    },
  };
}
