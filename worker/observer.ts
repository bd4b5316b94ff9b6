/** What the duties report, as log lines (metrics.ts has the numbers): runs at debug, changes of the acting instance at info, trouble at warn. */
import type { Log } from '../domain/deps.ts';
import type { DutyObserver } from './duties/duty.ts';
import type { QueueLag } from './duties/lag-report.ts';

/** A queue whose oldest row has waited this long is worth a warning, seconds. */
const WARN_AFTER_SECONDS = 30;

export function createDutyObserver(log: Log): DutyObserver {
  return {
    held: (duty, isHeld) => log.info({ event: isHeld ? 'duty_taken' : 'duty_left', duty }),
    ran: (duty, { count, durationMs }) => {
      if (count > 0) log.debug({ event: 'duty_ran', duty, count, durationMs: Math.round(durationMs) });
    },
    failed: (duty, error) => log.warn({ event: 'duty_failed', duty, err: error }),
  };
}

export const createLagReporter =
  (log: Log) =>
  (lag: QueueLag): void => {
    if (lag.oldestSeconds > WARN_AFTER_SECONDS) log.warn({ event: 'queue_behind', ...lag });
    else log.debug({ event: 'queue_lag', ...lag });
  };

/** Tell several observers. */
export const combineObservers = (...observers: readonly DutyObserver[]): DutyObserver => ({
  held: (duty, isHeld) => observers.forEach((observer) => observer.held(duty, isHeld)),
  ran: (duty, facts) => observers.forEach((observer) => observer.ran(duty, facts)),
  failed: (duty, error) => observers.forEach((observer) => observer.failed(duty, error)),
});

export const combineReports =
  (...reports: readonly ((lag: QueueLag) => void)[]) =>
  (lag: QueueLag): void =>
    reports.forEach((report) => report(lag));
