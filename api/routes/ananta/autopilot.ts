import {
  type AnantaAutopilotStatus,
  anantaAutopilotStatusRoute,
  anantaCircuitsRoute,
  anantaResetCircuitsRoute,
  anantaStartAutopilotRoute,
  anantaStopAutopilotRoute,
  anantaTickAutopilotRoute,
} from '../../../contracts/families/ananta/autopilot.ts';
import {
  type AutopilotStatus,
  getAutopilotStatus,
  modeOfLevel,
  startAutopilot,
  stopAutopilot,
} from '../../../domain/autopilot/state.ts';
import { tickNow } from '../../../domain/autopilot/tick.ts';
import type { DomainDeps } from '../../../domain/deps.ts';
import { requestKeyOf } from '../../../domain/idempotency.ts';
import { listCircuits, resetCircuits, type WorkerCircuit } from '../../../domain/url-agents/circuits.ts';
import { type MountedRoute, mount } from '../../mount.ts';
import { success } from './envelope.ts';

/** `/tasks/autopilot` */
export function anantaAutopilotRoutes(deps: DomainDeps): MountedRoute[] {
  const present = async (status: AutopilotStatus): Promise<AnantaAutopilotStatus> => ({
    running: status.running,
    interval_seconds: status.intervalMs / 1000,
    max_concurrency: status.maxConcurrency,
    last_tick_at: seconds(status.lastTickAt),
    last_error: status.lastError,
    last_reason: status.lastReason,
    tick_count: status.tickCount,
    dispatched_count: status.dispatchedCount,
    completed_count: status.completed,
    failed_count: status.failed,
    open_count: status.open,
    started_at: seconds(status.startedAt),
    goal: status.goal,
    team_id: status.teamId ?? '',
    budget_label: status.budgetLabel,
    security_level: status.securityLevel,
    effective_security_policy: { level: status.securityLevel, mode: modeOfLevel[status.securityLevel] },
    circuit_breakers: presentCircuits(await listCircuits(deps)),
  });

  return [
    mount(anantaStartAutopilotRoute, async (request) => {
      const { body } = request;
      const status = await startAutopilot(deps, request, {
        intervalMs: body.interval_seconds == null ? undefined : Math.round(body.interval_seconds * 1000),
        maxConcurrency: body.max_concurrency ?? undefined,
        goal: body.goal?.trim(),
        teamId: body.team_id == null ? undefined : body.team_id || null,
        budgetLabel: body.budget_label?.trim(),
        securityLevel: body.security_level ?? undefined,
      });
      return { status: 200, body: success(await present(status)) };
    }),
    mount(anantaStopAutopilotRoute, async (request) => {
      const status = await stopAutopilot(deps, request);
      return { status: 200, body: success(await present(status)) };
    }),
    mount(anantaTickAutopilotRoute, async (request) => {
      const wish = { teamId: request.body.team_id || null };
      const status = await tickNow(deps, request, wish, requestKeyOf(request, wish));
      const { dispatched, reason } = status;
      return { status: 200, body: success({ ...(await present(status)), dispatched, reason }) };
    }),
    mount(anantaAutopilotStatusRoute, async (request) => {
      const status = await getAutopilotStatus(deps, request);
      return { status: 200, body: success(await present(status)) };
    }),
    mount(anantaCircuitsRoute, async () => ({
      status: 200,
      body: success(presentCircuits(await listCircuits(deps))),
    })),
    mount(anantaResetCircuitsRoute, async (request) => {
      const workerUrl = request.body.worker_url?.trim() || null;
      const reset = await resetCircuits(deps, request, workerUrl);
      const data = {
        reset,
        worker_url: workerUrl,
        circuit_breakers: presentCircuits(await listCircuits(deps)),
      };
      return { status: 200, body: success(data) };
    }),
  ];
}

const seconds = (date: Date | null): number | null => (date === null ? null : date.getTime() / 1000);

function presentCircuits(workers: readonly WorkerCircuit[]) {
  const open = workers.filter(({ openUntil }) => openUntil !== null && openUntil.getTime() > Date.now());
  return {
    open_count: open.length,
    open_workers: open.map(({ workerUrl, openUntil, failureStreak }) => ({
      worker_url: workerUrl,
      open_until: (openUntil?.getTime() ?? 0) / 1000,
      remaining_seconds: Math.max(0, ((openUntil?.getTime() ?? 0) - Date.now()) / 1000),
      failure_streak: failureStreak,
    })),
    failure_streak: Object.fromEntries(workers.map((worker) => [worker.workerUrl, worker.failureStreak])),
  };
}
