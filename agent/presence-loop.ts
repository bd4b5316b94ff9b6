/**
 * Sends presence frames while the socket is open.
 */
import type { Commands } from './commands.ts';
import type { Journal } from './journal.ts';
import type { Link } from './link.ts';
import { type AgentLog, errorText } from './log.ts';
import { createMetricsReader } from './presence.ts';

export interface PresenceLoop {
  /** A welcome: report now and then every `intervalMs`. */
  begin(intervalMs: number): void;
  /** Report once, out of turn; asked again while one is under way, that one counts. */
  report(): void;
  pause(): void;
}

export function startPresence(deps: {
  link: Link;
  journal: Journal;
  commands: Commands;
  metrics: boolean;
  log: AgentLog;
}): PresenceLoop {
  const readMetrics = deps.metrics ? createMetricsReader() : null;
  let timer: NodeJS.Timeout | null = null;
  const pause = (): void => {
    if (timer !== null) clearInterval(timer);
    timer = null;
  };
  const report = async (): Promise<void> => {
    const metrics = readMetrics === null ? null : await readMetrics();
    const { link, journal, commands } = deps;
    link.send({ type: 'presence', journalSeq: journal.seq(), running: commands.runningCount(), metrics });
  };
  let reporting = false;
  const reportSafely = (): void => {
    if (reporting) return;
    reporting = true;
    report()
      .catch((error: unknown) => deps.log.warn('presence_failed', { err: errorText(error) }))
      .finally(() => {
        reporting = false;
      });
  };
  return {
    begin: (intervalMs) => {
      pause();
      timer = setInterval(reportSafely, Math.max(1_000, intervalMs));
      reportSafely();
    },
    report: reportSafely,
    pause,
  };
}
