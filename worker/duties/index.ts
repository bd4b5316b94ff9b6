/** Every standing duty, started together. */
import type { LockSession } from '../../db/advisory-lock.ts';
import type { DomainDeps } from '../../domain/deps.ts';
import type { UrlAgentDeps } from '../../domain/url-agents/deps.ts';
import type { TemporalClient } from '../../temporal/connection.ts';
import type { OutboxDispatcher } from '../../temporal/dispatcher.ts';
import type { WorkerMetrics } from '../metrics.ts';
import { combineObservers, combineReports, createDutyObserver, createLagReporter } from '../observer.ts';
import { alertRetention, alertRounds } from './alerts.ts';
import { attemptRetention } from './attempt-retention.ts';
import { autopilotTick } from './autopilot-tick.ts';
import { commandExpiry } from './command-expiry.ts';
import { startDuty } from './duty.ts';
import { eventRetention } from './event-retention.ts';
import { idempotencyRetention } from './idempotency-retention.ts';
import { lagReport } from './lag-report.ts';
import { outboxDrainer } from './outbox-drainer.ts';
import { presenceSweep } from './presence-sweep.ts';
import { reconciler } from './reconciler.ts';
import { rolloutReconciler } from './rollout-reconciler.ts';
import { scheduleRetention } from './schedule-retention.ts';
import { type ScheduleSweepDeps, scheduleSweep } from './schedule-sweep.ts';
import { sealer } from './sealer.ts';
import { sessionRetention } from './session-retention.ts';
import { statsSnapshot } from './stats.ts';
import { taskArchival } from './task-archival.ts';
import { terminalRetention } from './terminal-retention.ts';
import { terminalSweep } from './terminal-sweep.ts';
import { urlAgentProbe } from './url-agent-probe.ts';
import { webhookFeed, webhookRepair } from './webhook-feed.ts';
import { webhookRetention } from './webhook-retention.ts';

export interface DutiesDeps {
  domain: DomainDeps;
  temporal: TemporalClient;
  dispatcher: OutboxDispatcher;
  /** One session carries the locks of all duties of a process. */
  locks: LockSession;
  metrics: WorkerMetrics;
  schedules: Omit<ScheduleSweepDeps, 'domain'>;
  urlAgents: Omit<UrlAgentDeps, keyof DomainDeps>;
  /** How long ended terminals are kept, milliseconds. */
  terminalRetentionMs: number;
}

export interface Duties {
  /** Run this duty as soon as possible. */
  wake(name: string): void;
  close(): Promise<void>;
}

export function startDuties(deps: DutiesDeps): Duties {
  const { domain, temporal, dispatcher, locks, metrics, schedules } = deps;
  const { db, log } = domain;
  const how = { locks, observer: combineObservers(createDutyObserver(log), metrics.observer) };
  const running = [
    startDuty(outboxDrainer, { dispatcher }, how),
    startDuty(commandExpiry, domain, how),
    startDuty(reconciler, { domain, temporal }, how),
    startDuty(rolloutReconciler, { domain, temporal }, how),
    startDuty(sealer, { db }, how),
    startDuty(presenceSweep, domain, how),
    startDuty(alertRounds, domain, how),
    startDuty(statsSnapshot, { db }, how),
    startDuty(alertRetention, { db }, how),
    startDuty(eventRetention, { db }, how),
    startDuty(idempotencyRetention, { db }, how),
    startDuty(sessionRetention, { db }, how),
    startDuty(attemptRetention, { db }, how),
    startDuty(taskArchival, domain, how),
    startDuty(terminalSweep, domain, how),
    startDuty(terminalRetention, { db, retentionMs: deps.terminalRetentionMs }, how),
    startDuty(webhookFeed, domain, how),
    startDuty(webhookRepair, domain, how),
    startDuty(webhookRetention, { db }, how),
    startDuty(scheduleSweep, { domain, ...schedules }, how),
    startDuty(scheduleRetention, { db }, how),
    startDuty(autopilotTick, domain, how),
    startDuty(urlAgentProbe, { ...domain, ...deps.urlAgents }, how),
    startDuty(lagReport, { db, report: combineReports(createLagReporter(log), metrics.report) }, how),
  ];
  return {
    wake: (name) => running.find((duty) => duty.name === name)?.wake(),
    async close() {
      await Promise.all(running.map((duty) => duty.close()));
    },
  };
}
